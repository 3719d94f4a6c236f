"""The random inputs of an untrained StyleGAN2 generator: its layers, styles and noise.

A style is 1 + A w / sqrt(512), where A is normal and w is the latent vector of the layer. Given w, the styles of a layer are
independent normal numbers of variance |w|**2 / 512, and they are drawn as such, in place of the 4.5 million entries of A. In
a walk these numbers follow x -> sqrt(1 - step**2) x + step * normal. So w turns, at constant length, towards a direction
orthogonal to all before, which is nearly what small random steps in 512 dimensions do.
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

__all__ = [
    "KINDS",
    "VERSION",
    "Array32",
    "Array64",
    "GeneratorRng",
    "Layer",
    "Styles",
    "make_layers",
    "sample_noise",
    "sample_styles",
]


#: Part of the key of all random numbers: it changes when the images do.
VERSION: int = 1

KINDS = ("oriented", "high_freq", "random")

Array32 = NDArray[np.float32]
Array64 = NDArray[np.float64]


@jit
def _normal(words):
    """Normal numbers from an even number of random words (Box and Muller 1958): uint64 (n,) to float64 (n,)."""
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
class GeneratorRng:
    """The random streams of one image.

    Attributes:
        kind: one of KINDS.
        seed, index: of the image, each 0..2**64-1.
    """

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
        """Normal numbers that change by small steps and stay normal, without end: float64 (count,) for each frame."""
        keep = math.sqrt(1.0 - step * step)
        state = self.normal(stream, count, layer)
        for frame in itertools.count(1):
            yield state
            state = keep * state + step * self.normal(stream, count, layer, frame)


# ---- Layers and styles -----------------------------------------------------------------------------------------------
class Layer(NamedTuple):
    """A 3 x 3 convolution."""

    number: int
    resolution: int  # height and width of the output
    inputs: int  # input channels
    outputs: int  # output channels
    scale: int  # 2 where the input has half the resolution

    @property
    def feeds_image(self) -> bool:
        """Whether a ToRGB convolution follows: after the last layer of each resolution."""
        return self.scale == 1


class Styles(NamedTuple):
    """Factors of the input channels of a layer, and of the ToRGB convolution after it."""

    layer: Array64  # (inputs,)
    to_rgb: Array64  # (outputs,); empty if there is no ToRGB


def make_layers(size: int, max_channels: int = 512) -> list[Layer]:
    """The convolutions of StyleGAN2 with skip connections: one at 4 x 4 pixels, then two at each power of two up to `size`."""

    def channels(resolution: int) -> int:
        return min(32768 // resolution, max_channels)

    layers = [Layer(0, 4, channels(4), channels(4), 1)]
    while (coarse := layers[-1].resolution) < size:
        fine, number = 2 * coarse, len(layers)
        layers.append(Layer(number, fine, channels(coarse), channels(fine), 2))
        layers.append(Layer(number + 1, fine, channels(fine), channels(fine), 1))
    return layers


def sample_styles(rng: GeneratorRng, layers: list[Layer], step: float) -> Iterator[list[Styles]]:
    """The styles of all layers, frame by frame, without end.

    Layer n uses the n-th latent vector, LeakyReLU(normal); ToRGB uses that of the next layer.
    """
    lengths = []
    for number in range(len(layers) + 1):
        latent = rng.normal(Stream.STYLEGAN_LATENT, 512, number)
        latent = np.where(latent > 0.0, latent, 0.2 * latent)
        lengths.append(math.sqrt(math.fsum(latent * latent) / 512))
    counts, spreads = [], []
    for layer in layers:
        counts += [layer.inputs, layer.outputs if layer.feeds_image else 0]
        spreads += lengths[layer.number : layer.number + 2]
    spread, ends = np.repeat(spreads, counts), np.cumsum(counts)[:-1]
    for normal in rng.walk(Stream.STYLEGAN_STYLE, sum(counts), step):
        parts = np.split(1.0 + spread * normal, ends)
        yield list(map(Styles, parts[::2], parts[1::2]))


# ---- Noise -----------------------------------------------------------------------------------------------------------
@jit
def _power(log_base, exponent):
    """exp(exponent * log_base), from basic arithmetic: float64 (n,) to (n,)."""
    result = np.empty(log_base.size)
    for i in range(log_base.size):
        x = exponent * log_base[i]
        doublings = np.floor(x * 1.4426950408889634 + 0.5)
        x -= doublings * 0.6931471805599453
        series = 1.0
        for k in range(14, 0, -1):  # Taylor series, |x| < 0.35
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
    power[:, 1:-1] *= 2.0  # these stand for the negative frequencies too
    return amplitudes * (size / math.sqrt(math.fsum(power.ravel())))


def _color_noise(white: Array64, amplitudes: Array64) -> Array32:
    """Weight the frequencies of white noise: float64 (n * n,) to float32 (n, n).

    The result is rounded to multiples of 1/1024, because Fourier transforms of different libraries differ in the last bits.
    """
    size = len(amplitudes)
    noise = np.fft.irfft2(np.fft.rfft2(white.reshape(size, size)) * amplitudes, s=(size, size))
    return (np.rint(noise * 1024.0) / 1024.0).astype(np.float32)


def _halve(image: Array32) -> Array32:
    """Downsample by 2: means of 2 x 2 pixels."""
    rows = image[::2] + image[1::2]
    return (rows[:, ::2] + rows[:, 1::2]) * np.float32(0.25)


def sample_noise(rng: GeneratorRng, layers: list[Layer], step: float) -> Iterator[list[Array32]]:
    """The noise map that each layer adds to all its channels, frame by frame: float32 (resolution, resolution) per layer.

    `oriented` has one constant map for all layers, downsampled to their sizes. `high_freq` has one per layer, and they change
    from frame to frame. `random` has none, because StyleGAN2 initialises the strength of the noise with 0.
    """
    if rng.kind == "random":
        yield from itertools.repeat([])
    exponent = 0.5 + float(rng.uniform(Stream.STYLEGAN_EXPONENT, 1)[0])
    strengths = (0.3 * rng.uniform(Stream.STYLEGAN_STRENGTH, len(layers))).astype(np.float32)
    if rng.kind == "oriented":
        size = layers[-1].resolution
        maps = {size: _color_noise(rng.normal(Stream.STYLEGAN_NOISE, size * size), _pink_amplitudes(size, exponent))}
        while size > 4:
            maps[size // 2] = _halve(maps[size])
            size //= 2
        yield from itertools.repeat([strengths[layer.number] * maps[layer.resolution] for layer in layers])
    amplitudes = [_pink_amplitudes(layer.resolution, exponent) for layer in layers]
    walks = [rng.walk(Stream.STYLEGAN_NOISE, layer.resolution**2, step, layer.number) for layer in layers]
    for whites in zip(*walks, strict=True):
        yield [s * _color_noise(*pair) for s, *pair in zip(strengths, whites, amplitudes, strict=True)]
