"""Clips of any source, a few moments of each: a rendered set, a preset, a folder of videos or of pictures.

Nothing is held but the frames of one clip. A source is a sequence of keys in an order that the seed decides, so the first
clips of it are a random subset, and the same one each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synvid.numerics.rng import uniform
from synvid.numerics.streams import Stream
from synvid.os_errors import wrap_os_errors
from synvid.scene.scene import Scene
from synvid.storage.atomic_io import file_sha256

__all__ = ["ClipSource", "FrameChooser", "FramePairs", "FrameSelection", "pair_starts"]


Frames = NDArray[np.uint8]

#: From the number of frames of a clip to the numbers of those that are wanted, ascending.
FrameChooser = Callable[[int], list[int]]

_SHOWN = 48  # frames
_SHOWN_FPS = 25.0


@dataclass(frozen=True)
class FramePairs:
    """A few moments of a clip.

    Attributes:
        numbers: the frames t that they are.
        frames: uint8 (K, H, W, 3), frame t of each.
        following: uint8 (K, H, W, 3), frame t + 1; None where the clip has one frame.
        scene: what was rendered; None of real clips.
    """

    numbers: Sequence[int]
    frames: Frames
    following: Frames | None
    scene: Scene | None = None


@dataclass(frozen=True)
class FrameSelection:
    """Some frames of a clip.

    Attributes:
        numbers: of the frames.
        frames: uint8 (K, H, W, 3).
        num_frames: of the whole clip.
        scene: what was rendered; None of real clips.
    """

    numbers: Sequence[int]
    frames: Frames
    num_frames: int
    scene: Scene | None = None


def pair_starts(num_frames: int, count: int) -> list[int]:
    """Frames t, evenly spread over a clip from its first one to the last that another follows.

    >>> moments_of(101, 3)
    [0, 50, 99]
    """
    if num_frames == 1:
        return [0]
    return [int(t) for t in np.linspace(0, num_frames - 2, count).round()]


class ClipSource:
    """Where clips come from.

    Attributes:
        name: what a report calls it.
        kind: `dataset`, `preset`, `videos` or `images`.
        path: as it was asked for.
        preset: name of the preset behind it, if any.
        what: it is made of, `clip` or `picture`.
        total: how many clips there are; None for as many as one likes.
        notes: sentences on what is left out.
    """

    kind: str
    what = "clip"
    total: int | None

    def __init__(self, name: str, path: str, preset: str | None = None) -> None:
        self.name, self.path, self.preset = name, path, preset
        self.notes: list[str] = []

    def keys(self, seed: int) -> Iterator[Any]:
        """Names of the clips, in the order in which they are taken."""
        assert self.total is not None
        return iter(np.argsort(uniform(seed, 0, Stream.CLIP_ORDER, (self.total,)), kind="stable").tolist())

    def read(self, key: Any, count: int) -> FramePairs:
        """Some moments of a clip.

        Raises:
            DatasetError: it cannot be read.
        """
        taken = self.take(
            key, lambda length: sorted({s for t in pair_starts(length, count) for s in (t, t + 1) if s < length})
        )
        numbers = pair_starts(taken.num_frames, count)
        if taken.num_frames == 1:
            return FramePairs(numbers, taken.frames, None, taken.scene)
        place = {t: k for k, t in enumerate(taken.numbers)}
        frames, following = (taken.frames[[place[t + step] for t in numbers]] for step in (0, 1))
        return FramePairs(numbers, frames, following, taken.scene)

    def take(self, key: Any, choice: FrameChooser) -> FrameSelection:
        """Some frames of a clip, by their numbers.

        Raises:
            DatasetError: it cannot be read.
        """
        raise NotImplementedError

    def digest(self, key: Any) -> str:
        """SHA-256 of what a clip is made of: the same digest, the same frames.

        Raises:
            DatasetError: it cannot be read.
        """
        raise NotImplementedError

    def show(self, key: Any) -> tuple[Frames, float, str]:
        """The first frames of a clip, frames per second, and what it is called."""
        raise NotImplementedError


def sha256_of_file(path: Path) -> str:
    with wrap_os_errors(path):
        return file_sha256(path)
