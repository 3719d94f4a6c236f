"""From painted pixels to the RGB bytes of a frame: one sample a pixel, or the mean of 4 x 4."""

from __future__ import annotations

import numpy as np

from synvid._jit import jit
from synvid.raster.simd import pack_rgb

__all__ = ["SAMPLES", "average_rows", "copy_rows"]

#: Samples a pixel along each axis when antialiasing.
SAMPLES = 4

_RED_BLUE, _BYTE = np.uint32(0x00FF00FF), np.uint32(0xFF)
_8, _16 = np.uint32(8), np.uint32(16)
_HALF = np.uint32(SAMPLES * SAMPLES // 2)
_SHIFT = np.uint32(4)


@jit
def copy_rows(pixels, stride, height, width, packed):  # type: ignore[no-untyped-def]
    """Copy rows of `stride` RGBX pixels to a packed RGB frame, flat uint8 (height * width * 3)."""
    for y in range(height):
        pack_rgb(pixels, y * stride, width, packed, y * width * 3)


@jit
def average_rows(pixels, stride, height, width, packed):  # type: ignore[no-untyped-def]
    """The same from SAMPLES x SAMPLES samples a pixel, rounding halves up.

    The sums of two channels share a word: sixteen bytes of 255 need 12 of its halves' 16 bits.
    """
    for y in range(height):
        for x in range(width):
            red_blue, green = np.uint32(0), np.uint32(0)
            for row in range(SAMPLES * y, SAMPLES * y + SAMPLES):
                for k in range(row * stride + SAMPLES * x, row * stride + SAMPLES * x + SAMPLES):
                    red_blue += pixels[k] & _RED_BLUE
                    green += (pixels[k] >> _8) & _BYTE
            target = 3 * (y * width + x)
            packed[target] = np.uint8(((red_blue & np.uint32(0xFFFF)) + _HALF) >> _SHIFT)
            packed[target + 1] = np.uint8((green + _HALF) >> _SHIFT)
            packed[target + 2] = np.uint8(((red_blue >> _16) + _HALF) >> _SHIFT)
