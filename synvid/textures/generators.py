"""The registry of texture generators: from (seed, index) to pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from synvid.textures import statistical, stylegan

__all__ = ["GENERATORS", "WALK_FRAMES", "Generator", "TextureFunction"]


#: make(seed, index, size) returns texture `index`: uint8 (size, size, 3), or (frames, size, size, 3) if it moves.
TextureFunction = Callable[[int, int, int], NDArray[np.uint8]]

#: Frames of a moving texture; a longer clip plays it forwards and backwards.
WALK_FRAMES = 50


@dataclass(frozen=True)
class Generator:
    """The generator of one kind of texture.

    Attributes:
        version: increased whenever the pixels change.
        sizes: allowed heights and widths, pixels.
        frames: frames of each texture; 1 for still ones.
        make: the function that generates a texture.
    """

    version: int
    sizes: tuple[int, ...]
    frames: int
    make: TextureFunction


def _still(kind: str) -> Generator:
    return Generator(stylegan.VERSION, stylegan.SIZES, 1, partial(stylegan.sample, kind))


def _walk(kind: str) -> Generator:
    def make(seed: int, index: int, size: int) -> NDArray[np.uint8]:
        return stylegan.walk(kind, seed, index, WALK_FRAMES, size)

    return Generator(stylegan.VERSION, stylegan.SIZES, WALK_FRAMES, make)


#: The generator of every kind of texture but `images`, which are cropped from image files.
GENERATORS: Mapping[str, Generator] = {
    "statistical": Generator(statistical.VERSION, tuple(range(32, 513, 16)), 1, statistical.sample),
    "stylegan-oriented": _still("oriented"),
    "stylegan-high-freq": _still("high_freq"),
    "stylegan-random": _still("random"),
    "stylegan-oriented-walk": _walk("oriented"),
    "stylegan-high-freq-walk": _walk("high_freq"),
}
