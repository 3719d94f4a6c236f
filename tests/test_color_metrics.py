"""Gaussians of colours in L*a*b* and their divergence, checked against NumPy, SciPy and hand computations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from skimage.color import rgb2lab

from synvid.metrics import color


def test_moments_match_numpy_on_all_pixels():
    """Mean, covariance and spread in L*a*b* equal those that NumPy computes from all pixels at once."""
    frames = np.random.default_rng(2).integers(0, 256, (3, 17, 23, 3)).astype(np.uint8)
    pixels = rgb2lab(frames).reshape(-1, 3)
    gaussian = color.gaussians(color.moments(frames)[None])
    np.testing.assert_allclose(gaussian.mean[0], pixels.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(gaussian.covariance[0], np.cov(pixels.T, bias=True), rtol=1e-8)
    assert color.spread(gaussian)[0] == pytest.approx(np.linalg.det(np.cov(pixels.T, bias=True)) ** (1 / 6), rel=1e-8)


def test_clips_have_equal_weight_whatever_their_size():
    """The mean of a small black and a large white clip is mid-grey."""
    small, large = np.zeros((1, 8, 8, 3), np.uint8), np.full((4, 50, 60, 3), 255, np.uint8)
    rows = np.stack([color.moments(small), color.moments(large)])
    assert color.gaussians(rows.mean(axis=0)[None]).mean[0, 0] == pytest.approx(50.0, abs=1e-3)


def make_gaussian(mean, covariance):
    return color.ColorGaussian(np.array([mean], np.float64), np.array([covariance], np.float64))


def test_symmetric_kl_matches_hand_computation():
    """In one direction N(0, 1) and N(1, 4): KL is ln 2 + 2/8 - 1/2 and -ln 2 + 5/2 - 1/2, together 1.75."""
    p, q = make_gaussian([0, 0, 0], np.eye(3)), make_gaussian([1, 0, 0], np.diag([4, 1, 1]))
    assert color.symmetric_kl(p, q)[0] == pytest.approx(1.75)


def test_symmetric_kl_matches_sampling():
    """The divergence is the mean of log p - log q over samples of p, plus the reverse over samples of q."""
    rng = np.random.default_rng(5)
    parts = []
    for _ in range(2):
        a = rng.normal(size=(3, 3))
        parts.append((rng.normal(size=3), a @ a.T + 0.5 * np.eye(3)))
    p, q = (scipy_stats.multivariate_normal(*part) for part in parts)
    x, y = p.rvs(400_000, random_state=1), q.rvs(400_000, random_state=2)
    sampled = (p.logpdf(x) - q.logpdf(x)).mean() + (q.logpdf(y) - p.logpdf(y)).mean()
    assert color.symmetric_kl(make_gaussian(*parts[0]), make_gaussian(*parts[1]))[0] == pytest.approx(sampled, rel=0.02)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_symmetric_kl_is_symmetric_positive_and_zero_for_equal_gaussians(seed):
    """The divergence of any two Gaussians is symmetric and positive; that of a Gaussian from itself is 0."""
    rng = np.random.default_rng(seed)
    p, q = (make_gaussian(rng.normal(size=3) * 20, (a := rng.normal(size=(3, 3)) * 9) @ a.T + np.eye(3)) for _ in "pq")
    assert color.symmetric_kl(p, q)[0] == pytest.approx(color.symmetric_kl(q, p)[0], rel=1e-9)
    assert color.symmetric_kl(p, q)[0] > 0
    assert color.symmetric_kl(p, p)[0] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("kind", ["black", "grey", "two colours"])
def test_symmetric_kl_of_degenerate_colours_is_nan(kind):
    """Black, grey and two-coloured clips have no divergence, though rounding errors would give a finite one."""
    frames = np.zeros((1, 16, 16, 3), np.uint8)
    if kind == "grey":
        frames[:] = np.arange(16, dtype=np.uint8)[:, None] * 10
    elif kind == "two colours":
        frames[:, 8:] = (200, 30, 60)
    gaussian = color.gaussians(color.moments(frames)[None])
    assert np.isnan(color.symmetric_kl(gaussian, make_gaussian([50, 0, 0], np.eye(3) * 100))[0])
    assert np.isnan(color.symmetric_kl(make_gaussian([50, 0, 0], np.eye(3) * 100), gaussian)[0])
    assert color.spread(gaussian)[0] == pytest.approx(0.0, abs=0.05)
