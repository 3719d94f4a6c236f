"""The steerable pyramid: an image as bands of four orientations at every scale, subsampled as far as possible.

The bands tile the frequency plane with cosine flanks one octave wide. So the pyramid preserves the energy of the image, and
the sum of its bands and the residual is the image (Simoncelli and Freeman 1995). Level k has size / 2**(k - 1) samples per
side; level 0 holds the corners beyond the highest full circle, and frequencies below the last level are a residual that is
kept as a spectrum. Spectra have the layout of `synvid.numerics.fft`.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from synvid.numerics import portable_math
from synvid.numerics.fft import FFTPlan, plan_for
from synvid.numerics.jit import jit
from synvid.numerics.portable_math import LN_2

__all__ = ["Level", "Pyramid", "add_band", "keep_residual", "pyramid_for", "take_band"]


#: Normalises the sum of cos(angle - b pi / 4)**6 over the orientations b to one.
_ANGULAR = math.sqrt(0.8)
_DIRECTIONS = ((1.0, 0.0), (math.sqrt(0.5), math.sqrt(0.5)), (0.0, 1.0), (-math.sqrt(0.5), math.sqrt(0.5)))


class Level(NamedTuple):
    """The bands of one scale."""

    plan: FFTPlan  # Fourier transform of this level's size l
    row: NDArray[np.int64]  # (l,) the row of the image's spectrum for each row of a band's spectrum
    masks: NDArray[np.float32]  # (bands, l, l // 2 + 1), real
    derivative: bool  # the masks are multiplied by i: bands respond to edges, not to lines


class Pyramid(NamedTuple):
    """The masks for one size of image."""

    levels: tuple[Level, ...]  # the corners first, then fine to coarse
    residual: NDArray[np.float32]  # (n, n // 2 + 1), mask of the residual, squared


def _flush_tiny(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Set rounding errors around zero to zero: their products would be subnormal numbers, which are slow."""
    return np.where(np.abs(values) < 1e-9, 0.0, values)


def _flanks(octaves: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Low-pass and high-pass gain of a flank from -1 to 0 octaves: quarter cosine and sine, whose squares sum to one."""
    waves = _flush_tiny(portable_math.sin_cos_array(np.clip(octaves + 1.0, 0.0, 1.0).ravel() * (0.5 * math.pi)))
    return waves[:, 0].reshape(octaves.shape), waves[:, 1].reshape(octaves.shape)


def _polar(size: int, plan: FFTPlan) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Polar coordinates of a plan's frequencies: octaves above the full circle of an image of `size`, and unit vectors."""
    middle = plan.frequency.size // 2
    x, y = np.broadcast_arrays(plan.frequency[:, None].astype(np.float64), np.arange(middle + 1.0))
    square = np.maximum(x * x + y * y, 1e-9)
    octaves = portable_math.log(np.minimum(square / (size // 2) ** 2, 1.0).ravel()).reshape(square.shape) * (0.5 / LN_2)
    radius = np.sqrt(square)
    return octaves, x / radius, y / radius


@lru_cache(maxsize=4)
def pyramid_for(size: int, scales: int) -> Pyramid:
    """The masks for images of `size` x `size` pixels; `size` is a multiple of 2**scales."""
    plan = plan_for(size)
    octaves, _, _ = _polar(size, plan)
    corners = _flanks(octaves)[1].astype(np.float32)
    levels = [Level(plan, np.arange(size), corners[None], derivative=False)]
    for k in range(scales):
        small = plan_for(size >> k)
        octaves_k, x, y = _polar(size, small)
        radial = _flanks(octaves_k + k)[0] * _flanks(octaves_k + k + 1.0)[1]
        along = [_flush_tiny(x * u + y * v) for u, v in _DIRECTIONS]
        masks = [_ANGULAR * radial * cosine * cosine * cosine for cosine in along]
        levels.append(Level(small, plan.row[small.frequency % size], np.array(masks, np.float32), derivative=True))
    below = _flanks(octaves + scales)[0]
    return Pyramid(tuple(levels), (below * below).astype(np.float32))


@jit
def _multiply(row, mask, factor, product):
    """Write product = factor * mask * row."""
    for k in range(row.size):
        product[k] = factor * mask[k] * row[k]


@jit
def _add_multiple(row, mask, factor, total):
    """Add factor * mask * row to a row."""
    for k in range(row.size):
        total[k] += factor * mask[k] * row[k]


@jit
def keep_residual(spectrum, residual, result):
    """Write the part of a spectrum that is in no band: float32 (2, n, n // 2 + 1) to the same shape."""
    for r in range(residual.shape[0]):
        for part in range(2):
            _multiply(spectrum[part, r], residual[r], np.float32(1.0), result[part, r])


@jit
def take_band(spectrum, level, b, band):
    """Write the spectrum of band b of a level: float32 (2, n, n // 2 + 1) to (2, l, l // 2 + 1)."""
    plus, minus = np.float32(1.0), np.float32(-1.0 if level.derivative else 1.0)
    part = 1 if level.derivative else 0  # times i, the imaginary part becomes the real part
    for r in range(level.row.size):
        mask = level.masks[b, r]
        _multiply(spectrum[part, level.row[r], : mask.size], mask, minus, band[0, r])
        _multiply(spectrum[1 - part, level.row[r], : mask.size], mask, plus, band[1, r])


@jit
def add_band(band, level, b, total):
    """Add the contribution of band b of a level to the spectrum of the image."""
    plus, minus = np.float32(1.0), np.float32(-1.0 if level.derivative else 1.0)
    part = 1 if level.derivative else 0  # times -i
    for r in range(level.row.size):
        mask = level.masks[b, r]
        _add_multiple(band[part, r], mask, plus, total[0, level.row[r], : mask.size])
        _add_multiple(band[1 - part, r], mask, minus, total[1, level.row[r], : mask.size])
