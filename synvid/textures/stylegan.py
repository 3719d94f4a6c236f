"""Images of untrained StyleGAN2 generators (Karras et al. 2020; Baradad et al. 2021, "Learning to see by looking at noise").

`random` draws every weight from a normal distribution. In `high_freq` and `oriented` all output channels of a convolution
share their filters: each input channel has one from a bank of 40, times a normal factor per output channel. Such a layer
collapses. Demodulation divides the factor by its size, so before noise and bias every output channel is one and the same
scalar field, up to sign; and the next layer needs one convolution per filter of the bank, not one per pair of channels.

A style is 1 + A w / sqrt(512), A normal and w the latent vector of its layer. Given w, the styles of a layer are independent
normal numbers of variance |w|**2 / 512, and they are drawn as such: the 4.5 million entries of A are not. That the numbers
walk by x -> sqrt(1 - step**2) x + step * normal means that w turns, at constant length, towards a direction at right angles
to all before, which is what small random steps in 512 dimensions nearly do.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from synvid.numerics.jit import jit
from synvid.numerics.portable_math import log, sin_cos
from synvid.numerics.rng import raw
from synvid.numerics.streams import Stream

__all__ = ["KINDS", "SIZES", "VERSION", "sample", "walk"]


#: Part of the key of all random numbers: it changes when the images do.
VERSION: int = 1

KINDS = ("oriented", "high_freq", "random")

#: Heights and widths, in pixels.
SIZES = (32, 64, 128, 256, 512)

Array32 = NDArray[np.float32]
Array64 = NDArray[np.float64]


# Random numbers


@jit
def _normal(words):
    """Normal numbers from an even count of random words (Box and Muller 1958): uint64 (n,) to float64 (n,)."""
    half, shift = words.size // 2, np.uint64(11)
    uniform = np.empty(half)
    for i in range(half):
        uniform[i] = (np.float64(words[i] >> shift) + 1.0) * 2.0**-53  # in (0, 1]
    logarithm = log(uniform)
    normal = np.empty(2 * half)
    for i in range(half):
        radius = math.sqrt(-2.0 * logarithm[i])
        sine, cosine = sin_cos(np.float64(words[half + i] >> shift) * (2.0 * math.pi * 2.0**-53))
        normal[2 * i], normal[2 * i + 1] = radius * cosine, radius * sine
    return normal


@dataclass(frozen=True)
class _GeneratorRng:
    """The random numbers of one image."""

    kind: str
    seed: int
    index: int

    def words(self, stream: Stream, count: int, layer: int = 0, frame: int = 0) -> NDArray[np.uint64]:
        """Random words, uint64 (count,)."""
        number = int(stream) + (VERSION << 8) + (KINDS.index(self.kind) << 16) + (layer << 24) + (frame << 32)
        return raw(np.uint64(self.seed), np.uint64(self.index), number, count)

    def uniform(self, stream: Stream, count: int, layer: int = 0) -> Array64:
        """Uniform numbers in [0, 1), float64 (count,)."""
        return (self.words(stream, count, layer) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def normal(self, stream: Stream, count: int, layer: int = 0, frame: int = 0) -> Array64:
        """Normal numbers, float64 (count,)."""
        normal: Array64 = _normal(self.words(stream, count + count % 2, layer, frame))
        return normal[:count]

    def walk(self, stream: Stream, count: int, step: float, layer: int = 0) -> Iterator[Array64]:
        """Normal numbers that walk by small steps and stay normal, without end: float64 (count,) a frame."""
        keep = math.sqrt(1.0 - step * step)
        state = self.normal(stream, count, layer)
        for frame in itertools.count(1):
            yield state
            state = keep * state + step * self.normal(stream, count, layer, frame)


# The architecture of StyleGAN2 with skip connections


class _Layer(NamedTuple):
    """One 3 x 3 convolution."""

    number: int
    resolution: int  # of its output
    inputs: int  # channels
    outputs: int
    scale: int  # 2 where the input has half the resolution

    @property
    def feeds_image(self) -> bool:
        """Whether a ToRGB convolution follows: behind the last layer of each resolution."""
        return self.scale == 1


class _Styles(NamedTuple):
    """Factors of the input channels of a layer, and of the ToRGB convolution behind it."""

    layer: Array64  # (inputs,)
    to_rgb: Array64  # (outputs,), or empty


def _layers(size: int, widest: int = 512) -> list[_Layer]:
    """The convolutions of a generator of size x size pixels: one at 4 x 4, then two at each power of two."""

    def channels(resolution: int) -> int:
        return min(32768 // resolution, widest)

    layers = [_Layer(0, 4, channels(4), channels(4), 1)]
    while (coarse := layers[-1].resolution) < size:
        fine, number = 2 * coarse, len(layers)
        layers.append(_Layer(number, fine, channels(coarse), channels(fine), 2))
        layers.append(_Layer(number + 1, fine, channels(fine), channels(fine), 1))
    return layers


def _styles(source: _GeneratorRng, layers: list[_Layer], step: float) -> Iterator[list[_Styles]]:
    """The styles of all layers, frame by frame.

    Layer n takes the n-th latent vector, LeakyReLU(normal); ToRGB takes that of the layer after it.
    """
    lengths = []
    for number in range(len(layers) + 1):
        latent = source.normal(Stream.STYLEGAN_LATENT, 512, number)
        latent = np.where(latent > 0.0, latent, 0.2 * latent)
        lengths.append(math.sqrt(math.fsum(latent * latent) / 512))
    counts, spreads = [], []
    for layer in layers:
        counts += [layer.inputs, layer.outputs if layer.feeds_image else 0]
        spreads += lengths[layer.number : layer.number + 2]
    spread, ends = np.repeat(spreads, counts), np.cumsum(counts)[:-1]
    for normal in source.walk(Stream.STYLEGAN_STYLE, sum(counts), step):
        parts = np.split(1.0 + spread * normal, ends)
        yield list(map(_Styles, parts[::2], parts[1::2]))


def _to_rgb_weights(source: _GeneratorRng, layer: _Layer) -> Array64:
    """The weights of the ToRGB convolution behind a layer, float64 (3, outputs)."""
    outputs = layer.outputs if layer.feeds_image else 0
    return source.normal(Stream.STYLEGAN_TO_RGB, 3 * outputs, layer.number).reshape(3, outputs)


def _constant(source: _GeneratorRng, layer: _Layer) -> Array32:
    """What the first layer convolves, float32 (inputs, 4, 4)."""
    return source.normal(Stream.STYLEGAN_CONSTANT, 16 * layer.inputs).reshape(layer.inputs, 4, 4).astype(np.float32)


def _spread(taps, scale, wide, first=0):
    """Add what each pixel gives to its neighbours, to the places where it belongs.

    Args:
        taps: (9, channels, rows, n), one plane for each place in the filter.
        scale: 1, or 2 for an input with zeros between its pixels.
        wide: (channels, side, side) with side = scale (n + 1) + 1, written: `_trim` makes the result of it.
        first: the row of the input that `taps` begin with.
    """
    rows, width = taps.shape[2:]
    for k in range(9):
        top, left = scale * first + scale + 1 - k // 3, scale + 1 - k % 3
        wide[:, top : top + scale * (rows - 1) + 1 : scale, left : left + scale * (width - 1) + 1 : scale] += taps[k]


def _smooth(image: Array32) -> Array32:
    """Smooth by [1, 3, 3, 1] / 4 along both axes: float32 (channels, n + 3, n + 3) to (channels, n, n)."""
    down = (image[:, :-3] + image[:, 3:]) + 3 * (image[:, 1:-2] + image[:, 2:-1])
    smooth: Array32 = (down[:, :, :-3] + down[:, :, 3:]) + 3 * (down[:, :, 1:-2] + down[:, :, 2:-1])
    smooth *= np.float32(1 / 16)
    return smooth


def _trim(wide: Array32, scale: int) -> Array32:
    """The result of a convolution from what `_spread` wrote: float32 (channels, scale n, scale n)."""
    return _smooth(wide) if scale == 2 else np.ascontiguousarray(wide[:, 1:-1, 1:-1])


def _upsampled(image: Array32) -> Array32:
    """An image of twice the size, by zeros between the pixels and smoothing: float32 (3, n, n) to (3, 2n, 2n)."""
    size = image.shape[1]
    wide = np.zeros((3, 2 * size + 3, 2 * size + 3), np.float32)
    wide[:, 2:-1:2, 2:-1:2] = image
    return _smooth(wide)


# Noise


@jit
def _power(log_base, exponent):
    """exp(exponent log_base), from basic arithmetic: float64 (n,) to (n,)."""
    result = np.empty(log_base.size)
    for i in range(log_base.size):
        x = exponent * log_base[i]
        doublings = np.floor(x * 1.4426950408889634 + 0.5)
        x -= doublings * 0.6931471805599453
        series = 1.0
        for k in range(14, 0, -1):  # Taylor's, |x| < 0.35
            series = 1.0 + series * x / k
        for _ in range(int(abs(doublings))):
            series *= 2.0 if doublings > 0.0 else 0.5
        result[i] = series
    return result


def _pink_amplitudes(size: int, exponent: float) -> Array64:
    """Factors that turn the spectrum of white noise into one whose power is ∝ 1 / f**exponent: float64 (n, n // 2 + 1).

    The variance stays 1, and the mean is 0.
    """
    along = np.arange(size // 2 + 1, dtype=np.float64)
    squared = np.concatenate([along, along[-2:0:-1]])[:, None] ** 2 + along**2
    squared[0, 0] = 1.0
    amplitudes: Array64 = _power(log((squared / squared.max()).ravel()), -exponent / 4.0).reshape(squared.shape)
    amplitudes[0, 0] = 0.0
    power = amplitudes * amplitudes
    power[:, 1:-1] *= 2.0  # these stand for the negative frequencies, too
    return amplitudes * (size / math.sqrt(math.fsum(power.ravel())))


def _colored_noise(white: Array64, amplitudes: Array64) -> Array32:
    """White noise with its frequencies weighted: float64 (n * n,) to float32 (n, n).

    Multiples of 1/1024, so that the last bits of the Fourier transform, in which libraries differ, do not matter.
    """
    size = len(amplitudes)
    noise = np.fft.irfft2(np.fft.rfft2(white.reshape(size, size)) * amplitudes, s=(size, size))
    return (np.rint(noise * 1024.0) / 1024.0).astype(np.float32)


def _halved(image: Array32) -> Array32:
    """Means of 2 x 2 pixels."""
    rows = image[::2] + image[1::2]
    return (rows[:, ::2] + rows[:, 1::2]) * np.float32(0.25)


def _noise(source: _GeneratorRng, layers: list[_Layer], step: float) -> Iterator[list[Array32]]:
    """What each layer adds to all its channels, frame by frame: float32 (resolution, resolution) a layer.

    `oriented` has one map for all layers, brought to their sizes, and it stays. `high_freq` has one per layer, and they
    walk. `random` has none: noise begins with strength 0 in StyleGAN2.
    """
    if source.kind == "random":
        yield from itertools.repeat([])
    exponent = 0.5 + float(source.uniform(Stream.STYLEGAN_EXPONENT, 1)[0])
    strengths = (0.3 * source.uniform(Stream.STYLEGAN_STRENGTH, len(layers))).astype(np.float32)
    if source.kind == "oriented":
        size = layers[-1].resolution
        maps = {size: _colored_noise(source.normal(Stream.STYLEGAN_NOISE, size * size), _pink_amplitudes(size, exponent))}
        while size > 4:
            maps[size // 2] = _halved(maps[size])
            size //= 2
        yield from itertools.repeat([strengths[layer.number] * maps[layer.resolution] for layer in layers])
    amplitudes = [_pink_amplitudes(layer.resolution, exponent) for layer in layers]
    walks = [source.walk(Stream.STYLEGAN_NOISE, layer.resolution**2, step, layer.number) for layer in layers]
    for whites in zip(*walks, strict=True):
        yield [s * _colored_noise(*pair) for s, *pair in zip(strengths, whites, amplitudes, strict=True)]


# Tied filters


def _bank() -> Array64:
    """The 40 filters, float64 (40, 3, 3), of mean 0 and norm 1: 8 edges, 8 lines, 4 points, and their negatives.

    Edges and lines are first and second derivatives along 8 directions, 22.5 degrees apart; points are Laplacians.
    """
    smooth, slope, bend = np.array([1.0, 2.0, 1.0]), np.array([-1.0, 0.0, 1.0]), np.array([1.0, -2.0, 1.0])
    dx, dxx, dxy = np.outer(smooth, slope), np.outer(smooth, bend), np.outer(slope, slope)
    turns = [sin_cos(k * math.pi / 8.0) for k in range(8)]
    filters = [c * dx + s * dx.T for s, c in turns]
    filters += [c * c * dxx + 2.0 * s * c * dxy + s * s * dxx.T for s, c in turns]
    for corner, side in ((0.0, 1.0), (1.0, 0.0), (1.0, 1.0), (1.0, 2.0)):
        middle = -4.0 * (corner + side)
        filters.append(np.array([[corner, side, corner], [side, middle, side], [corner, side, corner]]))
    half = np.stack([one / math.sqrt(math.fsum((one * one).ravel())) for one in filters])
    return np.concatenate([half, -half])


_BANK = _bank()
#: A filter and its negative share a plane.
_PLANES = len(_BANK) // 2
_PLANE_FILTERS = _BANK[:_PLANES].reshape(_PLANES, 9).astype(np.float32)


class _Features(NamedTuple):
    """The output of a layer with tied filters: channel c is sqrt(2) max(sign[c] field + noise + bias[c], 0)."""

    field: Array32  # (n, n)
    noise: Array32  # (n, n)
    sign: Array32  # (channels,), -1 or 1
    bias: Array32  # (channels,)


@jit
def _channel_sums(features, channels, factors, planes, count):
    """Weighted sums of channels, each channel's into a plane: float32 (count, n, n), without the sqrt(2).

    Args:
        features: of a layer.
        channels: int64 (m,)
        factors: float32 (m,)
        planes: int64 (m,), where the product of the factor and the channel is added.
        count: of the planes.
    """
    size = features.field.shape[0]
    sums, zero = np.zeros((count, size, size), np.float32), np.float32(0.0)
    for y in range(size):
        field, noise = features.field[y], features.noise[y]
        for c, factor, plane in zip(channels, factors, planes):  # noqa: B905 - Numba has no strict zip
            sign, bias, total = features.sign[c], features.bias[c], sums[plane, y]
            for x in range(size):
                value = sign * field[x] + noise[x] + bias
                total[x] += factor * max(value, zero)
    return sums


@jit
def _filter_taps(planes, filters):
    """What each pixel gives to its neighbours: planes (m, n, n) with filters (m, 9) of their own to float32 (9, 1, n, n)."""
    count, size, _ = planes.shape
    taps = np.zeros((9, 1, size, size), np.float32)
    for y in range(size):
        for plane in range(count):
            for k in range(9):
                weight = filters[plane, k]
                for x in range(size):
                    taps[k, 0, y, x] += weight * planes[plane, y, x]
    return taps


class _TiedNetwork:
    """A generator with tied filters: `high_freq` or `oriented`."""

    def __init__(self, source: _GeneratorRng, layers: list[_Layer]) -> None:
        self.layers = layers
        self.constant = _constant(source, layers[0])
        self.filters = [_filters(source, layer) for layer in layers]
        self.signs = [
            np.where(source.uniform(Stream.STYLEGAN_SIGN, layer.outputs, layer.number) < 0.5, -1.0, 1.0) for layer in layers
        ]
        self.biases = [_biases(source, layer) for layer in layers]
        self.to_rgb = [_to_rgb_weights(source, layer) for layer in layers]

    def synthesize(self, styles: list[_Styles], noise: list[Array32]) -> Array32:
        """The image before its colours are set, float32 (3, size, size)."""
        rgb = np.zeros((3, 2, 2), np.float32)
        features = None
        for (number, resolution, _, outputs, scale), style, injected in zip(self.layers, styles, noise, strict=True):
            wide = np.zeros((1, resolution + scale + 1, resolution + scale + 1), np.float32)
            _spread(_filter_taps(self._planes(number, features, style.layer), _PLANE_FILTERS), scale, wide)
            sign, bias = self.signs[number].astype(np.float32), self.biases[number].astype(np.float32)
            features = _Features(_trim(wide, scale)[0], injected, sign, bias)
            if self.layers[number].feeds_image:
                factors = (self.to_rgb[number] * style.to_rgb * math.sqrt(2.0 / outputs)).astype(np.float32).ravel()
                to, channels = np.divmod(np.arange(factors.size), outputs)
                rgb = _upsampled(rgb) + _channel_sums(features, channels, factors, to, 3)
        return rgb

    def _planes(self, number: int, features: _Features | None, style: Array64) -> Array32:
        """The sum of those inputs of a layer that share a filter, modulated and demodulated: float32 (20, n, n)."""
        filters = self.filters[number]
        signed = np.where(filters < _PLANES, style, -style)
        norm = math.sqrt(math.fsum(style * style))  # of all weights of an output channel: the filters have norm 1
        if features is None:
            planes = np.zeros((_PLANES, 4, 4), np.float32)
            np.add.at(planes, filters % _PLANES, (signed / norm).astype(np.float32)[:, None, None] * self.constant)
            return planes
        factors = (signed * (math.sqrt(2.0) / norm)).astype(np.float32)
        sums: Array32 = _channel_sums(features, np.arange(len(filters)), factors, filters % _PLANES, _PLANES)
        return sums


def _filters(source: _GeneratorRng, layer: _Layer) -> NDArray[np.int64]:
    """Which filter each input channel has, int64 (inputs,) in 0..39: of all, or of 5 to 40 chosen for the layer."""
    choice = np.arange(len(_BANK))
    if source.kind == "oriented":
        draws = source.uniform(Stream.STYLEGAN_SUBSET, 1 + len(_BANK), layer.number)
        choice = np.argsort(draws[1:], kind="stable")[: 5 + int(36 * draws[0])]
    return choice[(source.uniform(Stream.STYLEGAN_FILTER, layer.inputs, layer.number) * len(choice)).astype(np.int64)]


def _biases(source: _GeneratorRng, layer: _Layer) -> Array64:
    """The bias of each output channel, float64 (outputs,)."""
    if source.kind == "oriented":
        return 0.4 * source.uniform(Stream.STYLEGAN_BIAS, layer.outputs, layer.number) - 0.2
    return np.zeros(layer.outputs)


# Full filters

#: Weights and inputs are rounded to whole numbers of 20 and 21 bits. Sums of 9 * 512 products then fit the 53 bits of a
#: float64: matrix products are exact, and so do not depend on the order in which a BLAS library adds.
_WEIGHT_UNIT = 2.0**-16
_INPUT_BITS = 21
_BAND = 1 << 20  # entries of a matrix product at a time


def _whole_weights(normal: Array64) -> Array32:
    """Weights in their unit. A float32 holds them: normal numbers made of 53 bits are below 8.6."""
    return np.rint(normal / _WEIGHT_UNIT).astype(np.float32)


@jit
def _norms(energies, style):
    """The norm of each output channel's modulated weights, float64 (outputs,)."""
    norms = np.empty(energies.shape[0])
    for output in range(norms.size):
        total = 0.0
        for i in range(style.size):
            total += energies[output, i] * style[i] * style[i]
        norms[output] = math.sqrt(total)
    return norms


def _convolve(weights: Array32, features: Array32, style: Array64, scale: int) -> Array64:
    """Convolve modulated features (inputs, n, n) with whole weights (9, outputs, inputs).

    The result is float64 (outputs, side, side), for `_trim`.
    """
    _, outputs, inputs = weights.shape
    size = features.shape[1]
    unit = 2.0 ** (math.frexp(float(features.max() - features.min()) * float(np.abs(style).max()))[1] - _INPUT_BITS)
    matrix, factors = weights.reshape(9 * outputs, inputs).astype(np.float64), (style / unit)[:, None, None]
    side = scale * (size + 1) + 1
    wide = np.zeros((outputs, side, side))
    rows = max(1, _BAND // (len(matrix) * size))
    for first in range(0, size, rows):
        band = np.rint(features[:, first : first + rows] * factors).reshape(inputs, -1)
        _spread((matrix @ band).reshape(9, outputs, -1, size), scale, wide, first)
    wide *= unit * _WEIGHT_UNIT
    return wide


class _FullNetwork:
    """A generator with weights of its own for every pair of channels: `random`."""

    def __init__(self, source: _GeneratorRng, layers: list[_Layer]) -> None:
        self.layers = layers
        self.constant = _constant(source, layers[0])
        self.weights, self.energies, self.to_rgb = [], [], []
        for number, _, inputs, outputs, _ in layers:
            normal = source.normal(Stream.STYLEGAN_WEIGHT, 9 * outputs * inputs, number)
            weights = _whole_weights(normal.reshape(9, outputs, inputs))
            self.weights.append(weights)
            self.energies.append(sum(np.square(tap, dtype=np.float64) for tap in weights) * _WEIGHT_UNIT**2)
            to_rgb = _whole_weights(_to_rgb_weights(source, layers[number]))
            self.to_rgb.append(np.stack([to_rgb if k == 4 else np.zeros_like(to_rgb) for k in range(9)]))

    def synthesize(self, styles: list[_Styles], _noise: list[Array32]) -> Array32:
        """The image before its colours are set, float32 (3, size, size)."""
        rgb = np.zeros((3, 2, 2), np.float32)
        features = self.constant
        for (number, _, _, outputs, scale), style in zip(self.layers, styles, strict=True):
            wide = _convolve(self.weights[number], features, style.layer, scale)
            wide /= _norms(self.energies[number], style.layer)[:, None, None]
            features = np.maximum(_trim(wide.astype(np.float32), scale), 0.0) * np.float32(math.sqrt(2.0))
            if self.layers[number].feeds_image:
                fine = _convolve(self.to_rgb[number], features, style.to_rgb / math.sqrt(outputs), 1)
                rgb = _upsampled(rgb) + _trim(fine.astype(np.float32), 1)
        return rgb


# Images


def _palette(source: _GeneratorRng) -> tuple[Array64, Array64]:
    """The mean and the standard deviation of each channel, float64 (3,), normal, and the latter not below 0.02."""
    normal = source.normal(Stream.STYLEGAN_COLOR, 6)
    mean = np.array([0.483, 0.455, 0.401]) + np.array([0.145, 0.142, 0.161]) * normal[:3]
    std = np.array([0.219, 0.213, 0.213]) + np.array([0.063, 0.062, 0.069]) * normal[3:]
    return mean, np.maximum(std, 0.02)


@jit
def _mean_and_std(values):
    """Mean and standard deviation, the sums taken in order."""
    total, squares = 0.0, 0.0
    for value in values.flat:
        total += value
    mean = total / values.size
    for value in values.flat:
        squares += (value - mean) ** 2
    return mean, math.sqrt(squares / values.size)


def _colored(rgb: Array32, palette: tuple[Array64, Array64]) -> NDArray[np.uint8]:
    """Give each channel its mean and standard deviation, and clip: float32 (3, n, n) to uint8 (n, n, 3)."""
    image = np.empty((*rgb.shape[1:], 3), np.uint8)
    for channel, (plane, mean, std) in enumerate(zip(rgb, *palette, strict=True)):
        center, spread = _mean_and_std(plane)
        values = mean + std / max(spread, 1e-30) * (plane.astype(np.float64) - center)
        image[:, :, channel] = 255.0 * np.clip(values, 0.0, 1.0) + 0.5
    return image


def _frames(kind: str, seed: int, index: int, size: int, step: float) -> Iterator[NDArray[np.uint8]]:
    """The frames of a walk, without end."""
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
    if size not in SIZES:
        raise ValueError(f"size must be one of {', '.join(map(str, SIZES))} pixels, not {size}")
    source, layers = _GeneratorRng(kind, seed, index), _layers(size)
    network = _FullNetwork(source, layers) if kind == "random" else _TiedNetwork(source, layers)
    palette = _palette(source)
    for styles, noise in zip(_styles(source, layers, step), _noise(source, layers, step), strict=True):
        yield _colored(network.synthesize(styles, noise), palette)


def sample(kind: str, seed: int, index: int, size: int = 256) -> NDArray[np.uint8]:
    """One image of an untrained generator, all of whose weights are its own.

    At 256 pixels `oriented` and `high_freq` take some 0.03 s on one core, `random` some 3 s and 0.6 GB.

    Args:
        kind: one of KINDS.
        seed: 0..2**64-1.
        index: of the image, 0..2**64-1.
        size: height and width in pixels, one of SIZES.

    Returns:
        uint8 (size, size, 3), RGB.

    Raises:
        ValueError: for another kind or size.
    """
    return next(_frames(kind, seed, index, size, 0.0))


def walk(kind: str, seed: int, index: int, num_frames: int, size: int = 256, step: float = 0.05) -> NDArray[np.uint8]:
    """A video in which the latent vectors walk by small random steps (section 5.2 of the paper, "dynamic StyleGAN").

    Filters, constant, biases, strengths and colour statistics stay. In `high_freq` the noise walks, too. The walk is
    stationary: frames far apart are like images of one generator with latent vectors of their own.

    Args:
        kind: one of KINDS.
        seed: 0..2**64-1.
        index: of the video, 0..2**64-1.
        num_frames: at least 1. A longer walk begins with the shorter one; frame 0 is `sample(kind, seed, index, size)`.
        size: height and width in pixels, one of SIZES.
        step: standard deviation of a step, where that of the latent numbers is 1; from 0, still, to 1, independent frames.
            By 0.05, neighbouring frames of `oriented` differ by 2 to 26 levels of 255, half of them by less than 5, and
            those of `high_freq` by 1 to 5.

    Returns:
        uint8 (num_frames, size, size, 3), RGB.

    Raises:
        ValueError: for another kind or size, no frames, or a step outside of 0..1.
    """
    if num_frames < 1:
        raise ValueError(f"num_frames must be at least 1, not {num_frames}")
    if not 0.0 <= step <= 1.0:
        raise ValueError(f"step must be from 0 to 1, not {step}")
    return np.stack(list(itertools.islice(_frames(kind, seed, index, size, step), num_frames)))
