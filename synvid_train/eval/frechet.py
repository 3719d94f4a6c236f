"""Fréchet distance between sets of feature vectors, its extrapolation, and pseudo-determinants as a measure of diversity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["FeatureGaussian", "extrapolate", "frechet_distance", "log_pseudo_determinant"]


Array = NDArray[np.float64]

#: Rows processed together.
_BLOCK_ROWS = 4096

#: Vectors that differ by less than this fraction of their length are taken as equal: rounding of float32.
_TOLERANCE = 1e-5


@dataclass(frozen=True)
class FeatureGaussian:
    """Gaussian with the mean and covariance of feature vectors.

    Attributes:
        mean: (D,).
        factor: (D, min(n, D)): factor @ factor.T is the covariance, with n - 1 in its denominator.
    """

    mean: Array
    factor: Array

    @classmethod
    def fit(cls, vectors: NDArray[np.floating]) -> FeatureGaussian:
        """Fit to vectors (n, D), n at least 2; needs memory for a few blocks of rows and D x D numbers."""
        mean = vectors.mean(axis=0, dtype=np.float64)
        triangle = np.empty((0, len(mean)))
        # QR per block avoids forming the covariance, whose squares would lose half of the digits.
        for start in range(0, len(vectors), _BLOCK_ROWS):
            rows = np.concatenate([triangle, vectors[start : start + _BLOCK_ROWS] - mean])
            triangle = np.asarray(np.linalg.qr(rows, mode="r"))
        return cls(mean, triangle.T / np.sqrt(len(vectors) - 1))

    def log_determinant(self, count: int) -> float | None:
        """Return the log of the product of the `count` largest eigenvalues of the covariance; None if fewer are nonzero."""
        values = np.linalg.svd(self.factor, compute_uv=False)[:count]
        if len(values) < count or values[-1] <= _TOLERANCE * np.linalg.norm(self.mean) / np.sqrt(len(self.mean)):
            return None
        return 2 * float(np.log(values).sum())


def frechet_distance(a: FeatureGaussian, b: FeatureGaussian) -> float:
    """Return the squared Fréchet distance of two Gaussians (Dowson and Landau 1982), as used by FID.

    |m1 - m2|^2 + tr C1 + tr C2 - 2 tr (C1 C2)^(1/2). With factors C = A A', the last trace is the sum of the singular values
    of A1' A2, which is symmetric, and exact to rounding for equal sets.

    Examples:
        >>> a = FeatureGaussian(np.zeros(1), np.array([[2.0]]))
        >>> frechet_distance(a, FeatureGaussian(np.array([3.0]), np.array([[1.0]])))
        10.0
    """
    cross = np.linalg.svd(a.factor.T @ b.factor, compute_uv=False).sum()
    mean_term = np.square(a.mean - b.mean).sum()
    return max(0.0, float(mean_term + np.square(a.factor).sum() + np.square(b.factor).sum() - 2 * cross))


def extrapolate(fractions: Sequence[float], distances: Sequence[float]) -> float:
    """Extrapolate a Fréchet distance to infinitely many vectors (Chong and Forsyth 2020).

    The bias of the distance is proportional to 1 / n. The result is the intercept of a least-squares line over 1 / fraction.

    Args:
        fractions: fractions of the vectors used on both sides.
        distances: distances of those subsets.

    Examples:
        >>> round(extrapolate([1.0, 0.5, 0.25], [11.0, 12.0, 14.0]), 9)
        10.0
    """
    return float(np.polynomial.polynomial.polyfit(1 / np.asarray(fractions, np.float64), distances, 1)[0])


def log_pseudo_determinant(vectors: NDArray[np.floating]) -> float | None:
    """Return the log of the product of the min(K - 1, D) largest eigenvalues of the covariance of K vectors.

    K vectors vary in at most K - 1 directions, so the determinant of their covariance is zero if D is larger.

    Args:
        vectors: (K, D), K at least 2.

    Returns:
        The logarithm; None if the vectors vary in fewer directions, e.g. if frames are equal.

    Examples:
        >>> round(log_pseudo_determinant(np.array([[0.0, 0.0], [2.0, 0.0]])), 4)
        0.6931
    """
    exact = vectors.astype(np.float64)
    count = len(exact)
    values = np.linalg.svd(exact - exact.mean(axis=0), compute_uv=False)[: count - 1]
    if values[-1] <= _TOLERANCE * np.linalg.norm(exact, axis=1).max():
        return None
    return float(np.log(np.square(values) / (count - 1)).sum())
