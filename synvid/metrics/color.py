"""Colours as a Gaussian in L*a*b*, and the distance of two (section 5.4 of the paper).

CIE L*a*b* of sRGB pixels, D65 and 2 degrees, by scikit-image. Every clip counts the same, whatever its size.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["ColorGaussian", "gaussians", "moments", "spread", "symmetric_kl"]


Array = NDArray[np.float64]

_MAX_PIXELS = 65_536
#: A direction of colour space with less than this standard deviation has none: below the steps of 8-bit colours.
_FLAT = 0.05


class ColorGaussian(NamedTuple):
    """b Gaussians in L*a*b*.

    Attributes:
        mean: float64 (b, 3).
        covariance: float64 (b, 3, 3).
    """

    mean: Array
    covariance: Array


def moments(frames: NDArray[np.uint8]) -> Array:
    """First and second moments of a clip's colours.

    Args:
        frames: uint8 (T, H, W, 3), RGB. Of frames with more than 65,536 pixels, every second, third, ... in x and y.

    Returns:
        float64 (12,): the mean of (L, a, b), then of all products of two of them.
    """
    from skimage.color import rgb2lab

    step = max(1, math.ceil(math.sqrt(frames.shape[1] * frames.shape[2] / _MAX_PIXELS)))
    total, count = np.zeros(12), 0
    for frame in frames:
        lab = rgb2lab(frame[::step, ::step]).reshape(-1, 3)
        total[:3] += lab.sum(axis=0)
        total[3:] += (lab.T @ lab).ravel()
        count += len(lab)
    return total / count


def gaussians(rows: Array) -> ColorGaussian:
    """The Gaussians of mean moments, float64 (b, 12)."""
    mean = rows[:, :3]
    return ColorGaussian(mean, rows[:, 3:].reshape(-1, 3, 3) - mean[:, :, None] * mean[:, None, :])


def spread(colors: ColorGaussian) -> Array:
    """Geometric mean of the three standard deviations along the principal axes, float64 (b,); 0 where there is one colour."""
    values: Array = np.maximum(np.linalg.det(colors.covariance), 0.0) ** (1 / 6)
    return values


def is_flat(covariance: Array) -> Any:
    """Whether colours lie in a plane, on a line or in a point, bool (b,): the divergence from others is then infinite."""
    return np.linalg.eigvalsh(covariance)[:, 0] < _FLAT**2


def symmetric_kl(one: ColorGaussian, other: ColorGaussian) -> Array:
    """KL(p|q) + KL(q|p) of Gaussians, in nats: symmetric, 0 for equal ones (Kullback and Leibler 1951).

    Args:
        one: b of them.
        other: as many, or one.

    Returns:
        float64 (b,); NaN where one of the two has no width in some direction, so that it is infinite.

    >>> p = Gaussian(np.zeros((1, 3)), np.eye(3)[None])
    >>> q = Gaussian(np.array([[2.0, 0.0, 0.0]]), np.eye(3)[None])
    >>> float(symmetric_kl(p, q)[0])
    4.0
    """
    flat = is_flat(one.covariance) | is_flat(other.covariance)
    unit = np.eye(3)
    first = np.linalg.inv(np.where(flat[:, None, None], unit, one.covariance))
    second = np.linalg.inv(np.where(flat[:, None, None], unit, other.covariance))
    traces = np.einsum("bij,bji->b", first, other.covariance + 0 * first) + np.einsum("bij,bji->b", second, one.covariance)
    apart = one.mean - other.mean
    far = np.einsum("bi,bij,bj->b", apart, first + second, apart)
    return np.where(flat, np.nan, np.maximum(0.5 * (traces + far) - 3.0, 0.0))
