"""The colours of a statistical image: principal axes, and the distribution of colours along each."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from synvid.numerics.jit import jit
from synvid.numerics.portable_math import principal_axes

__all__ = ["Palette", "make_palette"]


_BINS = 256


class Palette(NamedTuple):
    """The distribution of colours along their principal axes, as a histogram with 256 bins per axis."""

    mean: NDArray[np.float64]  # (3,) red, green, blue, 0..256
    axes: NDArray[np.float64]  # (3, 3), each column an axis
    low: NDArray[np.float64]  # (3,) lower edge of the first bin, relative to the mean
    step: NDArray[np.float64]  # (3,) width of the bins
    cumulative: NDArray[np.float64]  # (3, 257) cumulative distribution at the edges of the bins


def make_palette(
    colors: NDArray[np.float64], proportions: NDArray[np.float64], width: int, grain: NDArray[np.float64]
) -> Palette:
    """The palette of a random image: coloured stripes, blurred, with grain (Baradad et al. 2021).

    Args:
        colors: (3, k), red, green and blue, 0..256.
        proportions: (k,), positive, the area that each colour covers, up to a factor.
        width: width of the box filter that blurs the stripes, pixels.
        grain: (3, n, n), added to the blurred stripes; the sum is scaled to 0..256.
    """
    pixels = grain[0].size
    areas = np.cumsum(proportions)
    ends = np.floor(areas / areas[-1] * pixels + 0.5).astype(np.int64)
    stripes = np.repeat(colors, np.diff(ends, prepend=0), axis=1).reshape(grain.shape)
    image = _box_blur(stripes, width) + grain
    image -= image.min()
    image *= 256.0 / image.max()
    points = image.reshape(3, pixels)
    mean, covariance = _moments(points)
    axes = principal_axes(covariance)
    low, step, cumulative = np.empty(3), np.empty(3), np.empty((3, _BINS + 1))
    for c in range(3):
        low[c], step[c] = _cumulate(points, mean, axes[:, c], cumulative[c])
    return Palette(mean, axes, low, step, cumulative)


@jit
def _box_blur(image, width):
    """The mean of width x width pixels around each pixel, with black beyond the borders: float64 (3, n, n)."""
    size = image.shape[1]
    across = np.zeros_like(image)
    result = np.zeros_like(image)
    for c in range(3):
        for shift in range(-(width // 2), width - width // 2):
            low, high = max(0, -shift), min(size, size - shift)
            for y in range(size):
                for x in range(low, high):
                    across[c, y, x] += image[c, y, x + shift]
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
    """Write the cumulative histogram of the coordinates along an axis; return lower edge and width of the bins."""
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
