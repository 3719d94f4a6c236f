"""Images of untrained StyleGAN2 generators (Karras et al. 2020; Baradad et al. 2021, "Learning to see by looking at noise").

`random` draws every weight from a normal distribution. In `high_freq` and `oriented` the filters are tied: edges, lines and
points from a bank of 40 (`synvid.textures.stylegan_networks`). Every image has a generator of its own.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from synvid.numerics.jit import jit
from synvid.numerics.streams import Stream
from synvid.textures.stylegan_inputs import (
    KINDS,
    VERSION,
    Array32,
    Array64,
    GeneratorRng,
    make_layers,
    sample_noise,
    sample_styles,
)
from synvid.textures.stylegan_networks import FullNetwork, TiedNetwork

__all__ = ["KINDS", "SIZES", "VERSION", "sample", "walk"]


#: Heights and widths, in pixels.
SIZES = (32, 64, 128, 256, 512)


def _sample_palette(rng: GeneratorRng) -> tuple[Array64, Array64]:
    """Mean and standard deviation of each channel, float64 (3,): normal numbers, the standard deviation at least 0.02."""
    normal = rng.normal(Stream.STYLEGAN_COLOR, 6)
    mean = np.array([0.483, 0.455, 0.401]) + np.array([0.145, 0.142, 0.161]) * normal[:3]
    std = np.array([0.219, 0.213, 0.213]) + np.array([0.063, 0.062, 0.069]) * normal[3:]
    return mean, np.maximum(std, 0.02)


@jit
def _mean_and_std(values):
    """Mean and standard deviation, summed in order, since NumPy's order differs between CPUs."""
    total, squares = 0.0, 0.0
    for value in values.flat:
        total += value
    mean = total / values.size
    for value in values.flat:
        squares += (value - mean) ** 2
    return mean, math.sqrt(squares / values.size)


def _apply_palette(rgb: Array32, palette: tuple[Array64, Array64]) -> NDArray[np.uint8]:
    """Set mean and standard deviation of each channel, and clip: float32 (3, n, n) to uint8 (n, n, 3)."""
    image = np.empty((*rgb.shape[1:], 3), np.uint8)
    for channel, (plane, mean, std) in enumerate(zip(rgb, *palette, strict=True)):
        center, spread = _mean_and_std(plane)
        values = mean + std / max(spread, 1e-30) * (plane.astype(np.float64) - center)
        image[:, :, channel] = 255.0 * np.clip(values, 0.0, 1.0) + 0.5
    return image


def _generate_frames(kind: str, seed: int, index: int, size: int, step: float) -> Iterator[NDArray[np.uint8]]:
    """Generate the frames of a walk, without end."""
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
    if size not in SIZES:
        raise ValueError(f"size must be one of {', '.join(map(str, SIZES))} pixels, not {size}")
    rng, layers = GeneratorRng(kind, seed, index), make_layers(size)
    network = FullNetwork(rng, layers) if kind == "random" else TiedNetwork(rng, layers)
    palette = _sample_palette(rng)
    for styles, noise in zip(sample_styles(rng, layers, step), sample_noise(rng, layers, step), strict=True):
        yield _apply_palette(network.synthesize(styles, noise), palette)


def sample(kind: str, seed: int, index: int, size: int = 256) -> NDArray[np.uint8]:
    """Generate the image of an untrained generator. The weights depend on kind, seed and index.

    At 256 pixels `oriented` and `high_freq` take about 0.03 s on one core, `random` about 3 s and 0.6 GB.

    Args:
        kind: one of KINDS.
        seed: random seed, 0..2**64-1.
        index: index of the image, 0..2**64-1.
        size: height and width in pixels, one of SIZES.

    Returns:
        uint8 (size, size, 3), RGB.

    Raises:
        ValueError: the kind or size is not allowed.
    """
    return next(_generate_frames(kind, seed, index, size, 0.0))


def walk(kind: str, seed: int, index: int, num_frames: int, size: int = 256, step: float = 0.05) -> NDArray[np.uint8]:
    """Generate a video by a random walk of the latent vectors (section 5.2 of the paper, "dynamic StyleGAN").

    Weights, biases, noise strengths and colour statistics are constant; in `high_freq` the noise changes too. The walk is
    stationary: frames far apart are images of one generator with independent latent vectors.

    Args:
        kind: one of KINDS.
        seed: random seed, 0..2**64-1.
        index: index of the video, 0..2**64-1.
        num_frames: at least 1. A longer walk begins with the shorter one; frame 0 is `sample(kind, seed, index, size)`.
        size: height and width in pixels, one of SIZES.
        step: standard deviation of a step, where that of the latent numbers is 1; from 0 (still) to 1 (independent frames).
            At 0.05, consecutive frames of `oriented` differ by 2 to 26 levels of 255, half of them by less than 5, and
            those of `high_freq` by 1 to 5.

    Returns:
        uint8 (num_frames, size, size, 3), RGB.

    Raises:
        ValueError: the kind, size, number of frames or step is not allowed.
    """
    if num_frames < 1:
        raise ValueError(f"num_frames must be at least 1, not {num_frames}")
    if not 0.0 <= step <= 1.0:
        raise ValueError(f"step must be from 0 to 1, not {step}")
    return np.stack(list(itertools.islice(_generate_frames(kind, seed, index, size, step), num_frames)))
