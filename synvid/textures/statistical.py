"""Statistical images: noise on which the spectrum, the wavelet marginals and the colours of natural images are imposed.

Baradad et al. 2021, "Learning to See by Looking at Noise". Three uncorrelated channels of uniform noise get, in ten rounds and
in this order: a power-law spectrum, sparse marginals in every band of a steerable pyramid, and the histograms of a random
palette. Then they are mixed to red, green and blue along the principal axes of the palette.

Only integer Philox, + - * / and square roots are used, so an image has the same bytes on every machine; for that reason the
Fourier transform is our own (`synvid.numerics.fft`). A 256 px image takes about 0.1 s on one core, 0.02 s without wavelets.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from synvid.numerics import portable_math, rng
from synvid.numerics.fft import forward, inverse, join_halves, plan_for, split_halves
from synvid.numerics.jit import jit
from synvid.numerics.portable_math import LN_2, exp
from synvid.numerics.streams import Stream
from synvid.textures.histogram import match, root_mean_square, value_range
from synvid.textures.palette import Palette, make_palette
from synvid.textures.pyramid import Pyramid, add_band, keep_residual, pyramid_for, take_band

__all__ = ["VERSION", "sample"]


#: Part of the identity of a texture: increased whenever the pixels change.
VERSION: int = 1

_ROUNDS = 10
#: Width and number of the bins of the distribution of a wavelet coefficient, centred on zero: -200..200.
_BIN_WIDTH, _NUM_BINS = 0.5, 801


class Spectrum(NamedTuple):
    """Magnitudes 1 / (|fx|**(slope + skew) + |fy|**(slope - skew))."""

    slope: float
    skew: float
    magnitude: NDArray[np.float32]  # (n, n // 2 + 1), in the layout of `synvid.numerics.fft.forward`
    energy: float  # sum of the squares of all n * n magnitudes


class Marginals(NamedTuple):
    """The distributions of the bands of one level of one channel, symmetric about zero."""

    sparsity: NDArray[np.float64]  # (bands,) rho: smaller values have heavier tails
    cumulative: NDArray[np.float64]  # (bands, 802) cumulative distributions at the edges of the bins
    spread: NDArray[np.float64]  # (bands,) standard deviations


def sample(
    seed: int,
    index: int,
    size: int = 256,
    spectrum: bool = True,
    wavelets: bool = True,
    color: bool = True,
) -> NDArray[np.uint8]:
    """Generate a statistical image (Baradad et al. 2021, section 3.2).

    Every quantity has its own random stream, so switching one constraint off does not change the parameters of the others.

    Args:
        seed, index: random seed and index of the image, each 0..2**64 - 1.
        size: height and width in pixels, a multiple of 16 from 32 to 512.
        spectrum: impose a random power-law spectrum.
        wavelets: impose sparse marginals on the bands of the steerable pyramid; this takes nine tenths of the time.
        color: impose the histograms of a random palette. The channels are mixed along its axes in any case.

    Returns:
        uint8 (size, size, 3), RGB; over all channels, the minimum is 0 and the maximum 255.

    Raises:
        ValueError: the size is not allowed.
    """
    if size % 16 or not 32 <= size <= 512:
        raise ValueError(f"the size of a statistical image is a multiple of 16 from 32 to 512, not {size}")
    palette = _sample_palette(seed, index, size)
    channels = _make_channels(seed, index, size, spectrum=spectrum, wavelets=wavelets, palette=palette if color else None)
    image: NDArray[np.uint8] = _mix_channels(channels, palette.mean, palette.axes)
    return image


def _make_channels(
    seed: int, index: int, size: int, *, spectrum: bool, wavelets: bool, palette: Palette | None
) -> NDArray[np.float32]:
    """Generate the three uncorrelated channels, float32 (3, size, size)."""
    plan = plan_for(size)
    pyramid = pyramid_for(size, _num_scales(size))
    magnitudes = _sample_spectrum(seed, index, size) if spectrum else None
    marginals = _sample_marginals(seed, index, pyramid) if wavelets else None
    noise = (256.0 * _uniform(seed, index, Stream.STATISTICAL_NOISE, 3, size, size)).astype(np.float32)
    result = np.empty((3, size, size), np.float32)
    for c in range(3):
        halves = split_halves(noise[c])
        transformed = np.empty((2, size, size // 2 + 1), np.float32)
        for _ in range(_ROUNDS):
            if magnitudes is not None or marginals is not None:
                forward(halves, transformed, plan)
                if magnitudes is not None:
                    _impose_magnitudes(transformed, magnitudes.magnitude, magnitudes.energy)
                if marginals is not None:
                    transformed = _impose_marginals(transformed, pyramid, marginals[c])
                inverse(transformed, halves, plan)
            if palette is not None:
                match(halves.reshape(-1), palette.cumulative[c], palette.low[c], palette.step[c], 0.0)
        result[c] = join_halves(halves)
    return result


def _num_scales(size: int) -> int:
    """Number of scales of the pyramid: 4 at 256 px, 3 at 128 px, at least one."""
    return max(size.bit_length() - 5, 1)


# ---- Random parameters ----------------------------------------------------------------------------------------------


def _uniform(seed: int, index: int, stream: Stream, *shape: int) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1) from a random stream, float64 of the given shape."""
    words = rng.raw(np.uint64(seed), np.uint64(index), int(stream), math.prod(shape))
    return ((words >> np.uint64(11)).astype(np.float64) * 2.0**-53).reshape(shape)


def _draw(seed: int, index: int, stream: Stream) -> float:
    """One uniform number in [0, 1)."""
    return float(_uniform(seed, index, stream, 1)[0])


def _draw_normal(seed: int, index: int, stream: Stream) -> float:
    """One standard normal number: Box and Muller 1958."""
    u, v = _uniform(seed, index, stream, 2)
    radius = math.sqrt(-2.0 * portable_math.log(np.array([1.0 - u]))[0])
    return radius * portable_math.sin_cos(2.0 * math.pi * v)[1]


def _power(fractions: NDArray[np.float64], exponent: float) -> NDArray[np.float64]:
    """Raise numbers in [1e-9, 1], or zeros, to a positive power."""
    return np.where(fractions > 0.0, exp(exponent * portable_math.log(np.maximum(fractions, 1e-9))), 0.0)


def _sample_spectrum(seed: int, index: int, size: int) -> Spectrum:
    """Draw the slope of the spectrum, in 0.5..3.5, and half the difference of the slopes along x and y."""
    plan = plan_for(size)
    slope = 0.5 + 3.0 * _draw(seed, index, Stream.STATISTICAL_SLOPE)
    skew = 0.05 * _draw_normal(seed, index, Stream.STATISTICAL_SKEW)
    along_x = _power(np.abs(plan.frequency) / size, slope + skew)
    along_y = _power(np.arange(size // 2 + 1) / size, slope - skew)
    attenuation = along_x[:, None] + along_y
    attenuation[plan.row[0], 0] = np.inf  # the spectrum does not include the mean
    magnitude = (1.0 / attenuation).astype(np.float32)
    return Spectrum(slope, skew, magnitude, _energy(magnitude[None]))


def _sample_marginals(seed: int, index: int, pyramid: Pyramid) -> list[list[Marginals]]:
    """Draw the sparsity rho of every band, in 0.4..0.8: a list of levels for each channel."""
    size = len(pyramid.residual)
    bands = [len(level.masks) for level in pyramid.levels]
    sparsity = 0.4 + 0.4 * _uniform(seed, index, Stream.STATISTICAL_SPARSITY, 3, sum(bands))
    return [
        [
            _make_marginals(rho, size // len(level.row))
            for rho, level in zip(np.split(channel, np.cumsum(bands)[:-1]), pyramid.levels, strict=True)
        ]
        for channel in sparsity
    ]


def _make_marginals(sparsity: NDArray[np.float64], reduction: int) -> Marginals:
    """The densities exp(-|x / 4**reduction|**rho), cut off at 200; the image is `reduction` times as wide as the bands."""
    distance = np.arange(_NUM_BINS // 2 + 1) * _BIN_WIDTH
    # |x / 4**reduction|**rho = exp(rho log |x / 4**reduction|), and log takes numbers up to 1
    logarithm = portable_math.log(np.maximum(distance, 1e-9) / 256.0) + (8 - 2 * reduction) * LN_2
    power = exp((sparsity[:, None] * logarithm).ravel()).reshape(len(sparsity), -1)
    power[:, 0] = 0.0
    side = exp(-power.ravel()).reshape(power.shape)
    density = np.concatenate([side[:, :0:-1], side], axis=1)
    cumulative = np.cumsum(np.pad(density, ((0, 0), (1, 0))), axis=1)
    total = cumulative[:, -1:]
    squares = 2.0 * np.cumsum(side * distance * distance, axis=1)[:, -1]
    return Marginals(sparsity, cumulative / total, np.sqrt(squares / total[:, 0]))


def _sample_palette(seed: int, index: int, size: int) -> Palette:
    """Draw 3 to 22 colours with random proportions, the width of the blur, and the grain."""
    count = 3 + int(20.0 * _draw(seed, index, Stream.STATISTICAL_NUM_COLORS))
    colors = 256.0 * _uniform(seed, index, Stream.STATISTICAL_COLOR, 3, count)
    proportions = 0.001 + _uniform(seed, index, Stream.STATISTICAL_PROPORTION, count)
    width = 1 + int(10.0 * _draw(seed, index, Stream.STATISTICAL_BLUR))
    grain = 10.0 * _uniform(seed, index, Stream.STATISTICAL_GRAIN, 3, size, size)
    return make_palette(colors, proportions, width, grain)


# ---- Imposing statistics --------------------------------------------------------------------------------------------


@jit
def _energy(parts):
    """The sum of squares over the full frequency plane, given its half: float32 (parts, n, n // 2 + 1)."""
    total = 0.0
    middle = parts.shape[2] - 1
    for part in range(parts.shape[0]):
        for r in range(parts.shape[1]):
            inner = 0.0
            for k in range(1, middle):
                inner += np.float64(parts[part, r, k]) ** 2
            total += 2.0 * inner + np.float64(parts[part, r, 0]) ** 2 + np.float64(parts[part, r, middle]) ** 2
    return total


@jit
def _impose_magnitudes(spectrum, magnitude, energy):
    """Set the magnitudes of a spectrum, and keep its phases, its mean and its standard deviation.

    Args:
        spectrum: float32 (2, n, n // 2 + 1); overwritten.
        magnitude: float32 (n, n // 2 + 1), zero for the mean.
        energy: sum of the squared magnitudes over the full plane.
    """
    mean = spectrum[0, 0, 0]  # the first row is frequency 0
    spectrum[0, 0, 0] = spectrum[1, 0, 0] = np.float32(0.0)
    gain = np.float32(np.sqrt(_energy(spectrum) / energy))
    for r in range(magnitude.shape[0]):
        for k in range(magnitude.shape[1]):
            re, im = spectrum[0, r, k], spectrum[1, r, k]
            length = np.sqrt(re * re + im * im)
            target = gain * magnitude[r, k]
            spectrum[0, r, k] = target * (re / length) if length > 0.0 else target
            spectrum[1, r, k] = target * (im / length) if length > 0.0 else np.float32(0.0)
    spectrum[0, 0, 0] = mean


@jit
def _impose_level(spectrum, level, cumulative, spread, total):
    """Match the bands of one level to their distributions, and add them to the spectrum `total`.

    The paper does not say which standard deviation a band has afterwards. With that of the distribution, the bands hide the
    imposed spectrum; with its own, the marginals are hardly visible. The geometric mean of the two looks like the paper's
    figure 2; without a spectrum, it converges to that of the distribution in ten rounds.
    """
    size = level.row.size
    band = np.empty((2, size, size // 2 + 1), np.float32)
    halves = np.empty((2, size, size // 2), np.float32)
    values = halves.reshape(-1)
    for b in range(level.masks.shape[0]):
        take_band(spectrum, level, b, band)
        inverse(band, halves, level.plan)
        target = np.sqrt(root_mean_square(values) * spread[b])
        match(values, cumulative[b], -0.5 * _BIN_WIDTH * _NUM_BINS, _BIN_WIDTH, target)
        forward(halves, band, level.plan)
        add_band(band, level, b, total)


def _impose_marginals(spectrum: NDArray[np.float32], pyramid: Pyramid, marginals: list[Marginals]) -> NDArray[np.float32]:
    """Match all bands of an image to their distributions; returns the new spectrum."""
    total = np.empty_like(spectrum)
    keep_residual(spectrum, pyramid.residual, total)
    for level, target in zip(pyramid.levels, marginals, strict=True):
        _impose_level(spectrum, level, target.cumulative, target.spread, total)
    return total


@jit
def _mix_channels(channels, mean, axes):
    """Mix channels, float32 (3, n, n), to RGB, uint8 (n, n, 3), scaled to 0..255."""
    size = channels.shape[1]
    mixed = np.empty((size, size, 3), np.float32)
    for y in range(size):
        for x in range(size):
            for c in range(3):
                value = mean[c]
                for d in range(3):
                    value += axes[c, d] * channels[d, y, x]
                mixed[y, x, c] = value
    low, high = value_range(mixed.reshape(-1))
    scale = np.float32(255.0) / (high - low)
    return ((mixed - low) * scale + np.float32(0.5)).astype(np.uint8)
