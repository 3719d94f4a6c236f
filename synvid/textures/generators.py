"""What makes each kind of texture: from (seed, index) to pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from synvid.textures import statistical, stylegan

__all__ = ["GENERATORS", "WALK_FRAMES", "Generator"]


#: Frames of a texture that moves; a longer clip plays it to and fro.
WALK_FRAMES = 50


@dataclass(frozen=True)
class Generator:
    """What makes one kind of texture.

    Attributes:
        version: grows whenever the pixels change.
        sizes: heights and widths that it can have, pixels.
        frames: 1, or how many a texture that moves has.
        make: make(seed, index, size) gives uint8 (size, size, 3), or (frames, size, size, 3).
    """

    version: int
    sizes: tuple[int, ...]
    frames: int
    make: Callable[[int, int, int], NDArray[np.uint8]]


def _still(name: str) -> Generator:
    return Generator(stylegan.VERSION, stylegan.SIZES, 1, partial(stylegan.sample, name))


def _walk(name: str) -> Generator:
    def make(seed: int, index: int, size: int) -> NDArray[np.uint8]:
        return stylegan.walk(name, seed, index, WALK_FRAMES, size)

    return Generator(stylegan.VERSION, stylegan.SIZES, WALK_FRAMES, make)


#: Every kind but `images`, which come from a folder.
GENERATORS: Mapping[str, Generator] = {
    "statistical": Generator(statistical.VERSION, tuple(range(32, 513, 16)), 1, statistical.sample),
    "stylegan-oriented": _still("oriented"),
    "stylegan-high-freq": _still("high_freq"),
    "stylegan-random": _still("random"),
    "stylegan-oriented-walk": _walk("oriented"),
    "stylegan-high-freq-walk": _walk("high_freq"),
}
