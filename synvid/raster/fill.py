"""What a run becomes: a colour."""

from __future__ import annotations

import numpy as np

from synvid._jit import jit
from synvid.raster.simd import fill_word

__all__ = ["fill_color", "pack_colors"]


def pack_colors(colors):
    """RGB uint8 (n, 3) to one uint32 a colour, red in the lowest byte."""
    wide = np.asarray(colors, np.uint32)
    return wide[..., 0] | wide[..., 1] << np.uint32(8) | wide[..., 2] << np.uint32(16)


@jit
def fill_color(word, mask, count, color, pixels):
    """Give an object's runs its colour.

    Args:
        word, mask: bit b of mask[k] says that the object owns pixel 64 word[k] + b, for k < count.
        count: how many runs there are.
        color: uint32.
        pixels: flat; written.
    """
    for k in range(count):
        fill_word(pixels, word[k] * 64, mask[k], color)
