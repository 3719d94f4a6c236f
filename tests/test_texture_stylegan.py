"""StyleGAN2 textures: tied filters against the full network, determinism, colours and walks."""

import hashlib
import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest

from synvid.numerics.streams import Stream
from synvid.textures import stylegan
from synvid.textures import stylegan_inputs as inputs
from synvid.textures import stylegan_networks as networks
from synvid.textures.stylegan import KINDS, sample, walk

TIED = ("oriented", "high_freq")

#: (kind, seed, index, size) → SHA-256 of the image.
GOLDEN = {
    ("oriented", 0, 0, 256): "8ff0010f0b0999f69e21c3dbbf1113c7d2f144c0ee8b11d55088353e2e208c57",
    ("oriented", 0, 1, 32): "4a7cf637ee36a672c1c50003cfbe3432e456c75015f3fe2b80f96a4b09f77e56",
    ("oriented", 7, 123456789, 128): "96d19ded9cdb32d797979c2b0c2b66ba74c34dc24b30aff8573de0dd6e3dffe2",
    ("high_freq", 0, 0, 256): "4b4200d38f6edb01f747355936d04427e75fd0f53c27b771e0f128013dc3a8e5",
    ("high_freq", 3, 2, 64): "eb6f17390097816fc37b0a6df92540b877b099e16f5affa3f59eb2de9ce2107c",
    ("random", 0, 0, 32): "61a4c6866f3a76432469d488c2ce177dc397662674ed4131cf514c7db63fd857",
}

PRINT_HASHES = """
import hashlib, json, sys
from synvid.textures.stylegan import sample
print(json.dumps([hashlib.sha256(sample(*case).data).hexdigest() for case in json.loads(sys.argv[1])]))
"""


# ---- The reference network ------------------------------------------------------------------------------------------


def correlate(image, weights):
    """Correlate (inputs, H, W) with (outputs, inputs, k, k) where the filter fits: (outputs, H - k + 1, W - k + 1)."""
    size = weights.shape[-1]
    windows = np.lib.stride_tricks.sliding_window_view(image, (size, size), axis=(1, 2))
    return np.tensordot(weights, windows, axes=((1, 2, 3), (0, 3, 4)))


def pad(image, before, after):
    """Pad (channels, H, W) with zeros."""
    return np.pad(image, ((0, 0), (before, after), (before, after)))


def smooth(image):
    """Correlate each channel with the outer product of [1, 3, 3, 1] / 4 with itself."""
    kernel = np.outer([1, 3, 3, 1], [1, 3, 3, 1])[None, None] / 16
    return np.concatenate([correlate(channel[None], kernel) for channel in image])


def insert_zeros(image):
    """Insert a zero after each pixel, along both axes."""
    channels, height, width = image.shape
    spaced = np.zeros((channels, 2 * height, 2 * width))
    spaced[:, ::2, ::2] = image
    return spaced


def synthesize_reference(constant, layers):
    """StyleGAN2's synthesis network in float64 (Karras et al. 2020), layer by layer, without any shortcut."""
    features, rgb = constant.astype(np.float64), None
    for layer in layers:
        weights = layer["weights"] * layer["style"][None, :, None, None]
        weights = weights / np.sqrt((weights**2).sum((1, 2, 3), keepdims=True) + 1e-8)
        if layer["grows"]:
            # A transposed convolution with stride 2: 2n + 1 pixels, of which smoothing leaves 2n.
            spaced = insert_zeros(features)[:, :-1, :-1]
            features = smooth(pad(correlate(pad(spaced, 2, 2), weights), 1, 1))
        else:
            features = correlate(pad(features, 1, 1), weights)
        features = features + layer["noise"] + layer["bias"][:, None, None]
        features = math.sqrt(2) * np.maximum(features, 0)
        if len(layer["to_rgb_style"]):
            modulated = layer["to_rgb"] * layer["to_rgb_style"] / math.sqrt(len(layer["to_rgb_style"]))
            fine = correlate(features, modulated[:, :, None, None])
            rgb = fine if rgb is None else fine + smooth(pad(insert_zeros(rgb), 2, 1))
    return rgb


def tied_weights(network, number, rng):
    """The full weights of a layer with tied filters: the filter of the input times a normal factor of the output."""
    factors = network.signs[number] * abs(rng.standard_normal(network.signs[number].shape))
    return factors[:, None, None, None] * networks._FILTER_BANK[network.filters[number]]


def synthesize_both(kind, size, max_channels, seed=5):
    """The image of the module, and that of the reference network with the same weights."""
    rng, layers = inputs.GeneratorRng(kind, seed, 3), inputs.make_layers(size, max_channels)
    styles, noise = next(inputs.sample_styles(rng, layers, 0.0)), next(inputs.sample_noise(rng, layers, 0.0))
    network = (networks.FullNetwork if kind == "random" else networks.TiedNetwork)(rng, layers)
    factors, plain = np.random.default_rng(0), []
    for layer, style in zip(layers, styles, strict=True):
        number = layer.number
        values = {"grows": layer.scale == 2, "style": style.layer, "to_rgb_style": style.to_rgb}
        if kind == "random":
            weights = network.weights[number].astype(np.float64) / 2**16
            values["weights"] = weights.reshape(3, 3, layer.outputs, layer.inputs).transpose(2, 3, 0, 1)
            values |= {"noise": 0.0, "bias": np.zeros(layer.outputs), "to_rgb": network.to_rgb[number][4] / 2**16}
        else:
            values["weights"] = tied_weights(network, number, factors)
            values |= {"noise": noise[number], "bias": network.biases[number], "to_rgb": network.to_rgb[number]}
        plain.append(values)
    return network.synthesize(styles, noise), synthesize_reference(network.constant, plain)


@pytest.mark.parametrize(
    ("kind", "size", "max_channels"), [*((kind, size, 12) for kind in KINDS for size in (8, 32)), ("oriented", 16, 512)]
)
def test_synthesis_equals_reference_network(kind, size, max_channels):
    """A reference network with full weights makes the same image to 1e-4 of its contrast, tied filters or not."""
    ours, reference = synthesize_both(kind, size, max_channels)
    assert ours.shape == reference.shape == (3, size, size)
    for channel, expected in zip(ours, reference, strict=True):
        assert expected.std() > 0
        assert abs(channel - expected).max() < 1e-4 * expected.std()


def test_layers_of_256_pixel_generator():
    """13 convolutions for 14 latent vectors; 512 channels up to 64 pixels, then 256 and 128; ToRGB at 7 sizes."""
    layers = inputs.make_layers(256)
    assert [layer.number for layer in layers] == list(range(13))
    assert [layer.outputs for layer in layers] == [512] * 9 + [256, 256, 128, 128]
    assert [layer.inputs for layer in layers[1:]] == [layer.outputs for layer in layers[:-1]]
    assert [layer.resolution for layer in layers if layer.feeds_image] == [4, 8, 16, 32, 64, 128, 256]


def test_filter_bank():
    """40 different filters of mean 0 and norm 1; with each filter, its negative and its mirror images are in the bank."""
    bank = networks._make_filter_bank()
    assert bank.shape == (40, 3, 3)
    np.testing.assert_allclose(bank.sum((1, 2)), 0, atol=1e-15)
    np.testing.assert_allclose((bank**2).sum((1, 2)), 1, rtol=1e-15)

    def near(filters):
        return (abs(filters[:, None] - bank[None]).max((2, 3)) < 1e-12).sum(1)

    for filters in (bank, -bank, bank[:, ::-1], bank[:, :, ::-1]):
        assert (near(filters) == 1).all()


def test_oriented_layers_use_subsets_of_filters():
    """Each layer of `oriented` has its own subset of 5 to 40 filters; `high_freq` draws from all 40."""
    counts = []
    for index in range(20):
        for kind in TIED:
            network = networks.TiedNetwork(inputs.GeneratorRng(kind, 0, index), inputs.make_layers(64))
            used = [len(np.unique(filters)) for filters in network.filters]
            assert kind == "oriented" or min(used) > 36
            counts += used if kind == "oriented" else []
    assert (min(counts), max(counts)) == (5, 40)
    assert 20 < np.mean(counts) < 25  # 22.5


# ---- Determinism ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", GOLDEN)
def test_golden_images(case):
    """Images equal those that were recorded."""
    assert hashlib.sha256(sample(*case).data).hexdigest() == GOLDEN[case]


@pytest.mark.slow
def test_images_do_not_depend_on_cpu():
    """Code for a generic x86-64, with another kernel for matrix products, gives the recorded images."""
    cases = [case for case in GOLDEN if case[3] < 256]
    environment = {**os.environ, "NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "OPENBLAS_CORETYPE": "Nehalem"}
    command = [sys.executable, "-c", PRINT_HASHES, json.dumps(cases)]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert json.loads(run.stdout) == [GOLDEN[case] for case in cases]


@pytest.mark.parametrize("kind", TIED)
def test_seed_index_and_kind_change_the_image(kind):
    """Images of another seed, index or kind differ; the same arguments give the same image again."""
    image = sample(kind, 1, 2, 64)
    others = [
        sample(kind, 2, 2, 64),
        sample(kind, 1, 3, 64),
        sample({"oriented": "high_freq"}.get(kind, "oriented"), 1, 2, 64),
    ]
    assert all(abs(np.subtract(image, other, dtype=np.int16)).mean() > 15 for other in others)
    np.testing.assert_array_equal(sample(kind, 1, 2, 64), image)


def test_largest_seed_and_index():
    """Seed and index may be any unsigned 64-bit number."""
    assert sample("oriented", 2**64 - 1, 2**64 - 1, 32).std() > 0


def test_random_streams_do_not_overlap():
    """No stream of the module, for any kind, layer and frame, equals one of the scene or another of its own."""
    ours = [stream for stream in Stream if stream.name.startswith("STYLEGAN_")]
    seen = {int(stream) for stream in Stream if stream not in ours}
    for kind in KINDS:
        for stream in ours:
            for layer, frame in ((0, 0), (14, 0), (0, 1), (14, 1 << 20)):
                first = inputs.GeneratorRng(kind, 0, 0).words(stream, 1, layer, frame)[0]
                assert first not in seen
                seen.add(first)


# ---- Random numbers -------------------------------------------------------------------------------------------------


def test_normal_numbers_are_normal():
    """Mean, variance, skewness, kurtosis and the fraction beyond 2 are those of the normal distribution."""
    normal = inputs.GeneratorRng("oriented", 0, 0).normal(Stream.STYLEGAN_NOISE, 200_001)
    assert normal.shape == (200_001,)
    assert abs(normal.mean()) < 4 / math.sqrt(2e5)
    assert abs(normal.var() - 1) < 4 * math.sqrt(2 / 2e5)
    assert abs((normal**3).mean()) < 4 * math.sqrt(15 / 2e5)
    assert abs((normal**4).mean() - 3) < 4 * math.sqrt(96 / 2e5)
    assert abs((abs(normal) > 2).mean() - 0.0455) < 0.002


def test_power_agrees_with_numpy():
    """exp(exponent * log(base)) is within 1e-14 of NumPy's power."""
    base = np.geomspace(1e-6, 1, 10_001)
    for exponent in (-0.375, -0.1, 0.0, 2.5):
        np.testing.assert_allclose(inputs._power(np.log(base), exponent), base**exponent, rtol=1e-14)


def test_styles_have_variance_of_latent_vectors():
    """A layer's styles are 1 + |w| / sqrt(512) * normal with its own latent vector w; ToRGB uses that of the next layer."""
    rng, layers = inputs.GeneratorRng("oriented", 0, 0), inputs.make_layers(32)
    normal, at = rng.normal(Stream.STYLEGAN_STYLE, sum(x.inputs + x.outputs * x.feeds_image for x in layers)), 0
    for layer, styles in zip(layers, next(inputs.sample_styles(rng, layers, 0.0)), strict=True):
        assert (len(styles.layer), len(styles.to_rgb)) == (layer.inputs, layer.outputs * layer.feeds_image)
        for number, style in zip((layer.number, layer.number + 1), styles, strict=True):
            latent = rng.normal(Stream.STYLEGAN_LATENT, 512, number)
            length = np.linalg.norm(np.maximum(latent, 0.2 * latent)) / math.sqrt(512)
            np.testing.assert_allclose(style, 1 + length * normal[at : at + len(style)], rtol=1e-12, atol=1e-14)
            at += len(style)


@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.5])
def test_noise_is_pink(exponent):
    """The power of the noise falls as 1 / f**exponent, its mean is 0 and its variance 1."""
    size, rng = 256, inputs.GeneratorRng("high_freq", 0, 0)
    white = rng.normal(Stream.STYLEGAN_NOISE, size * size)
    noise = inputs._color_noise(white, inputs._pink_amplitudes(size, exponent))
    assert noise.shape == (size, size)
    assert abs(noise.mean()) < 1e-4
    assert abs(noise.var() - 1) < 0.05
    power = abs(np.fft.fft2(noise)) ** 2
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    rings = [(frequency > 2.0**-k / 1.5) & (frequency < 2.0**-k * 1.5) for k in range(2, 6)]
    means = [power[ring].mean() / (frequency[ring] ** -exponent).mean() for ring in rings]
    assert max(means) / min(means) < 1.3


# ---- Images ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TIED)
def test_no_image_is_constant(kind):
    """A hundred images have the right type and shape and vary in colour; few pixels are clipped."""
    clipped = []
    for index in range(100):
        image = sample(kind, 0, index, 64)
        assert image.dtype == np.uint8
        assert image.shape == (64, 64, 3)
        assert len(np.unique(image.reshape(-1, 3), axis=0)) > 100
        clipped.append(((image == 0) | (image == 255)).mean())
    assert np.mean(clipped) < 0.25
    assert np.max(clipped) < 0.8


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_size(kind):
    """Images have the size that was asked for, and are not constant."""
    for size in stylegan.SIZES if kind != "random" else (32, 64):
        image = sample(kind, 0, 1, size)
        assert image.shape == (size, size, 3)
        assert image.std() > 10


@pytest.mark.parametrize("kind", TIED)
def test_images_have_colours_of_their_palette(kind):
    """A channel without clipped pixels has the mean and standard deviation drawn for it, to 1/255."""
    compared = 0
    for index in range(120):
        image = sample(kind, 3, index, 64) / 255
        for channel, mean, std in zip(
            image.transpose(2, 0, 1), *stylegan._sample_palette(inputs.GeneratorRng(kind, 3, index)), strict=True
        ):
            if channel.min() > 0 and channel.max() < 1:
                compared += 1
                assert abs(channel.mean() - mean) < 1 / 255
                assert abs(channel.std() - std) < 1 / 255
    assert compared > 10


def test_palettes_are_normally_distributed():
    """Over 4,000 images, means and standard deviations of the channels have the published means and spreads."""
    palettes = np.array(
        [stylegan._sample_palette(inputs.GeneratorRng("oriented", 0, index)) for index in range(4000)]
    )  # (4000, 2, 3)
    expected = (
        np.array([[0.483, 0.455, 0.401], [0.219, 0.213, 0.213]]),
        np.array([[0.145, 0.142, 0.161], [0.063, 0.062, 0.069]]),
    )
    assert (abs(palettes.mean(0) - expected[0]) < 4 * expected[1] / math.sqrt(4000)).all()
    np.testing.assert_allclose(palettes.std(0), expected[1], rtol=4 / math.sqrt(8000))
    correlation = np.corrcoef(palettes.reshape(4000, 6).T) - np.eye(6)
    assert abs(correlation).max() < 4 / math.sqrt(4000)


def test_colours_saturate():
    """A bright channel saturates at 255 and a dark one at 0; nothing wraps around."""
    rgb = np.tile(np.linspace(-1, 1, 64, dtype=np.float32), (3, 64, 1))
    image = stylegan._apply_palette(rgb, (np.array([0.9, 0.5, 0.1]), np.array([0.3, 0.1, 0.3])))
    assert image[:, -1, 0].min() == 255
    assert image[:, 0, 2].max() == 0
    assert (np.diff(image.astype(int), axis=1) >= 0).all()


# ---- Walks ----------------------------------------------------------------------------------------------------------


def mean_changes(frames, lag):
    """Mean absolute difference of frames `lag` apart, in levels."""
    frames = frames.astype(np.int16)
    return abs(frames[lag:] - frames[:-lag]).mean((1, 2, 3))


@pytest.mark.parametrize("kind", TIED)
def test_walk_is_smooth_and_moves_away(kind):
    """Consecutive frames are similar, and frames differ more the farther apart they are, up to a bound."""
    near, far = [], []
    for index in range(4):
        frames = walk(kind, 0, index, 49, 64)
        lags = [mean_changes(frames, lag).mean() for lag in (1, 2, 4, 12, 48)]
        assert lags[:4] == sorted(lags[:4])
        assert mean_changes(frames, 1).min() > 0.3
        assert mean_changes(frames, 1).max() < 20
        near.append(lags[0])
        far.append(lags[-1])
    assert np.mean(far) > 3 * np.mean(near)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "num_frames"), [("oriented", 6), ("high_freq", 6), ("random", 3)])
def test_walk_begins_with_sample(kind, num_frames):
    """Frame 0 is the sample, a shorter walk is the beginning of a longer one, and a walk can be repeated."""
    frames = walk(kind, 4, 5, num_frames, 32)
    assert frames.shape == (num_frames, 32, 32, 3)
    assert frames.dtype == np.uint8
    np.testing.assert_array_equal(frames[0], sample(kind, 4, 5, 32))
    np.testing.assert_array_equal(frames[:2], walk(kind, 4, 5, 2, 32))
    assert (mean_changes(frames, 1) > 0).all()


def test_larger_step_changes_more():
    """With step 0 the image is still; a larger step changes more."""
    still, small, large = (mean_changes(walk("high_freq", 0, 0, 6, 32, step=step), 1).mean() for step in (0.0, 0.05, 0.5))
    assert still == 0 < 2 * small < large


def test_walk_is_stationary():
    """After 300 steps the numbers have variance 1, and correlate by sqrt(1 - step**2) with those one step before."""
    states = list(
        zip(range(301), inputs.GeneratorRng("oriented", 0, 0).walk(Stream.STYLEGAN_STYLE, 20_000, 0.2), strict=False)
    )
    before, last = states[-2][1], states[-1][1]
    assert abs(last.var() - 1) < 0.05
    assert abs(np.corrcoef(before, last)[0, 1] - math.sqrt(1 - 0.2**2)) < 0.01
    assert abs(np.corrcoef(states[0][1], last)[0, 1]) < 0.05


# ---- Errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("sparse", 0, 0, 1), "kind must be one of oriented, high_freq, random, not 'sparse'"),
        (("oriented", 0, 0, 1, 100), "size must be one of 32, 64, 128, 256, 512 pixels, not 100"),
        (("oriented", 0, 0, 0), "num_frames must be at least 1, not 0"),
        (("oriented", 0, 0, 1, 32, 1.5), "step must be from 0 to 1, not 1.5"),
        (("oriented", 0, 0, 1, 32, math.nan), "step must be from 0 to 1, not nan"),
    ],
)
def test_wrong_arguments_raise(arguments, words):
    """The error message names the wrong argument and the allowed values."""
    with pytest.raises(ValueError, match=words):
        walk(*arguments)
