"""What a run becomes: a colour."""

from __future__ import annotations

import numpy as np

from synvid._jit import jit
from synvid.raster.simd import fill_word

__all__ = ["fill_runs", "pack_colors"]


def pack_colors(colors):  # type: ignore[no-untyped-def]
    """RGB uint8 (n, 3) to one uint32 a colour, red in the lowest byte."""
    wide = np.asarray(colors, np.uint32)
    return wide[..., 0] | wide[..., 1] << np.uint32(8) | wide[..., 2] << np.uint32(16)


@jit
def fill_runs(runs, count, values, pixels):  # type: ignore[no-untyped-def]
    """Give every run its owner's value.

    Args:
        runs: from `find_runs`.
        count: how many of them.
        values: (n,), one an object, of the type of `pixels`.
        pixels: flat, a whole number of 64-pixel words a row; written.
    """
    for i in range(count):
        fill_word(pixels, np.int64(runs.word[i]) * 64, runs.mask[i], values[runs.owner[i]])
