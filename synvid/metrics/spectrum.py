"""The amplitude spectrum of frames, and the exponent of A / |f|**alpha (section 5.4 of the paper; Torralba and Oliva 2003).

How, exactly. A frame's luma, in grey levels as stored (BT.601, gamma not undone), is cut to its central square, at most 1024
pixels a side; its mean is taken away, it is multiplied by a Hann window in x and y, and Fourier transformed. |F|, divided by
the side and the window's root mean square so that white noise of standard deviation s has amplitude s at any size, is averaged
over all orientations in rings a quarter of an octave wide, then over frames and clips. The line is fitted by least squares to
log amplitude over log frequency, each ring counting the same, from 4 cycles a picture to 1/4 cycle a pixel: below, the window
shapes the spectrum, above, the pixel grid, compression and the sampling of hard edges do. It is the exponent of the amplitude;
that of the power |F|**2 is twice as large.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["EDGES", "LEAST_SIDE", "Fit", "Rings", "describe", "fit_power_law", "fit_range", "luma", "ring_amplitudes"]


Array = NDArray[np.float64]

#: Of the rings, cycles a pixel: quarter octaves.
EDGES: Array = 2.0 ** (np.arange(-40, -3) / 4.0)
_RINGS = len(EDGES) - 1

_MAX_SIDE = 1024
_CYCLES_A_PICTURE, _CYCLES_A_PIXEL = 4.0, 0.25
#: Smaller squares have too few rings to fit.
LEAST_SIDE = 32


class Rings(NamedTuple):
    """A frame's spectrum.

    Attributes:
        amplitude: float64 (36,), mean |F| of each ring of `EDGES`, grey levels; 0 where the ring is empty.
        log_frequency: float64 (36,), mean log of its frequencies, cycles a pixel.
        present: float64 (36,), 1 where the ring is not empty.
    """

    amplitude: Array
    log_frequency: Array
    present: Array


class Fit(NamedTuple):
    """Lines log amplitude = log(A) - alpha log(f), one for each of b spectra; NaN where there is none."""

    alpha: Array
    log_a: Array
    r2: Array


def luma(frames: NDArray[np.uint8]) -> Array:
    """Grey levels 0..255 by BT.601, uint8 (..., 3) to float64 (...)."""
    grey: Array = frames @ np.array([0.299, 0.587, 0.114])
    return grey


class _Plan(NamedTuple):
    window: Array
    ring: NDArray[np.int64]  # of each coefficient of rfft2, flat; _RINGS where it is in none
    weight: Array  # how many coefficients of fft2 it stands for
    total: Any  # float64, of each ring
    log_frequency: Array


@lru_cache(maxsize=8)
def _plan(side: int) -> _Plan:
    wave = 0.5 - 0.5 * np.cos(2.0 * np.pi * (np.arange(side) + 0.5) / side)
    window = wave[:, None] * wave
    across, down = np.fft.rfftfreq(side), np.fft.fftfreq(side)
    frequency = np.hypot(down[:, None], across).ravel()
    ring = np.searchsorted(EDGES, frequency, side="right") - 1
    ring[(ring < 0) | (ring >= _RINGS)] = _RINGS
    twice = np.full(across.size, 2.0)
    twice[0] = 1.0
    if side % 2 == 0:
        twice[-1] = 1.0
    weight = np.broadcast_to(twice, (side, across.size)).ravel()
    total = np.bincount(ring, weight, _RINGS + 1)[:_RINGS]
    logs = np.bincount(ring, weight * np.log(np.maximum(frequency, EDGES[0] / 2)), _RINGS + 1)[:_RINGS]
    return _Plan(window / np.sqrt((window**2).mean()), ring, weight, total, logs / np.maximum(total, 1.0))


def ring_amplitudes(grey: Array) -> Rings:
    """The spectrum of a frame, averaged over orientations.

    Args:
        grey: float64 (H, W), from `luma`.
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
    """Which rings the line is fitted to, of frames whose smaller side is `side` pixels; none below `LEAST_SIDE`.

    >>> EDGES[fit_range(256)][[0, -1]] * 256
    array([ 4.        , 53.81737058])
    """
    first = int(np.searchsorted(EDGES, _CYCLES_A_PICTURE / min(side, _MAX_SIDE) * (1 - 1e-12)))
    last = int(np.searchsorted(EDGES, _CYCLES_A_PIXEL * (1 + 1e-12)) - 1)
    return slice(first, last if side >= LEAST_SIDE else first)


def fit_power_law(log_frequency: Array, amplitude: Array) -> Fit:
    """Fit A / f**alpha by least squares of the logarithms.

    Args:
        log_frequency: float64 (b, k).
        amplitude: float64 (b, k); points that are not above zero do not count.

    Returns:
        For each of the b spectra; NaN where fewer than three points count.

    >>> f = np.array([[0.1, 0.2, 0.4]])
    >>> float(fit_power_law(np.log(f), 5.0 / f**1.5).alpha[0].round(6))
    1.5
    """
    counts = amplitude > 0
    enough = counts.sum(axis=1) >= 3
    weight = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    x, y = np.where(counts, log_frequency, 0.0), np.log(np.where(counts, amplitude, 1.0))
    x_mean, y_mean = (weight * x).sum(axis=1, keepdims=True), (weight * y).sum(axis=1, keepdims=True)
    across = (weight * (x - x_mean) ** 2).sum(axis=1)
    both = (weight * (x - x_mean) * (y - y_mean)).sum(axis=1)
    up = (weight * (y - y_mean) ** 2).sum(axis=1)
    usable = enough & (across > 0)
    slope = np.where(usable, both / np.where(usable, across, 1.0), np.nan)
    rest = np.where(up > 0, 1.0 - slope * both / np.where(up > 0, up, 1.0), 0.0)
    return Fit(-slope, y_mean[:, 0] - slope * x_mean[:, 0], 1.0 - rest)


def describe(log_frequency: Array, amplitude: Array, rings: slice) -> dict[str, Any]:
    """Points and line of one spectrum as plain JSON: what a picture of the fit needs.

    Args:
        log_frequency, amplitude: float64 (36,).
        rings: that the line was fitted to.
    """
    some = amplitude > 0
    fit = fit_power_law(log_frequency[None, rings], amplitude[None, rings])
    return {
        "frequency": np.exp(log_frequency[some]).round(8).tolist(),
        "amplitude": amplitude[some].tolist(),
        "a": float(np.exp(fit.log_a[0])),
        "r2": float(fit.r2[0]),
        "fit_range": [float(EDGES[rings.start]), float(EDGES[rings.stop])],
        "frequency_unit": "cycles per pixel",
        "amplitude_unit": "grey levels",
    }
