"""The synthesis networks of untrained StyleGAN2 generators: one with tied filters, one with full weights.

With tied filters (`high_freq`, `oriented`) all output channels of a convolution share their filters: each input channel has
one from a bank of 40, times a normal factor per output channel. Demodulation divides the factor by its size, so before noise
and bias every output channel is the same scalar field, up to sign; and the next layer needs one convolution per filter of the
bank, not one per pair of channels.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from synvid.numerics.jit import jit
from synvid.numerics.portable_math import sin_cos
from synvid.numerics.streams import Stream
from synvid.textures.stylegan_inputs import Array32, Array64, GeneratorRng, Layer, Styles

__all__ = ["FullNetwork", "TiedNetwork"]


def _sample_to_rgb_weights(rng: GeneratorRng, layer: Layer) -> Array64:
    """The weights of the ToRGB convolution after a layer, float64 (3, outputs)."""
    outputs = layer.outputs if layer.feeds_image else 0
    return rng.normal(Stream.STYLEGAN_TO_RGB, 3 * outputs, layer.number).reshape(3, outputs)


def _sample_constant(rng: GeneratorRng, layer: Layer) -> Array32:
    """The constant input of the first layer, float32 (inputs, 4, 4)."""
    return rng.normal(Stream.STYLEGAN_CONSTANT, 16 * layer.inputs).reshape(layer.inputs, 4, 4).astype(np.float32)


def _scatter_taps(taps, scale, padded, first=0):
    """Add the contributions of each input pixel to its neighbours.

    Args:
        taps: (9, channels, rows, n), the contributions, one plane for each position in the filter.
        scale: 1, or 2 for an input with zeros between its pixels.
        padded: (channels, side, side) with side = scale (n + 1) + 1, added to; `_crop` makes the result of it.
        first: the row of the input with which `taps` begin.
    """
    rows, width = taps.shape[2:]
    for k in range(9):
        top, left = scale * first + scale + 1 - k // 3, scale + 1 - k % 3
        padded[:, top : top + scale * (rows - 1) + 1 : scale, left : left + scale * (width - 1) + 1 : scale] += taps[k]


def _smooth(image: Array32) -> Array32:
    """Filter by [1, 3, 3, 1] / 4 along both axes: float32 (channels, n + 3, n + 3) to (channels, n, n)."""
    down = (image[:, :-3] + image[:, 3:]) + 3 * (image[:, 1:-2] + image[:, 2:-1])
    smooth: Array32 = (down[:, :, :-3] + down[:, :, 3:]) + 3 * (down[:, :, 1:-2] + down[:, :, 2:-1])
    smooth *= np.float32(1 / 16)
    return smooth


def _crop(padded: Array32, scale: int) -> Array32:
    """The result of a convolution from the output of `_scatter_taps`: float32 (channels, scale n, scale n)."""
    return _smooth(padded) if scale == 2 else np.ascontiguousarray(padded[:, 1:-1, 1:-1])


def _upsample(image: Array32) -> Array32:
    """Upsample by 2: insert zeros between the pixels, and smooth; float32 (3, n, n) to (3, 2n, 2n)."""
    size = image.shape[1]
    padded = np.zeros((3, 2 * size + 3, 2 * size + 3), np.float32)
    padded[:, 2:-1:2, 2:-1:2] = image
    return _smooth(padded)


# ---- Tied filters ----------------------------------------------------------------------------------------------------
def _make_filter_bank() -> Array64:
    """The 40 filters, float64 (40, 3, 3), of mean 0 and norm 1: 8 edges, 8 lines, 4 points, and their negatives.

    Edges and lines are first and second derivatives along 8 directions, 22.5 degrees apart; points are Laplacians.
    """
    smooth, first, second = np.array([1.0, 2.0, 1.0]), np.array([-1.0, 0.0, 1.0]), np.array([1.0, -2.0, 1.0])
    dx, dxx, dxy = np.outer(smooth, first), np.outer(smooth, second), np.outer(first, first)
    directions = [sin_cos(k * math.pi / 8.0) for k in range(8)]
    filters = [c * dx + s * dx.T for s, c in directions]
    filters += [c * c * dxx + 2.0 * s * c * dxy + s * s * dxx.T for s, c in directions]
    for corner, side in ((0.0, 1.0), (1.0, 0.0), (1.0, 1.0), (1.0, 2.0)):
        center = -4.0 * (corner + side)
        filters.append(np.array([[corner, side, corner], [side, center, side], [corner, side, corner]]))
    half = np.stack([each / math.sqrt(math.fsum((each * each).ravel())) for each in filters])
    return np.concatenate([half, -half])


_FILTER_BANK = _make_filter_bank()
#: Inputs whose filters are equal up to sign are summed into one plane before the convolution.
_NUM_PLANES = len(_FILTER_BANK) // 2
_PLANE_FILTERS = _FILTER_BANK[:_NUM_PLANES].reshape(_NUM_PLANES, 9).astype(np.float32)


class _FeatureMap(NamedTuple):
    """The output of a layer with tied filters: channel c is sqrt(2) max(sign[c] field + noise + bias[c], 0)."""

    field: Array32  # (n, n)
    noise: Array32  # (n, n)
    sign: Array32  # (channels,), -1 or 1
    bias: Array32  # (channels,)


@jit
def _channel_sums(features, channels, factors, planes, count):
    """Add weighted channels to planes: float32 (count, n, n), without the factor sqrt(2).

    Args:
        features: the _FeatureMap of a layer.
        channels: int64 (m,), channel numbers.
        factors: float32 (m,), weight of each channel.
        planes: int64 (m,), the plane that each weighted channel is added to.
        count: number of planes.
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
    """Contributions of each pixel to its neighbours, summed over planes: planes (m, n, n), filters (m, 9) to (9, 1, n, n)."""
    count, size, _ = planes.shape
    taps = np.zeros((9, 1, size, size), np.float32)
    for y in range(size):
        for plane in range(count):
            for k in range(9):
                weight = filters[plane, k]
                for x in range(size):
                    taps[k, 0, y, x] += weight * planes[plane, y, x]
    return taps


class TiedNetwork:
    """A synthesis network with tied filters: `high_freq` or `oriented`."""

    def __init__(self, rng: GeneratorRng, layers: list[Layer]) -> None:
        self.layers = layers
        self.constant = _sample_constant(rng, layers[0])
        self.filters = [_sample_filters(rng, layer) for layer in layers]
        self.signs = [
            np.where(rng.uniform(Stream.STYLEGAN_SIGN, layer.outputs, layer.number) < 0.5, -1.0, 1.0) for layer in layers
        ]
        self.biases = [_sample_biases(rng, layer) for layer in layers]
        self.to_rgb = [_sample_to_rgb_weights(rng, layer) for layer in layers]

    def synthesize(self, styles: list[Styles], noise: list[Array32]) -> Array32:
        """Return an image with arbitrary mean and contrast, float32 (3, size, size)."""
        rgb = np.zeros((3, 2, 2), np.float32)
        features = None
        for (number, resolution, _, outputs, scale), style, layer_noise in zip(self.layers, styles, noise, strict=True):
            padded = np.zeros((1, resolution + scale + 1, resolution + scale + 1), np.float32)
            _scatter_taps(_filter_taps(self._sum_planes(number, features, style.layer), _PLANE_FILTERS), scale, padded)
            sign, bias = self.signs[number].astype(np.float32), self.biases[number].astype(np.float32)
            features = _FeatureMap(_crop(padded, scale)[0], layer_noise, sign, bias)
            if self.layers[number].feeds_image:
                factors = (self.to_rgb[number] * style.to_rgb * math.sqrt(2.0 / outputs)).astype(np.float32).ravel()
                colors, channels = np.divmod(np.arange(factors.size), outputs)
                rgb = _upsample(rgb) + _channel_sums(features, channels, factors, colors, 3)
        return rgb

    def _sum_planes(self, number: int, features: _FeatureMap | None, style: Array64) -> Array32:
        """Sum the inputs of a layer that share a filter, modulated and demodulated: float32 (20, n, n)."""
        filters = self.filters[number]
        signed = np.where(filters < _NUM_PLANES, style, -style)
        norm = math.sqrt(math.fsum(style * style))  # norm of all weights of an output channel, since the filters have norm 1
        if features is None:
            planes = np.zeros((_NUM_PLANES, 4, 4), np.float32)
            np.add.at(planes, filters % _NUM_PLANES, (signed / norm).astype(np.float32)[:, None, None] * self.constant)
            return planes
        factors = (signed * (math.sqrt(2.0) / norm)).astype(np.float32)
        sums: Array32 = _channel_sums(features, np.arange(len(filters)), factors, filters % _NUM_PLANES, _NUM_PLANES)
        return sums


def _sample_filters(rng: GeneratorRng, layer: Layer) -> NDArray[np.int64]:
    """The filter of each input channel, int64 (inputs,) in 0..39, from all 40 or from a random subset of 5 to 40."""
    choice = np.arange(len(_FILTER_BANK))
    if rng.kind == "oriented":
        draws = rng.uniform(Stream.STYLEGAN_SUBSET, 1 + len(_FILTER_BANK), layer.number)
        choice = np.argsort(draws[1:], kind="stable")[: 5 + int(36 * draws[0])]
    return choice[(rng.uniform(Stream.STYLEGAN_FILTER, layer.inputs, layer.number) * len(choice)).astype(np.int64)]


def _sample_biases(rng: GeneratorRng, layer: Layer) -> Array64:
    """The bias of each output channel, float64 (outputs,)."""
    if rng.kind == "oriented":
        return 0.4 * rng.uniform(Stream.STYLEGAN_BIAS, layer.outputs, layer.number) - 0.2
    return np.zeros(layer.outputs)


# ---- Full weights ----------------------------------------------------------------------------------------------------
#: Weights and inputs are rounded to integers of 20 and 21 bits. Sums of 9 * 512 products then fit the 53 bits of a float64, so
#: matrix products are exact and do not depend on the order in which a BLAS library adds.
_WEIGHT_UNIT = 2.0**-16
_INPUT_BITS = 21
_BLOCK_SIZE = 1 << 20  # entries of one matrix product


def _round_weights(normal: Array64) -> Array32:
    """Weights as integers, multiples of _WEIGHT_UNIT. A float32 holds them: normal numbers made of 53 bits are below 8.6."""
    return np.rint(normal / _WEIGHT_UNIT).astype(np.float32)


@jit
def _norms(energies, style):
    """The norm of the modulated weights of each output channel, float64 (outputs,)."""
    norms = np.empty(energies.shape[0])
    for output in range(norms.size):
        total = 0.0
        for i in range(style.size):
            total += energies[output, i] * style[i] * style[i]
        norms[output] = math.sqrt(total)
    return norms


def _convolve(weights: Array32, features: Array32, style: Array64, scale: int) -> Array64:
    """Convolve modulated features (inputs, n, n) with integer weights (9, outputs, inputs).

    Returns:
        float64 (outputs, side, side), for `_crop`.
    """
    _, outputs, inputs = weights.shape
    size = features.shape[1]
    unit = 2.0 ** (math.frexp(float(features.max() - features.min()) * float(np.abs(style).max()))[1] - _INPUT_BITS)
    matrix, factors = weights.reshape(9 * outputs, inputs).astype(np.float64), (style / unit)[:, None, None]
    side = scale * (size + 1) + 1
    padded = np.zeros((outputs, side, side))
    rows = max(1, _BLOCK_SIZE // (len(matrix) * size))
    for first in range(0, size, rows):
        band = np.rint(features[:, first : first + rows] * factors).reshape(inputs, -1)
        _scatter_taps((matrix @ band).reshape(9, outputs, -1, size), scale, padded, first)
    padded *= unit * _WEIGHT_UNIT
    return padded


class FullNetwork:
    """A synthesis network with separate weights for every pair of channels: `random`."""

    def __init__(self, rng: GeneratorRng, layers: list[Layer]) -> None:
        self.layers = layers
        self.constant = _sample_constant(rng, layers[0])
        self.weights, self.energies, self.to_rgb = [], [], []
        for number, _, inputs, outputs, _ in layers:
            normal = rng.normal(Stream.STYLEGAN_WEIGHT, 9 * outputs * inputs, number)
            weights = _round_weights(normal.reshape(9, outputs, inputs))
            self.weights.append(weights)
            self.energies.append(sum(np.square(tap, dtype=np.float64) for tap in weights) * _WEIGHT_UNIT**2)
            to_rgb = _round_weights(_sample_to_rgb_weights(rng, layers[number]))
            self.to_rgb.append(np.stack([to_rgb if k == 4 else np.zeros_like(to_rgb) for k in range(9)]))

    def synthesize(self, styles: list[Styles], _noise: list[Array32]) -> Array32:
        """Return an image with arbitrary mean and contrast, float32 (3, size, size)."""
        rgb = np.zeros((3, 2, 2), np.float32)
        features = self.constant
        for (number, _, _, outputs, scale), style in zip(self.layers, styles, strict=True):
            padded = _convolve(self.weights[number], features, style.layer, scale)
            padded /= _norms(self.energies[number], style.layer)[:, None, None]
            features = np.maximum(_crop(padded.astype(np.float32), scale), 0.0) * np.float32(math.sqrt(2.0))
            if self.layers[number].feeds_image:
                fine = _convolve(self.to_rgb[number], features, style.to_rgb / math.sqrt(outputs), 1)
                rgb = _upsample(rgb) + _crop(fine.astype(np.float32), 1)
        return rgb
