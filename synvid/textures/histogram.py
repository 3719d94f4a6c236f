"""Histogram matching in linear time: ranks are counted in bins, not sorted."""

from __future__ import annotations

import numpy as np

from synvid.numerics.jit import jit

__all__ = ["BINS", "match", "root_mean_square", "value_range"]


#: Bins in which ranks are counted; within a bin, the mapping is linear.
BINS = 4096
#: Numbers that are binned at a time.
_CHUNK = 256
#: Independent accumulators, for vector instructions.
_LANES = 32


@jit
def value_range(values):
    """Minimum and maximum of float32 (n,)."""
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
    """Root mean square of float32 (n,), summed in _LANES accumulators."""
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
    """Write the target quantile at the lower edge of each bin, and at the upper edge of the last.

    The target is uniform within each of its bins, so its quantiles are linear between the edges. Both cumulative counts
    increase, so one pass over both is enough.

    Args:
        counts: int64 (bins + 1,), numbers in each bin.
        total: how many numbers there are.
        cumulative, low, step: the target distribution, as in `match`.
        knots: float64 (bins + 1,), written.
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
def _standardize(counts, total, knots, spread):
    """Shift and scale the knots so that the matched numbers have mean zero and standard deviation `spread`.

    Numbers in a bin are assumed to be uniform between its two knots.
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
def _find_bins(values, minimum, scale, bins, fractions):
    """Write the bin of each number, and its position between the edges of the bin, 0 to 1."""
    for k in range(values.size):
        position = (values[k] - minimum) * scale
        bins[k] = np.int32(position)
        fractions[k] = position - np.float32(bins[k])


@jit
def match(values, cumulative, low, step, spread):
    """Replace numbers by those of the same rank in a target distribution.

    Args:
        values: float32 (n,); overwritten, unless all are equal.
        cumulative: float64 (bins + 1,), from 0 to 1, the cumulative target distribution at the edges of its bins.
        low, step: lower edge of the first bin of the target, and width of its bins.
        spread: standard deviation of the result, whose mean is then zero; 0 keeps mean and deviation of the target.
    """
    minimum, maximum = value_range(values)
    scale = np.float32(BINS) / (maximum - minimum)
    if not 0.0 < scale < np.inf:
        return
    counts = np.zeros(BINS + 1, np.int64)  # the maximum falls just beyond the last bin
    bins, fractions = np.empty(_CHUNK, np.int32), np.empty(_CHUNK, np.float32)
    for start in range(0, values.size, _CHUNK):
        chunk = values[start : start + _CHUNK]
        _find_bins(chunk, minimum, scale, bins, fractions)
        for k in range(chunk.size):
            counts[bins[k]] += 1
    counts[BINS - 1] += counts[BINS]
    knots = np.empty(BINS + 1)
    _quantiles(counts, values.size, cumulative, low, step, knots)
    if spread > 0.0:
        _standardize(counts, values.size, knots, spread)
    table = np.append(knots, knots[BINS]).astype(np.float32)
    for start in range(0, values.size, _CHUNK):
        chunk = values[start : start + _CHUNK]
        _find_bins(chunk, minimum, scale, bins, fractions)
        for k in range(chunk.size):
            j = bins[k]
            chunk[k] = table[j] + (table[j + 1] - table[j]) * fractions[k]
