"""What a run becomes: a colour."""

from __future__ import annotations

import numpy as np

__all__ = ["pack_colors"]


def pack_colors(colors):
    """RGB uint8 (n, 3) to one uint32 a colour, red in the lowest byte."""
    wide = np.asarray(colors, np.uint32)
    return wide[..., 0] | wide[..., 1] << np.uint32(8) | wide[..., 2] << np.uint32(16)
