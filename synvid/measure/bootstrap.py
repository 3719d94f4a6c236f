"""How sure a number is: percentile intervals by drawing whole clips again, with replacement (Efron 1979).

A clip is one row of numbers, a statistic is a function of the mean row, and a resample is a vector of weights. So all that is
kept of a clip is its row, and a thousand resamples are a few products of matrices.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["REPEATS", "Estimate", "bootstrap", "mean_of", "ratio_of"]

Array = NDArray[np.float64]
#: From mean rows, float64 (b, d), to values, float64 (b,); NaN where there is none.
Statistic = Callable[[Array], Array]

#: Resamples.
REPEATS = 1000

_AT_ONCE = 100  # resamples: bounds the matrix of weights


@dataclass(frozen=True)
class Estimate:
    """A number and how sure it is.

    Attributes:
        value: None where there is none.
        ci95: 2.5 and 97.5 % of the resamples; None where they cannot be told, of one clip for instance.
    """

    value: float | None
    ci95: tuple[float, float] | None


def bootstrap(rows: Array, statistic: Statistic, seed: int = 0, repeats: int = REPEATS) -> Estimate:
    """A statistic of the mean row, and its 95 % interval over clips.

    Args:
        rows: float64 (n, d), a row a clip.
        statistic: from mean rows (b, d) to values (b,).
        seed: of the resamples.
        repeats: how many of them.

    >>> bootstrap(np.array([[1.0], [2.0], [3.0]]), mean_of(0)).value
    2.0
    """
    count = len(rows)
    if count == 0:
        return Estimate(None, None)
    value = float(statistic(rows.mean(axis=0)[None])[0])
    if not math.isfinite(value):
        return Estimate(None, None)
    if count == 1:
        return Estimate(value, None)
    random, found = np.random.default_rng(seed), []
    for begin in range(0, repeats, _AT_ONCE):
        weights = random.multinomial(count, np.full(count, 1.0 / count), min(_AT_ONCE, repeats - begin)) / count
        found.append(statistic(weights @ rows))
    values = np.concatenate(found)
    values = values[np.isfinite(values)]
    if len(values) < repeats / 2:  # most resamples have no value: neither has the interval
        return Estimate(value, None)
    low, high = np.percentile(values, [2.5, 97.5]).tolist()
    return Estimate(value, (low, high))


def mean_of(column: int) -> Statistic:
    """The mean of a column."""
    return lambda rows: rows[:, column]


def ratio_of(above: int, below: int) -> Statistic:
    """The ratio of two sums; none where the lower one is zero."""

    def ratio(rows: Array) -> Array:
        some = rows[:, below] > 0
        return np.where(some, rows[:, above] / np.where(some, rows[:, below], 1.0), np.nan)

    return ratio
