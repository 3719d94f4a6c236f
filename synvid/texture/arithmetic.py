"""Exponentials, and the axes of a cloud of colours, from + - * / and the square root alone: see `synvid.elementary`."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from synvid._jit import jit

__all__ = ["LN_2", "exp", "principal_axes"]

LN_2 = 0.6931471805599453
#: 1/13!, 1/12!, ..., 1/0!
_INVERSE_FACTORIALS = tuple(1.0 / math.factorial(k) for k in range(13, -1, -1))


@jit
def exp(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Exponentials of numbers in [-700, 700]: float64 (n,) to (n,), to about one unit in the last place near zero."""
    result = np.empty(values.size)
    for i in range(values.size):
        exponent = np.floor(values[i] / LN_2 + 0.5)
        r = values[i] - exponent * LN_2
        series = 0.0
        for k in range(14):  # 1 + r + r**2/2! + ..., |r| < 0.35
            series = series * r + _INVERSE_FACTORIALS[k]
        result[i] = math.ldexp(series, int(exponent))
    return result


def principal_axes(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """The eigenvectors of a symmetric matrix, by Jacobi's rotations.

    Args:
        covariance: (n, n).

    Returns:
        (n, n), a unit vector a column, by decreasing eigenvalue; the largest component of each is positive.
    """
    matrix, axes = covariance.astype(np.float64), np.eye(len(covariance))
    for _ in range(12):
        for p in range(len(matrix)):
            for q in range(p + 1, len(matrix)):
                twice, difference = 2.0 * float(matrix[p, q]), float(matrix[q, q] - matrix[p, p])
                if abs(twice) <= 1e-30 * abs(difference) or twice == 0.0:
                    continue
                ratio = difference / twice
                tangent = (1.0 if ratio >= 0.0 else -1.0) / (abs(ratio) + math.sqrt(ratio * ratio + 1.0))
                cosine = 1.0 / math.sqrt(tangent * tangent + 1.0)
                sine = tangent * cosine
                for table in (matrix, axes, matrix.T):  # M -> R' M R, and the axes likewise
                    first, second = table[:, p].copy(), table[:, q].copy()
                    table[:, p], table[:, q] = cosine * first - sine * second, sine * first + cosine * second
    order = np.argsort(-np.diag(matrix), kind="stable")
    axes = axes[:, order]
    largest = axes[np.argmax(np.abs(axes), axis=0), np.arange(len(axes))]
    return axes * np.where(largest < 0.0, -1.0, 1.0)
