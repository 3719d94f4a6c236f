"""The amplitude spectrum of frames, and the exponent of A / |f|**alpha (section 5.4 of the paper; Torralba and Oliva 2003).

The luma of a frame, in grey levels as stored (BT.601, gamma not undone), is cropped to its central square of at most 1024
pixels a side. The mean is subtracted, and the square is multiplied by a Hann window in x and y and Fourier transformed. |F| is
divided by the side and by the window's root mean square, so that white noise of standard deviation s has amplitude s at any
size. It is averaged over all orientations in rings a quarter of an octave wide, then over frames and clips. A line is fitted
by least squares to log amplitude over log frequency, all rings with the same weight, from 4 cycles per image to 1/4 cycle per
pixel: below, the window shapes the spectrum; above, the pixel grid, compression and the sampling of hard edges do. alpha is
the exponent of the amplitude; that of the power |F|**2 is twice as large.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["EDGES", "MIN_SIDE", "Fit", "Rings", "describe_fit", "fit_power_law", "fit_range", "luma", "ring_amplitudes"]


Array = NDArray[np.float64]

#: Frequencies between the rings, cycles per pixel, in steps of a quarter octave.
EDGES: Array = 2.0 ** (np.arange(-40, -3) / 4.0)
_RINGS = len(EDGES) - 1

_MAX_SIDE = 1024
_MIN_CYCLES_PER_IMAGE, _MAX_CYCLES_PER_PIXEL = 4.0, 0.25
#: Smaller squares have too few rings to fit.
MIN_SIDE = 32


class Rings(NamedTuple):
    """Amplitude spectrum of a frame, averaged over orientations.

    Attributes:
        amplitude: float64 (36,), mean |F| of each ring between `EDGES`, grey levels; 0 for an empty ring.
        log_frequency: float64 (36,), mean logarithm of the ring's frequencies, cycles per pixel.
        present: float64 (36,), 1 for a ring that is not empty, else 0.
    """

    amplitude: Array
    log_frequency: Array
    present: Array


class Fit(NamedTuple):
    """Fits of log amplitude = log(A) - alpha log(f), float64 (b,) each, for b spectra; NaN where there is none."""

    alpha: Array
    log_a: Array
    r2: Array


def luma(frames: NDArray[np.uint8]) -> Array:
    """Convert RGB, uint8 (..., 3), to BT.601 luma, float64 (...), 0..255."""
    grey: Array = frames @ np.array([0.299, 0.587, 0.114])
    return grey


class _WindowPlan(NamedTuple):
    window: Array
    ring: NDArray[np.int64]  # ring of each coefficient of rfft2, flattened; _RINGS outside all rings
    weight: Array  # number of coefficients of fft2 that each stands for
    total: Any  # float64 (36,), weight of each ring
    log_frequency: Array


@lru_cache(maxsize=8)
def _plan(side: int) -> _WindowPlan:
    hann = 0.5 - 0.5 * np.cos(2.0 * np.pi * (np.arange(side) + 0.5) / side)
    window = hann[:, None] * hann
    frequency_x, frequency_y = np.fft.rfftfreq(side), np.fft.fftfreq(side)
    frequency = np.hypot(frequency_y[:, None], frequency_x).ravel()
    ring = np.searchsorted(EDGES, frequency, side="right") - 1
    ring[(ring < 0) | (ring >= _RINGS)] = _RINGS
    multiplicity = np.full(frequency_x.size, 2.0)  # rfft2 leaves out the conjugate half
    multiplicity[0] = 1.0
    if side % 2 == 0:
        multiplicity[-1] = 1.0
    weight = np.broadcast_to(multiplicity, (side, frequency_x.size)).ravel()
    total = np.bincount(ring, weight, _RINGS + 1)[:_RINGS]
    logs = np.bincount(ring, weight * np.log(np.maximum(frequency, EDGES[0] / 2)), _RINGS + 1)[:_RINGS]
    return _WindowPlan(window / np.sqrt((window**2).mean()), ring, weight, total, logs / np.maximum(total, 1.0))


def ring_amplitudes(grey: Array) -> Rings:
    """Return the amplitude spectrum of a frame, averaged over orientations.

    Args:
        grey: float64 (H, W), luma.
    """
    side = min(*grey.shape, _MAX_SIDE)
    top, left = (grey.shape[0] - side) // 2, (grey.shape[1] - side) // 2
    square = grey[top : top + side, left : left + side]
    plan = _plan(side)
    magnitude = np.abs(np.fft.rfft2((square - square.mean()) * plan.window)).ravel() / side
    sums = np.bincount(plan.ring, plan.weight * magnitude, _RINGS + 1)[:_RINGS]
    present = (plan.total > 0).astype(np.float64)
    return Rings(sums / np.maximum(plan.total, 1.0), plan.log_frequency, present)


def fit_range(side: int) -> slice:
    """Return the rings to fit for frames whose smaller side is `side` pixels; an empty slice below `MIN_SIDE`.

    Examples:
        >>> EDGES[fit_range(256)][[0, -1]] * 256
        array([ 4.        , 53.81737058])
    """
    first = int(np.searchsorted(EDGES, _MIN_CYCLES_PER_IMAGE / min(side, _MAX_SIDE) * (1 - 1e-12)))
    last = int(np.searchsorted(EDGES, _MAX_CYCLES_PER_PIXEL * (1 + 1e-12)) - 1)
    return slice(first, last if side >= MIN_SIDE else first)


def fit_power_law(log_frequency: Array, amplitude: Array) -> Fit:
    """Fit A / f**alpha by least squares of the logarithms.

    Args:
        log_frequency: float64 (b, k).
        amplitude: float64 (b, k); points that are not positive are ignored.

    Returns:
        The fits of the b spectra; NaN for fewer than three points.

    Examples:
        >>> f = np.array([[0.1, 0.2, 0.4]])
        >>> float(fit_power_law(np.log(f), 5.0 / f**1.5).alpha[0].round(6))
        1.5
    """
    positive = amplitude > 0
    enough = positive.sum(axis=1) >= 3
    weight = positive / np.maximum(positive.sum(axis=1, keepdims=True), 1)
    x, y = np.where(positive, log_frequency, 0.0), np.log(np.where(positive, amplitude, 1.0))
    x_mean, y_mean = (weight * x).sum(axis=1, keepdims=True), (weight * y).sum(axis=1, keepdims=True)
    var_x = (weight * (x - x_mean) ** 2).sum(axis=1)
    covariance = (weight * (x - x_mean) * (y - y_mean)).sum(axis=1)
    var_y = (weight * (y - y_mean) ** 2).sum(axis=1)
    usable = enough & (var_x > 0)
    slope = np.where(usable, covariance / np.where(usable, var_x, 1.0), np.nan)
    residual = np.where(var_y > 0, 1.0 - slope * covariance / np.where(var_y > 0, var_y, 1.0), 0.0)
    return Fit(-slope, y_mean[:, 0] - slope * x_mean[:, 0], 1.0 - residual)


def describe_fit(log_frequency: Array, amplitude: Array, rings: slice) -> dict[str, Any]:
    """Return the points and the fitted line of one spectrum as plain JSON, for a plot.

    Args:
        log_frequency, amplitude: float64 (36,), all rings.
        rings: the rings that the line is fitted to.
    """
    positive = amplitude > 0
    fit = fit_power_law(log_frequency[None, rings], amplitude[None, rings])
    return {
        "frequency": np.exp(log_frequency[positive]).round(8).tolist(),
        "amplitude": amplitude[positive].tolist(),
        "a": float(np.exp(fit.log_a[0])),
        "r2": float(fit.r2[0]),
        "fit_range": [float(EDGES[rings.start]), float(EDGES[rings.stop])],
        "frequency_unit": "cycles per pixel",
        "amplitude_unit": "grey levels",
    }
