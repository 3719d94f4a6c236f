"""How sure a number is: 95 % intervals over clips, by drawing whole clips again or leaving one out.

A clip is one row of numbers, a statistic is a function of the mean row, and a resample is a vector of weights. So all that is
kept of a clip is its row, and a thousand resamples are a few products of matrices.

Means, ratios and fits have the BCa interval of the bootstrap (Efron 1987), widened as Student's t is for small samples
(Hesterberg 2015). Statistics that are biased where clips are few, as those of a covariance, have the jackknife's estimate and
its t interval (Tukey 1958) instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

__all__ = ["LEAST_CLIPS", "REPEATS", "Estimate", "bootstrap", "jackknife", "mean_of", "ratio_of"]


Array = NDArray[np.float64]
#: From mean rows, float64 (b, d), to values, float64 (b,); NaN where there is none.
Statistic = Callable[[Array], Array]

#: Resamples.
REPEATS = 1000
#: Of fewer clips there is no interval: by simulation, it would hold the truth of skewed data in less than 90 %.
LEAST_CLIPS = 20

_AT_ONCE = 100  # resamples: bounds the matrix of weights
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Estimate:
    """A number and how sure it is.

    Attributes:
        value: None where there is none.
        ci95: ends of its interval; None where they cannot be told, of fewer than `LEAST_CLIPS` for instance.
    """

    value: float | None
    ci95: tuple[float, float] | None


def bootstrap(rows: Array, statistic: Statistic, seed: int = 0, repeats: int = REPEATS) -> Estimate:
    """A statistic of the mean row, and its 95 % interval over clips by BCa.

    Args:
        rows: float64 (n, d), a row a clip.
        statistic: from mean rows (b, d) to values (b,).
        seed: of the resamples.
        repeats: how many of them.

    >>> bootstrap(np.array([[1.0], [2.0], [3.0]]), mean_of(0)).value
    2.0
    """
    count, value = len(rows), _value(rows, statistic)
    if value is None or count < LEAST_CLIPS:
        return Estimate(value, None)
    random, found = np.random.default_rng(seed), []
    for begin in range(0, repeats, _AT_ONCE):
        weights = random.multinomial(count, np.full(count, 1.0 / count), min(_AT_ONCE, repeats - begin)) / count
        found.append(statistic(weights @ rows))
    values = np.concatenate(found)
    values = values[np.isfinite(values)]
    if len(values) < repeats / 2:  # most resamples have no value: neither has the interval
        return Estimate(value, None)
    low, high = np.quantile(values, _levels(values, value, _without_one(rows, statistic))).tolist()
    return Estimate(value, (low, high))


def _levels(values: Array, value: float, without: Array) -> list[float]:
    """Which quantiles of the resamples are the ends of the interval: corrected for bias and skewness."""
    below = (np.count_nonzero(values < value) + np.count_nonzero(values == value) / 2) / len(values)
    shift = _NORMAL.inv_cdf(min(max(below, 0.5 / len(values)), 1 - 0.5 / len(values)))
    apart = without.mean() - without
    spread = float((apart**2).sum())
    skewness = float((apart**3).sum()) / (6 * spread**1.5) if spread > 0 and math.isfinite(spread) else 0.0
    reach = _student(len(without) - 1) * math.sqrt(len(without) / (len(without) - 1))
    ends = (shift - reach, shift + reach)
    return [_NORMAL.cdf(shift + end / max(1 - skewness * end, 0.1)) for end in ends]


def jackknife(rows: Array, statistic: Statistic) -> Estimate:
    """A statistic of the mean row without its bias to first order in 1 / n, and its 95 % interval over clips.

    Args:
        rows: float64 (n, d), a row a clip.
        statistic: from mean rows (b, d) to values (b,), not below 0.

    >>> print(jackknife(np.arange(40.0)[:, None], mean_of(0)).value)
    19.5
    """
    count, value = len(rows), _value(rows, statistic)
    if value is None or count < 2:
        return Estimate(value, None)
    without = _without_one(rows, statistic)
    if not np.isfinite(without).all():  # a single clip decides whether there is a value
        return Estimate(value, None)
    value = count * value - (count - 1) * float(without.mean())
    half = _student(count - 1) * math.sqrt((count - 1) / count * float(((without - without.mean()) ** 2).sum()))
    interval = (max(value - half, 0.0), max(value + half, 0.0)) if count >= LEAST_CLIPS else None
    return Estimate(max(value, 0.0), interval)


def _value(rows: Array, statistic: Statistic) -> float | None:
    value = float(statistic(rows.mean(axis=0)[None])[0]) if len(rows) else math.nan
    return value if math.isfinite(value) else None


def _without_one(rows: Array, statistic: Statistic) -> Array:
    """The statistic of all rows but one, for each of them, float64 (n,)."""
    total, count = rows.sum(axis=0), len(rows)
    parts = [rows[begin : begin + _AT_ONCE] for begin in range(0, count, _AT_ONCE)]
    return np.concatenate([statistic((total - part) / (count - 1)) for part in parts])


def _student(freedom: int) -> float:
    """The 97.5 % quantile of Student's t (Abramowitz and Stegun 26.7.5); to 1e-4 from 15 degrees of freedom on."""
    z = _NORMAL.inv_cdf(0.975)
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3


def mean_of(column: int) -> Statistic:
    """The mean of a column."""
    return lambda rows: rows[:, column]


def ratio_of(above: int, below: int) -> Statistic:
    """The ratio of two sums; none where the lower one is zero."""

    def ratio(rows: Array) -> Array:
        some = rows[:, below] > 0
        return np.where(some, rows[:, above] / np.where(some, rows[:, below], 1.0), np.nan)

    return ratio
