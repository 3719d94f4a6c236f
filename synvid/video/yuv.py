"""RGB to planar YUV in integer arithmetic: BT.601, limited range.

Streams are tagged BT.601, and decoders assume it for small untagged video. So colours are right whether or not a decoder
reads the tag.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from synvid.numerics.jit import jit

__all__ = ["planes_420", "planes_444"]


# ITU-R BT.601: luma 16..235 from weights .299 .587 .114, chroma 16..240 around 128; in units of 2**-16.
_KR, _KG, _KB = 0.299, 0.587, 0.114
_LUMA = tuple(np.int32(round(65536 * 219 / 255 * weight)) for weight in (_KR, _KG, _KB))
_CHROMA = 65536 * 112 / 255
_BLUE = tuple(np.int32(round(_CHROMA * weight / (1 - _KB))) for weight in (-_KR, -_KG, 1 - _KB))
_RED = tuple(np.int32(round(_CHROMA * weight / (1 - _KR))) for weight in (1 - _KR, -_KG, -_KB))
_LUMA_ZERO = np.int32((16 << 16) + (1 << 15))
_CHROMA_ZERO = np.int32((128 << 16) + (1 << 15))
_CHROMA_ZERO_OF_FOUR = np.int32((128 << 18) + (1 << 17))
_16, _18 = np.int32(16), np.int32(18)


@jit
def _mix(weights, red, green, blue, zero, shift):
    return np.uint8((weights[0] * red + weights[1] * green + weights[2] * blue + zero) >> shift)


@jit
def _split(row, red, green, blue):
    """Split interleaved RGB bytes."""
    for x in range(red.size):
        red[x], green[x], blue[x] = row[3 * x], row[3 * x + 1], row[3 * x + 2]


@jit
def _convert(weights, red, green, blue, zero, shift, out):
    for x in range(out.size):
        out[x] = _mix(weights, red[x], green[x], blue[x], zero, shift)


@jit
def planes_420(frame: NDArray[np.uint8], planes: NDArray[np.uint8]) -> None:
    """Convert a frame to planar 4:2:0; a chroma sample is the mean of 2 x 2 pixels.

    Args:
        frame: uint8 (H, W, 3), RGB, H and W even.
        planes: uint8 (H * W * 3 / 2,), written: Y, then U, then V.
    """
    height, width, _ = frame.shape
    rows, half = frame.reshape(height, width * 3), width // 2
    blue_plane, red_plane = planes[height * width : height * width * 5 // 4], planes[height * width * 5 // 4 :]
    red_0, green_0, blue_0 = np.empty(width, np.int32), np.empty(width, np.int32), np.empty(width, np.int32)
    red_1, green_1, blue_1 = np.empty(width, np.int32), np.empty(width, np.int32), np.empty(width, np.int32)
    for y in range(0, height, 2):
        _split(rows[y], red_0, green_0, blue_0)
        _split(rows[y + 1], red_1, green_1, blue_1)
        _convert(_LUMA, red_0, green_0, blue_0, _LUMA_ZERO, _16, planes[y * width : (y + 1) * width])
        _convert(_LUMA, red_1, green_1, blue_1, _LUMA_ZERO, _16, planes[(y + 1) * width : (y + 2) * width])
        for x in range(width):
            red_0[x] += red_1[x]
            green_0[x] += green_1[x]
            blue_0[x] += blue_1[x]
        start, end = y // 2 * half, (y // 2 + 1) * half
        blue_row, red_row = blue_plane[start:end], red_plane[start:end]
        for k in range(half):
            r, g, b = red_0[2 * k] + red_0[2 * k + 1], green_0[2 * k] + green_0[2 * k + 1], blue_0[2 * k] + blue_0[2 * k + 1]
            blue_row[k] = _mix(_BLUE, r, g, b, _CHROMA_ZERO_OF_FOUR, _18)
            red_row[k] = _mix(_RED, r, g, b, _CHROMA_ZERO_OF_FOUR, _18)


@jit
def planes_444(frame: NDArray[np.uint8], planes: NDArray[np.uint8]) -> None:
    """Convert a frame to planar 4:4:4.

    Args:
        frame: uint8 (H, W, 3), RGB.
        planes: uint8 (H * W * 3,), written: Y, then U, then V.
    """
    height, width, _ = frame.shape
    area, rows = height * width, frame.reshape(height, width * 3)
    red, green, blue = np.empty(width, np.int32), np.empty(width, np.int32), np.empty(width, np.int32)
    for y in range(height):
        _split(rows[y], red, green, blue)
        start, end = y * width, (y + 1) * width
        _convert(_LUMA, red, green, blue, _LUMA_ZERO, _16, planes[start:end])
        _convert(_BLUE, red, green, blue, _CHROMA_ZERO, _16, planes[area + start : area + end])
        _convert(_RED, red, green, blue, _CHROMA_ZERO, _16, planes[2 * area + start : 2 * area + end])
