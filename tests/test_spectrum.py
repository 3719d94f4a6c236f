"""Amplitude spectra and their exponents, checked on synthetic noise, against SciPy and against a direct computation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from skimage.color import rgb2gray

from synvid.metrics import spectrum


def noise_image(alpha, height, width, seed):
    """Return an image with the expected amplitude spectrum 1 / |f|**alpha."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    frequency[0, 0] = 1.0
    white = np.random.default_rng(seed).standard_normal((height, width))
    return np.fft.ifft2(np.fft.fft2(white) * frequency**-alpha).real


def fitted_exponent(images):
    """Return the fitted exponent of the mean spectrum."""
    rings = [spectrum.ring_amplitudes(image) for image in images]
    fitted = spectrum.fit_range(min(min(image.shape) for image in images))
    amplitude = np.mean([item.amplitude for item in rings], axis=0)
    return float(spectrum.fit_power_law(rings[0].log_frequency[None, fitted], amplitude[None, fitted]).alpha[0])


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 1.3, 2.0, 2.5])
@pytest.mark.parametrize("size", [(64, 64), (120, 160), (256, 256), (331, 200)])
def test_exponent_of_power_law_noise_is_recovered(alpha, size):
    """The exponent of synthetic noise is measured to within 0.1 for odd and oblong sizes, too."""
    assert fitted_exponent([noise_image(alpha, *size, seed) for seed in range(24)]) == pytest.approx(alpha, abs=0.1)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.0, 2.5), st.integers(96, 200))
def test_exponent_is_recovered_for_any_exponent_and_size(alpha, side):
    """The exponent of synthetic noise is measured to within 0.12 for random exponents and sizes."""
    assert fitted_exponent([noise_image(alpha, side, side, seed) for seed in range(16)]) == pytest.approx(alpha, abs=0.12)


def test_amplitude_of_white_noise_is_independent_of_size():
    """The mean squared amplitude of white noise is its variance at any size."""
    for side in (64, 200):
        images = [np.random.default_rng(seed).normal(100.0, 7.0, (side, side)) for seed in range(40)]
        rings = [spectrum.ring_amplitudes(image).amplitude for image in images]
        # The mean of a Rayleigh distribution of mean square 7**2.
        assert np.mean(rings, axis=0)[-4] == pytest.approx(7.0 * math.sqrt(math.pi) / 2, rel=0.02)


def test_ring_amplitudes_match_full_fft():
    """The ring means are those of the full Fourier transform, computed directly."""
    image = noise_image(1.2, 45, 45, 3)
    hann = np.sin(np.pi * (np.arange(45) + 0.5) / 45) ** 2
    window = np.outer(hann, hann)
    magnitude = np.abs(np.fft.fft2((image - image.mean()) * window)) / 45 / np.sqrt((window**2).mean())
    frequency = np.hypot(np.fft.fftfreq(45)[:, None], np.fft.fftfreq(45))
    rings = spectrum.ring_amplitudes(image)
    for k in range(len(spectrum.EDGES) - 1):
        inside = (frequency >= spectrum.EDGES[k]) & (frequency < spectrum.EDGES[k + 1])
        assert rings.present[k] == inside.any()
        if inside.any():
            assert rings.amplitude[k] == pytest.approx(magnitude[inside].mean(), rel=1e-9)
            assert rings.log_frequency[k] == pytest.approx(np.log(frequency[inside]).mean(), rel=1e-9)


def test_fit_power_law_matches_scipy_linregress():
    """Slope, intercept and r squared are those of scipy.stats.linregress on the logarithms."""
    rng = np.random.default_rng(0)
    x, y = np.sort(rng.uniform(-4, -1, 12)), rng.uniform(1, 90, 12)
    fit, expected = spectrum.fit_power_law(x[None], y[None]), scipy_stats.linregress(x, np.log(y))
    assert fit.alpha[0] == pytest.approx(-expected.slope, rel=1e-12)
    assert fit.log_a[0] == pytest.approx(expected.intercept, rel=1e-12)
    assert fit.r2[0] == pytest.approx(expected.rvalue**2, rel=1e-9)


def test_fit_power_law_too_few_points_gives_nan():
    """Two points, or a single frequency, give NaN."""
    assert np.isnan(spectrum.fit_power_law(np.log([[0.1, 0.2, 0.3]]), np.array([[1.0, 2.0, 0.0]])).alpha[0])
    assert np.isnan(spectrum.fit_power_law(np.zeros((1, 4)), np.ones((1, 4))).alpha[0])


def test_exponent_ignores_contrast_and_brightness():
    """Scaling and shifting grey levels changes A but not alpha."""
    image = noise_image(1.1, 128, 128, 1)
    assert fitted_exponent([3.0 * image + 50.0]) == pytest.approx(fitted_exponent([image]), abs=1e-9)


def test_luma_has_bt601_weights():
    """White has luma 255 and red that of BT.601; on grey, scikit-image (BT.709) agrees."""
    assert spectrum.luma(np.array([[255, 255, 255], [255, 0, 0]], np.uint8)) == pytest.approx([255.0, 76.245])
    grey = np.full((2, 2, 3), 77, np.uint8)
    assert spectrum.luma(grey) == pytest.approx(255 * rgb2gray(grey))
