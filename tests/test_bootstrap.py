"""Bootstrap and jackknife: coverage of the intervals, also for few clips and skewed data, and parity with SciPy."""

from statistics import NormalDist

import numpy as np
import pytest
from scipy import stats as scipy_stats

from synvid.cli.metric_options import format_metrics
from synvid.metrics import bootstrap as bootstrap_module
from synvid.metrics.bootstrap import MIN_CLIPS, Estimate, bootstrap, column_mean, column_ratio, jackknife
from synvid.metrics.color import ColorGaussian, gaussians, spread, symmetric_kl
from synvid.metrics.results import DatasetMetrics, Property

WITHIN, BETWEEN = np.diag([100.0, 50.0, 50.0]), np.diag([200.0, 100.0, 100.0])
TRUTH = ColorGaussian(np.array([[50.0, 0.0, 0.0]]), (WITHIN + BETWEEN)[None])
NEAR, FAR = (ColorGaussian(np.array([[50.0 + 2 * s, s, 0.0]]), (WITHIN + BETWEEN)[None]) for s in (1.5, 5.0))


def sample_moments(rng, count):
    """Return the moments of clips whose mean colours differ."""
    mean = rng.multivariate_normal([50, 0, 0], BETWEEN, size=count)
    return np.concatenate([mean, (WITHIN + mean[:, :, None] * mean[:, None, :]).reshape(count, 9)], axis=1)


@pytest.mark.parametrize("count", [20, 50, 200])
@pytest.mark.parametrize(("draw", "truth"), [("normal", 0.0), ("exponential", 1.0)])
def test_bootstrap_interval_of_mean_has_coverage(draw, truth, count):
    """In 600 experiments, 90 to 98 % of the intervals contain the mean of normal and of skewed data."""
    rng, covered = np.random.default_rng(count), 0
    for k in range(600):
        low, high = bootstrap(getattr(rng, draw)(size=(count, 1)), column_mean(0), k, num_resamples=300).ci95
        covered += low <= truth <= high
    assert 0.90 <= covered / 600 <= 0.98


@pytest.mark.parametrize("count", [20, 50, 200])
@pytest.mark.parametrize("reference", [NEAR, FAR])
def test_jackknife_of_colour_distance_is_unbiased_and_has_coverage(reference, count):
    """The mean estimate is within a tenth of a nat of the truth, and 90 % of the intervals contain it."""
    truth = float(symmetric_kl(TRUTH, reference)[0])
    rng, estimates = np.random.default_rng(count), []
    for _ in range(300):
        estimates.append(jackknife(sample_moments(rng, count), lambda rows: symmetric_kl(gaussians(rows), reference)))
    assert np.mean([estimate.value for estimate in estimates]) == pytest.approx(truth, abs=0.1)
    assert np.mean([estimate.ci95[0] <= truth <= estimate.ci95[1] for estimate in estimates]) >= 0.90
    assert all(0 <= estimate.ci95[0] <= estimate.value <= estimate.ci95[1] for estimate in estimates)


def test_jackknife_interval_of_colour_spread_has_coverage():
    """90 % of the intervals contain the true spread, whose plain estimate is too small."""
    rng, truth = np.random.default_rng(0), float(spread(TRUTH)[0])
    intervals = [jackknife(sample_moments(rng, 20), lambda rows: spread(gaussians(rows))).ci95 for _ in range(300)]
    assert np.mean([low <= truth <= high for low, high in intervals]) >= 0.90


def test_few_clips_give_no_interval():
    """Fewer than MIN_CLIPS clips give a value without interval, and the table tells why."""
    rows = np.random.default_rng(0).normal(size=(MIN_CLIPS, 1)) ** 2
    for estimate in (bootstrap, jackknife):
        assert estimate(rows, column_mean(0)).ci95 is not None
        assert estimate(rows[1:], column_mean(0)).ci95 is None
    one = Property("Lightness", "", 1.0)
    few, many = (
        format_metrics(DatasetMetrics("x", "preset", "x", count, properties={"lightness": one})) for count in (19, 20)
    )
    assert "No intervals: they need 20 clips." in few
    assert "No intervals" not in many


def test_bootstrap_matches_scipy_bca():
    """The BCa interval of many values is close to SciPy's, and the quantile of Student's t equals SciPy's."""
    values = np.random.default_rng(1).exponential(size=500)
    expected = scipy_stats.bootstrap((values,), np.mean, n_resamples=4000, method="BCa", rng=1).confidence_interval
    interval = bootstrap(values[:, None], column_mean(0), num_resamples=4000).ci95
    assert interval == pytest.approx(tuple(expected), abs=0.1 * (expected.high - expected.low))
    for degrees in (15, 19, 100):
        assert bootstrap_module._t_quantile(degrees) == pytest.approx(scipy_stats.t.ppf(0.975, degrees), rel=1e-9)


def test_table_shows_intervals():
    """A value with an interval is followed by it in the table of `synvid stats`."""
    one = Property("Lightness", "units", 51.5, (50.25, 52.75))
    assert "Lightness       51.5  50.25 to 52.75         units" in format_metrics(
        DatasetMetrics("x", "preset", "x", 20, properties={"l": one})
    )


def test_bootstrap_interval_of_mean_is_two_standard_errors_wide():
    """The interval of a mean is 1.96 standard errors to each side, to within a tenth; SciPy's bootstrap agrees."""
    values = np.random.default_rng(4).normal(10.0, 2.0, 400)
    estimate = bootstrap(values[:, None], column_mean(0))
    half = 1.96 * values.std() / 20
    assert estimate.value == pytest.approx(values.mean())
    assert (estimate.ci95[1] - estimate.ci95[0]) / 2 == pytest.approx(half, rel=0.1)
    expected = scipy_stats.bootstrap((values,), np.mean, n_resamples=1000, method="percentile", rng=1).confidence_interval
    assert estimate.ci95 == pytest.approx(tuple(expected), abs=0.2 * half)


def test_bootstrap_interval_of_ratio_has_coverage():
    """In 200 experiments, 90 to 99.5 % of the intervals contain the true ratio."""
    rng, covered = np.random.default_rng(11), 0
    for _ in range(200):
        denominator = rng.uniform(1, 3, 60)
        rows = np.stack([2.0 * denominator + rng.normal(0, 1, 60), denominator], axis=1)
        low, high = bootstrap(rows, column_ratio(0, 1), num_resamples=300).ci95
        covered += low <= 2.0 <= high
    assert 180 <= covered <= 199


def test_bootstrap_depends_on_seed_only():
    """The same seed gives the same interval, another seed another one."""
    rows = np.random.default_rng(0).normal(size=(50, 1))
    assert bootstrap(rows, column_mean(0), 3) == bootstrap(rows, column_mean(0), 3)
    assert bootstrap(rows, column_mean(0), 3) != bootstrap(rows, column_mean(0), 4)


def test_undefined_statistics_have_no_value_or_interval():
    """No clips give no value, one clip gives no interval, and a ratio with denominator zero has no value."""
    assert bootstrap(np.empty((0, 1)), column_mean(0)).value is None
    assert bootstrap(np.array([[3.0]]), column_mean(0)) == Estimate(3.0, None)
    assert bootstrap(np.zeros((5, 2)), column_ratio(0, 1)).value is None


def abramowitz_stegun_t(degrees):
    """Return the 97.5 % quantile of Student's t by Abramowitz and Stegun 26.7.5."""
    z = NormalDist().inv_cdf(0.975)
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / degrees + second / degrees**2 + third / degrees**3


@pytest.mark.parametrize("degrees", [19, 49, 999])
def test_t_quantile_matches_expansion(degrees):
    """The quantile of Student's t equals its asymptotic expansion to four digits."""
    assert bootstrap_module._t_quantile(degrees) == pytest.approx(abramowitz_stegun_t(degrees), abs=1e-4)
