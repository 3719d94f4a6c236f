"""Gaussians of colours in L*a*b* and the divergence of two of them (section 5.4 of the paper).

CIE L*a*b* of sRGB pixels, D65 and 2 degrees, by scikit-image. Every clip has the same weight, whatever its size.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["ColorGaussian", "gaussians", "moments", "spread", "symmetric_kl"]


Array = NDArray[np.float64]

_MAX_PIXELS = 65_536
#: A smaller standard deviation along a principal axis counts as zero; it is below the steps of 8-bit colours.
_MIN_STD = 0.05


class ColorGaussian(NamedTuple):
    """A batch of b Gaussians in L*a*b*.

    Attributes:
        mean: float64 (b, 3).
        covariance: float64 (b, 3, 3).
    """

    mean: Array
    covariance: Array


def moments(frames: NDArray[np.uint8]) -> Array:
    """Return the first and second moments of a clip's colours.

    Args:
        frames: uint8 (T, H, W, 3), RGB. Frames of more than 65,536 pixels are subsampled by a whole number in x and y.

    Returns:
        float64 (12,): the means of (L, a, b), then of the 9 products of two of them.
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
    """Return the Gaussians of mean moments, float64 (b, 12)."""
    mean = rows[:, :3]
    return ColorGaussian(mean, rows[:, 3:].reshape(-1, 3, 3) - mean[:, :, None] * mean[:, None, :])


def spread(colors: ColorGaussian) -> Array:
    """Return the geometric mean of the standard deviations along the principal axes, float64 (b,); 0 for a single colour."""
    values: Array = np.maximum(np.linalg.det(colors.covariance), 0.0) ** (1 / 6)
    return values


def is_degenerate(covariance: Array) -> Any:
    """Return whether the colours lie in a plane, on a line or in a point, bool (b,); divergences from them are infinite."""
    return np.linalg.eigvalsh(covariance)[:, 0] < _MIN_STD**2


def symmetric_kl(p: ColorGaussian, q: ColorGaussian) -> Array:
    """Return KL(p|q) + KL(q|p) of Gaussians, in nats (Kullback and Leibler 1951).

    Args:
        p: b Gaussians.
        q: b Gaussians, or one.

    Returns:
        float64 (b,); NaN where one of the two is degenerate, since the divergence is infinite.

    Examples:
        >>> p = ColorGaussian(np.zeros((1, 3)), np.eye(3)[None])
        >>> q = ColorGaussian(np.array([[2.0, 0.0, 0.0]]), np.eye(3)[None])
        >>> float(symmetric_kl(p, q)[0])
        4.0
    """
    degenerate = is_degenerate(p.covariance) | is_degenerate(q.covariance)
    identity = np.eye(3)
    p_inverse = np.linalg.inv(np.where(degenerate[:, None, None], identity, p.covariance))
    q_inverse = np.linalg.inv(np.where(degenerate[:, None, None], identity, q.covariance))
    traces = np.einsum("bij,bji->b", p_inverse, q.covariance + 0 * p_inverse)  # + 0 * broadcasts q to b Gaussians
    traces = traces + np.einsum("bij,bji->b", q_inverse, p.covariance)
    difference = p.mean - q.mean
    distance = np.einsum("bi,bij,bj->b", difference, p_inverse + q_inverse, difference)
    return np.where(degenerate, np.nan, np.maximum(0.5 * (traces + distance) - 3.0, 0.0))
