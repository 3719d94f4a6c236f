"""Convert painted samples to the RGB bytes of a frame: one sample per pixel, or the mean of 4 x 4."""

from __future__ import annotations

import numpy as np

from synvid.numerics.jit import jit
from synvid.raster.simd import pack_rgb

__all__ = ["SAMPLES", "average_rows", "copy_rows"]


#: Samples per pixel along each axis, with antialiasing.
SAMPLES = 4

_RED_BLUE, _BYTE = np.uint32(0x00FF00FF), np.uint32(0xFF)
_8, _16 = np.uint32(8), np.uint32(16)
_HALF = np.uint32(SAMPLES * SAMPLES // 2)
_SHIFT = np.uint32(4)


@jit
def copy_rows(pixels, stride, height, width, packed):
    """Copy rows of `stride` RGBX pixels to a packed RGB frame, flat uint8 (height * width * 3)."""
    for y in range(height):
        pack_rgb(pixels, y * stride, width, packed, y * width * 3)


@jit
def average_rows(pixels, stride, height, width, packed):
    """Average SAMPLES x SAMPLES samples per pixel, rounding halves up, to a packed RGB frame, flat uint8.

    Rows are summed first, which LLVM vectorizes. Red and blue share a word: the sum of sixteen bytes needs 12 bits.
    """
    red_blue, green = np.empty(stride, np.uint32), np.empty(stride, np.uint32)
    for y in range(height):
        red_blue[:] = 0
        green[:] = 0
        for row in range(SAMPLES * y, SAMPLES * y + SAMPLES):
            for k in range(stride):
                color = pixels[row * stride + k]
                red_blue[k] += color & _RED_BLUE
                green[k] += (color >> _8) & _BYTE
        for x in range(width):
            k = SAMPLES * x
            red_blue_sum = red_blue[k] + red_blue[k + 1] + red_blue[k + 2] + red_blue[k + 3]
            target = 3 * (y * width + x)
            packed[target] = np.uint8(((red_blue_sum & np.uint32(0xFFFF)) + _HALF) >> _SHIFT)
            packed[target + 1] = np.uint8((green[k] + green[k + 1] + green[k + 2] + green[k + 3] + _HALF) >> _SHIFT)
            packed[target + 2] = np.uint8(((red_blue_sum >> _16) + _HALF) >> _SHIFT)
