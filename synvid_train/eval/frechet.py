"""How far two sets of feature vectors are apart, and how much the frames of a clip differ: plain linear algebra."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["FeatureGaussian", "extrapolate", "frechet_distance", "log_pseudo_determinant"]


Array = NDArray[np.float64]

_BLOCK = 4096  # rows that are looked at together

#: A vector differs from another if by more than this share of its length; less is rounding of float32.
_ROUNDING = 1e-5


@dataclass(frozen=True)
class FeatureGaussian:
    """Mean and covariance of vectors, taken as normal.

    Attributes:
        mean: (D,).
        factor: (D, min(n, D)): factor @ factor.T is the covariance, with n - 1 in its denominator.
    """

    mean: Array
    factor: Array

    @classmethod
    def of(cls, vectors: NDArray[np.floating]) -> FeatureGaussian:
        """Of vectors (n, D), n at least 2; beside them, memory holds some blocks of rows and D x D numbers."""
        mean = vectors.mean(axis=0, dtype=np.float64)
        triangle = np.empty((0, len(mean)))
        for begin in range(0, len(vectors), _BLOCK):  # QR block by block: nothing is squared, so nothing is lost
            rows = np.concatenate([triangle, vectors[begin : begin + _BLOCK] - mean])
            triangle = np.asarray(np.linalg.qr(rows, mode="r"))
        return cls(mean, triangle.T / np.sqrt(len(vectors) - 1))

    def log_determinant(self, count: int) -> float | None:
        """Logarithm of the product of the largest `count` eigenvalues of the covariance; None where it has not so many."""
        values = np.linalg.svd(self.factor, compute_uv=False)[:count]
        if len(values) < count or values[-1] <= _ROUNDING * np.linalg.norm(self.mean) / np.sqrt(len(self.mean)):
            return None
        return 2 * float(np.log(values).sum())


def frechet_distance(one: FeatureGaussian, other: FeatureGaussian) -> float:
    """The squared Fréchet distance of two Gaussians (Dowson and Landau 1982), as FID has it.

    |m1 - m2|^2 + tr C1 + tr C2 - 2 tr (C1 C2)^(1/2); with factors C = A A', the last trace is the sum of the singular values
    of A1' A2: symmetric, and exact to rounding for equal sets.

    >>> a = Gaussian(np.zeros(1), np.array([[2.0]]))
    >>> frechet_distance(a, Gaussian(np.array([3.0]), np.array([[1.0]])))
    10.0
    """
    cross = np.linalg.svd(one.factor.T @ other.factor, compute_uv=False).sum()
    apart = np.square(one.mean - other.mean).sum()
    return max(0.0, float(apart + np.square(one.factor).sum() + np.square(other.factor).sum() - 2 * cross))


def extrapolate(shares: Sequence[float], distances: Sequence[float]) -> float:
    """The distance that is left of infinitely many vectors (Chong and Forsyth 2020).

    The bias of a Fréchet distance goes with 1 / n, so a line over 1 / share, fitted by least squares, ends there at 0.

    Args:
        shares: of the vectors that a distance was taken from, on both sides.
        distances: of them.

    >>> round(extrapolate([1.0, 0.5, 0.25], [11.0, 12.0, 14.0]), 9)
    10.0
    """
    return float(np.polynomial.polynomial.polyfit(1 / np.asarray(shares, np.float64), distances, 1)[0])


def log_pseudo_determinant(vectors: NDArray[np.floating]) -> float | None:
    """The logarithm of the product of the eigenvalues that the covariance of K vectors can have: K - 1, or D if D is less.

    K vectors differ in K - 1 directions at most; the plain determinant of their covariance in more dimensions is zero.

    Args:
        vectors: (K, D), K at least 2.

    Returns:
        None where they differ in fewer directions: frames that are alike.

    >>> round(log_pseudo_determinant(np.array([[0.0, 0.0], [2.0, 0.0]])), 4)
    0.6931
    """
    exact = vectors.astype(np.float64)
    count = len(exact)
    values = np.linalg.svd(exact - exact.mean(axis=0), compute_uv=False)[: count - 1]
    if values[-1] <= _ROUNDING * np.linalg.norm(exact, axis=1).max():
        return None
    return float(np.log(np.square(values) / (count - 1)).sum())
