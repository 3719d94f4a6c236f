"""Elementary functions from + - * / alone, with the same bits on every machine.

Those of the C library differ in the last bit between systems and vector widths. These are accurate to about one unit in the
last place: a Taylor series, after argument reduction.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from synvid.numerics.jit import jit

__all__ = ["LN_2", "exp", "log", "principal_axes", "sin_cos", "sin_cos_array"]


_TWO_OVER_PI = 0.6366197723675814
# pi/2 as the sum of three numbers; the first two end in zero bits, so that their products with a small integer are exact.
_HALF_PI_1 = float.fromhex("0x1.921fb54400000p+0")
_HALF_PI_2 = float.fromhex("0x1.0b4611a600000p-34")
_HALF_PI_3 = float.fromhex("0x1.3198a2e037073p-69")
_TERMS = 9
_SINE = np.array([1 / ((2 * k) * (2 * k + 1)) for k in range(1, _TERMS + 1)])
_COSINE = np.array([1 / ((2 * k - 1) * (2 * k)) for k in range(1, _TERMS + 1)])
_LN_2 = 0.6931471805599453
_SQRT_HALF = 0.7071067811865476


@jit
def sin_cos(x: float) -> tuple[float, float]:
    """Sine and cosine of x radians, |x| up to 1e5: the same bits as `sin_cos_array`, for one angle."""
    quarter = np.floor(x * _TWO_OVER_PI + 0.5)
    r = ((x - quarter * _HALF_PI_1) - quarter * _HALF_PI_2) - quarter * _HALF_PI_3
    r2 = r * r
    sine, cosine = 1.0, 1.0
    for k in range(_TERMS - 1, -1, -1):
        sine = 1.0 - r2 * _SINE[k] * sine
        cosine = 1.0 - r2 * _COSINE[k] * cosine
    sine *= r
    quadrant = int(quarter)
    if quadrant & 1:
        sine, cosine = cosine, sine
    return -sine if quadrant & 2 else sine, -cosine if (quadrant + 1) & 2 else cosine


@jit
def sin_cos_array(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit vectors (cos, sin) of angles in radians, |angle| up to 1e5: float64 (n,) to (n, 2).

    The inner loops run over the angles, so that LLVM vectorizes them.
    """
    quarter = np.floor(angles * _TWO_OVER_PI + 0.5)
    r = ((angles - quarter * _HALF_PI_1) - quarter * _HALF_PI_2) - quarter * _HALF_PI_3
    r2 = r * r
    sine, cosine = np.ones(angles.size), np.ones(angles.size)
    for k in range(_TERMS - 1, -1, -1):  # Taylor series in Horner form
        a, b = _SINE[k], _COSINE[k]
        for i in range(angles.size):
            sine[i] = 1.0 - r2[i] * a * sine[i]
            cosine[i] = 1.0 - r2[i] * b * cosine[i]
    vectors = np.empty((angles.size, 2))
    for i in range(angles.size):
        quadrant = int(quarter[i])
        y, x = r[i] * sine[i], cosine[i]
        if quadrant & 1:
            y, x = x, y
        vectors[i, 0] = -x if (quadrant + 1) & 2 else x
        vectors[i, 1] = -y if quadrant & 2 else y
    return vectors


@jit
def log(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Natural logarithm of numbers in (0, 1]: float64 (n,) to (n,)."""
    result = np.empty(values.size)
    for i in range(values.size):
        mantissa, exponent = values[i], 0
        while mantissa < _SQRT_HALF:
            mantissa *= 2.0
            exponent += 1
        # log m = 2 atanh((m - 1) / (m + 1)) = 2 (s + s**3/3 + s**5/5 + ...), |s| < 0.18
        s = (mantissa - 1.0) / (mantissa + 1.0)
        s2 = s * s
        series = 0.0
        for k in range(11, -1, -1):
            series = series * s2 + 1.0 / (2 * k + 1)
        result[i] = 2.0 * s * series - exponent * _LN_2
    return result


LN_2 = 0.6931471805599453
#: 1/13!, 1/12!, ..., 1/0!
_INVERSE_FACTORIALS = tuple(1.0 / math.factorial(k) for k in range(13, -1, -1))


@jit
def exp(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Exponentials of numbers in [-700, 700]: float64 (n,) to (n,), accurate to about one unit in the last place near zero."""
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
    """The eigenvectors of a symmetric matrix, by Jacobi rotations.

    Args:
        covariance: symmetric, (n, n).

    Returns:
        (n, n), unit vectors as columns, by decreasing eigenvalue; the largest component of each is positive.
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
