"""Intervals hold the truth as often as they say, also of few clips and of skewed data."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from synvid.cli.metric_options import format_metrics
from synvid.metrics import bootstrap as module
from synvid.metrics.bootstrap import LEAST_CLIPS, bootstrap, jackknife, mean_of
from synvid.metrics.color import ColorGaussian, gaussians, spread, symmetric_kl
from synvid.metrics.results import DatasetMetrics, Property

WITHIN, BETWEEN = np.diag([100.0, 50.0, 50.0]), np.diag([200.0, 100.0, 100.0])
TRUTH = ColorGaussian(np.array([[50.0, 0.0, 0.0]]), (WITHIN + BETWEEN)[None])
NEAR, FAR = (ColorGaussian(np.array([[50.0 + 2 * s, s, 0.0]]), (WITHIN + BETWEEN)[None]) for s in (1.5, 5.0))


def clips(random, count):
    """Moments of clips, each with a mean colour of its own."""
    mean = random.multivariate_normal([50, 0, 0], BETWEEN, size=count)
    return np.concatenate([mean, (WITHIN + mean[:, :, None] * mean[:, None, :]).reshape(count, 9)], axis=1)


@pytest.mark.parametrize("count", [20, 50, 200])
@pytest.mark.parametrize(("draw", "truth"), [("normal", 0.0), ("exponential", 1.0)])
def test_intervals_of_means_cover(draw, truth, count):
    """Of 600 experiments, between 90 and 98 % of the intervals hold the mean of normal and of skewed data."""
    random, held = np.random.default_rng(count), 0
    for k in range(600):
        low, high = bootstrap(getattr(random, draw)(size=(count, 1)), mean_of(0), k, repeats=300).ci95
        held += low <= truth <= high
    assert 0.90 <= held / 600 <= 0.98


@pytest.mark.parametrize("count", [20, 50, 200])
@pytest.mark.parametrize("reference", [NEAR, FAR])
def test_distances_of_colours_are_without_bias_and_cover(reference, count):
    """The mean estimate is within a tenth of a nat of the truth, and 90 % of the intervals hold it."""
    truth = float(symmetric_kl(TRUTH, reference)[0])
    random, found = np.random.default_rng(count), []
    for _ in range(300):
        found.append(jackknife(clips(random, count), lambda rows: symmetric_kl(gaussians(rows), reference)))
    assert np.mean([one.value for one in found]) == pytest.approx(truth, abs=0.1)
    assert np.mean([one.ci95[0] <= truth <= one.ci95[1] for one in found]) >= 0.90
    assert all(0 <= one.ci95[0] <= one.value <= one.ci95[1] for one in found)


def test_the_spread_of_colours_covers():
    """So does the spread, whose plain estimate is too small."""
    random, truth = np.random.default_rng(0), float(spread(TRUTH)[0])
    found = [jackknife(clips(random, 20), lambda rows: spread(gaussians(rows))).ci95 for _ in range(300)]
    assert np.mean([low <= truth <= high for low, high in found]) >= 0.90


def test_few_clips_have_no_interval():
    """Below the least number there is a value only, and the table says so."""
    rows = np.random.default_rng(0).normal(size=(LEAST_CLIPS, 1)) ** 2
    for estimate in (bootstrap, jackknife):
        assert estimate(rows, mean_of(0)).ci95 is not None
        assert estimate(rows[1:], mean_of(0)).ci95 is None
    one = Property("Lightness", "", 1.0)
    few, many = (
        format_metrics(DatasetMetrics("x", "preset", "x", count, properties={"lightness": one})) for count in (19, 20)
    )
    assert "No intervals: they need 20 clips." in few
    assert "No intervals" not in many


def test_intervals_are_those_of_scipy():
    """BCa of many values is scipy's, and Student's quantile is to four digits."""
    values = np.random.default_rng(1).exponential(size=500)
    theirs = scipy_stats.bootstrap((values,), np.mean, n_resamples=4000, method="BCa", rng=1).confidence_interval
    found = bootstrap(values[:, None], mean_of(0), repeats=4000).ci95
    assert found == pytest.approx(tuple(theirs), abs=0.1 * (theirs.high - theirs.low))
    for freedom in (15, 19, 100):
        assert module._student(freedom) == pytest.approx(scipy_stats.t.ppf(0.975, freedom), abs=1e-4)


def test_the_table_has_intervals():
    """Behind each value of enough clips."""
    one = Property("Lightness", "units", 51.5, (50.25, 52.75))
    assert "Lightness       51.5  50.25 to 52.75         units" in format_metrics(
        DatasetMetrics("x", "preset", "x", 20, properties={"l": one})
    )
