"""Which colours a statistical image has: their principal axes, and how they are distributed along each."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from synvid.numerics.jit import jit
from synvid.numerics.portable_math import principal_axes

__all__ = ["Palette", "palette_of"]


_BINS = 256


class Palette(NamedTuple):
    """The distribution of some colours along their principal axes."""

    mean: NDArray[np.float64]  # (3,) red, green, blue, 0..256
    axes: NDArray[np.float64]  # (3, 3), an axis a column
    low: NDArray[np.float64]  # (3,) where the first bin of each axis begins, from the mean
    step: NDArray[np.float64]  # (3,) how wide the bins are
    cumulative: NDArray[np.float64]  # (3, 257) at the edges of the bins


def palette_of(
    colors: NDArray[np.float64], proportions: NDArray[np.float64], width: int, grain: NDArray[np.float64]
) -> Palette:
    """The colours of a picture of stripes, blurred and grainy, in the model of Baradad et al. 2021.

    Args:
        colors: (3, k), red, green and blue, 0..256.
        proportions: (k,), positive: how much of the picture each colour covers.
        width: of the box that blurs, pixels.
        grain: (3, n, n), added to the blurred picture, which is then stretched to 0..256.
    """
    pixels = grain[0].size
    shares = np.cumsum(proportions)
    ends = np.floor(shares / shares[-1] * pixels + 0.5).astype(np.int64)
    stripes = np.repeat(colors, np.diff(ends, prepend=0), axis=1).reshape(grain.shape)
    picture = _box_blur(stripes, width) + grain
    picture -= picture.min()
    picture *= 256.0 / picture.max()
    points = picture.reshape(3, pixels)
    mean, covariance = _moments(points)
    axes = principal_axes(covariance)
    low, step, cumulative = np.empty(3), np.empty(3), np.empty((3, _BINS + 1))
    for c in range(3):
        low[c], step[c] = _cumulate(points, mean, axes[:, c], cumulative[c])
    return Palette(mean, axes, low, step, cumulative)


@jit
def _box_blur(picture, width):
    """The mean of width x width pixels about each, black beyond the borders: float64 (3, n, n)."""
    size = picture.shape[1]
    across = np.zeros_like(picture)
    result = np.zeros_like(picture)
    for c in range(3):
        for shift in range(-(width // 2), width - width // 2):
            low, high = max(0, -shift), min(size, size - shift)
            for y in range(size):
                for x in range(low, high):
                    across[c, y, x] += picture[c, y, x + shift]
        for shift in range(-(width // 2), width - width // 2):
            for y in range(max(0, -shift), min(size, size - shift)):
                for x in range(size):
                    result[c, y, x] += across[c, y + shift, x]
    result /= width * width
    return result


@jit
def _moments(pixels):
    """Mean (3,) and covariance (3, 3) of float64 (3, n), summed in order."""
    mean, covariance = np.zeros(3), np.zeros((3, 3))
    for k in range(pixels.shape[1]):
        for c in range(3):
            mean[c] += pixels[c, k]
    mean /= pixels.shape[1]
    for k in range(pixels.shape[1]):
        for c in range(3):
            for d in range(3):
                covariance[c, d] += (pixels[c, k] - mean[c]) * (pixels[d, k] - mean[d])
    covariance /= pixels.shape[1]
    return mean, covariance


@jit
def _cumulate(pixels, mean, axis, cumulative):
    """Write the cumulative histogram of the coordinates along an axis; return where the bins begin, and their width."""
    along = np.empty(pixels.shape[1])
    for k in range(along.size):
        along[k] = axis[0] * (pixels[0, k] - mean[0]) + axis[1] * (pixels[1, k] - mean[1]) + axis[2] * (pixels[2, k] - mean[2])
    bins = cumulative.size - 1
    low = along.min()
    step = (along.max() - low) / bins
    counts = np.zeros(bins, np.int64)
    for k in range(along.size):
        counts[min(int((along[k] - low) / step), bins - 1)] += 1
    seen = 0
    cumulative[0] = 0.0
    for b in range(bins):
        seen += counts[b]
        cumulative[b + 1] = seen / along.size
    return low, step
