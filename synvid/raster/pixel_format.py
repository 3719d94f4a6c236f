"""Packed pixels: one uint32 per colour."""

from __future__ import annotations

import numpy as np

__all__ = ["pack_colors"]


def pack_colors(colors):
    """Pack RGB colours, uint8 (n, 3), into uint32 (n,), red in the lowest byte."""
    wide = np.asarray(colors, np.uint32)
    return wide[..., 0] | wide[..., 1] << np.uint32(8) | wide[..., 2] << np.uint32(16)
