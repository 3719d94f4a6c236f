"""Giving a set of numbers a distribution, by rank, in linear time."""

from __future__ import annotations

import numpy as np

from synvid.numerics.jit import jit

__all__ = ["BINS", "match", "root_mean_square", "value_range"]


#: Bins in which the ranks are counted; within a bin the numbers keep their proportions.
BINS = 4096
#: Numbers that are looked at between two looks at the tables.
_CHUNK = 256
#: Numbers that are compared side by side.
_LANES = 32


@jit
def value_range(values):
    """The least and the greatest of float32 (n,)."""
    lows, highs = np.full(_LANES, values[0]), np.full(_LANES, values[0])
    whole = values.size - values.size % _LANES
    for start in range(0, whole, _LANES):
        for lane in range(_LANES):
            value = values[start + lane]
            lows[lane] = min(lows[lane], value)
            highs[lane] = max(highs[lane], value)
    for k in range(whole, values.size):
        lows[0] = min(lows[0], values[k])
        highs[0] = max(highs[0], values[k])
    return lows.min(), highs.max()


@jit
def root_mean_square(values):
    """Of float32 (n,), summed lane by lane."""
    sums = np.zeros(_LANES, np.float32)
    whole = values.size - values.size % _LANES
    for start in range(0, whole, _LANES):
        for lane in range(_LANES):
            sums[lane] += values[start + lane] * values[start + lane]
    for k in range(whole, values.size):
        sums[0] += values[k] * values[k]
    total = 0.0
    for lane in range(_LANES):
        total += sums[lane]
    return np.sqrt(total / values.size)


@jit
def _quantiles(counts, total, cumulative, low, step, knots):
    """Write the value of the target at the share of numbers before each bin, and after the last.

    The target is uniform within each of its bins, so its quantiles are straight between the edges. Both shares grow, so
    one walk along both does it.
    """
    j, seen = 0, 0
    for t in range(cumulative.size - 1):
        first, end = cumulative[t] * total, cumulative[t + 1] * total
        slope = step / (end - first) if end > first else 0.0
        last = t == cumulative.size - 2
        while j < knots.size and (seen < end or last):
            knots[j] = low + step * t + slope * (seen - first)
            seen += counts[j]
            j += 1


@jit
def _give_spread(counts, total, knots, spread):
    """Shift and scale the knots so that the numbers will have mean zero and the standard deviation `spread`.

    Numbers in a bin are taken as uniform between its two knots.
    """
    mean, square = 0.0, 0.0
    for j in range(BINS):
        a, b = knots[j], knots[j + 1]
        mean += counts[j] * (a + b) / 2.0
        square += counts[j] * (a * a + a * b + b * b) / 3.0
    mean /= total
    gain = spread / np.sqrt(square / total - mean * mean)
    for j in range(knots.size):
        knots[j] = (knots[j] - mean) * gain


@jit
def _places(values, least, scale, bins, rests):
    """Write in which bin each number lies, and where between its edges, 0 to 1."""
    for k in range(values.size):
        place = (values[k] - least) * scale
        bins[k] = np.int32(place)
        rests[k] = place - np.float32(bins[k])


@jit
def match(values, cumulative, low, step, spread):
    """Replace numbers by those of the same rank in a target distribution.

    Args:
        values: float32 (n,); overwritten. Left alone where all are equal.
        cumulative: float64 (bins + 1,), from 0 to 1, the distribution of the target at the edges of its bins.
        low, step: where the target's first bin begins, and how wide its bins are.
        spread: the standard deviation to give afterwards, about a mean of zero; 0 leaves the target's own.
    """
    least, greatest = value_range(values)
    scale = np.float32(BINS) / (greatest - least)
    if not 0.0 < scale < np.inf:
        return
    counts = np.zeros(BINS + 1, np.int64)  # the greatest number falls just beyond the last bin
    bins, rests = np.empty(_CHUNK, np.int32), np.empty(_CHUNK, np.float32)
    for start in range(0, values.size, _CHUNK):
        chunk = values[start : start + _CHUNK]
        _places(chunk, least, scale, bins, rests)
        for k in range(chunk.size):
            counts[bins[k]] += 1
    counts[BINS - 1] += counts[BINS]
    knots = np.empty(BINS + 1)
    _quantiles(counts, values.size, cumulative, low, step, knots)
    if spread > 0.0:
        _give_spread(counts, values.size, knots, spread)
    table = np.append(knots, knots[BINS]).astype(np.float32)
    for start in range(0, values.size, _CHUNK):
        chunk = values[start : start + _CHUNK]
        _places(chunk, least, scale, bins, rests)
        for k in range(chunk.size):
            j = bins[k]
            chunk[k] = table[j] + (table[j + 1] - table[j]) * rests[k]
