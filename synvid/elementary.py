"""Sine, cosine and logarithm from + - * / alone, so that they have the same bits on every machine.

The C library's versions differ in the last bit between systems and vector widths. These are right to about one unit in the
last place: a Taylor series after the argument has been brought near zero.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from synvid._jit import jit

__all__ = ["log", "sin_cos", "sin_cos_of"]

_TWO_OVER_PI = 0.6366197723675814
# pi/2 in three parts; the first two have trailing zeros, so that a small integer times them is exact.
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
    """Sine and cosine of x radians, |x| up to 1e5."""
    quarter = np.floor(x * _TWO_OVER_PI + 0.5)
    r = ((x - quarter * _HALF_PI_1) - quarter * _HALF_PI_2) - quarter * _HALF_PI_3
    r2 = r * r
    # Taylor series, each term factored out of those behind it, from the far end.
    sine, cosine = 1.0, 1.0
    for k in range(_TERMS - 1, -1, -1):
        sine = 1.0 - r2 * _SINE[k] * sine
        cosine = 1.0 - r2 * _COSINE[k] * cosine
    sine *= r
    turn = int(quarter)
    odd = turn & 1
    one, other = (cosine, sine) if odd else (sine, cosine)
    return -one if turn & 2 else one, -other if (turn + 1) & 2 else other


@jit
def sin_cos_of(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Unit vectors (cos, sin) of angles in radians: float64 (n,) to (n, 2)."""
    vectors = np.empty((angles.size, 2))
    for i in range(angles.size):
        vectors[i, 1], vectors[i, 0] = sin_cos(angles[i])
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
