"""What makes each kind of texture: from (seed, index) to pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from synvid.texture import statistical, stylegan

__all__ = ["GENERATORS", "WALK_FRAMES", "Generator"]

#: Frames of a texture that moves; a longer clip plays it to and fro.
WALK_FRAMES = 50


@dataclass(frozen=True)
class Generator:
    """What makes one kind of texture.

    Attributes:
        description: a line.
        version: grows whenever the pixels change.
        sizes: heights and widths that it can have, pixels.
        frames: 1, or how many a texture that moves has.
        make: make(seed, index, size) gives uint8 (size, size, 3), or (frames, size, size, 3).
    """

    description: str
    version: int
    sizes: tuple[int, ...]
    frames: int
    make: Callable[[int, int, int], NDArray[np.uint8]]


def _stylegan(name: str, description: str) -> Generator:
    def make(seed: int, index: int, size: int) -> NDArray[np.uint8]:
        return stylegan.sample(name, seed, index, size)

    return Generator(description, stylegan.VERSION, stylegan.SIZES, 1, make)


def _walk(name: str, description: str) -> Generator:
    def make(seed: int, index: int, size: int) -> NDArray[np.uint8]:
        return stylegan.walk(name, seed, index, WALK_FRAMES, size)

    return Generator(description, stylegan.VERSION, stylegan.SIZES, WALK_FRAMES, make)


#: Every kind but `images`, which come from a folder.
GENERATORS: Mapping[str, Generator] = {
    "statistical": Generator(
        "noise with the spectrum, wavelet marginals and colours of natural images",
        statistical.VERSION,
        tuple(range(32, 513, 16)),
        1,
        partial(statistical.sample),
    ),
    "stylegan-oriented": _stylegan("oriented", "untrained StyleGAN2 whose filters are edges, lines and points"),
    "stylegan-high-freq": _stylegan("high_freq", "the same with the whole bank of filters and fine noise"),
    "stylegan-random": _stylegan("random", "untrained StyleGAN2 with random weights; slow, seconds each"),
    "stylegan-oriented-walk": _walk("oriented", f"{WALK_FRAMES} frames of stylegan-oriented, its latent vectors walking"),
    "stylegan-high-freq-walk": _walk("high_freq", f"{WALK_FRAMES} frames of stylegan-high-freq, its latent vectors walking"),
}
