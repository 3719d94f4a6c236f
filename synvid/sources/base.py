"""The base class of clip sources: a preset, a rendered dataset, a folder of videos or a folder of images.

A source lists keys, one for each clip, and the first n keys are a random subset of the clips: the order depends on a seed, or,
for a preset, whose clips are independent, is ascending.
Frames are read for one clip at a time, and only the frames that are needed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synvid.numerics.rng import uniform
from synvid.numerics.streams import Stream
from synvid.scene.scene import Scene

__all__ = ["PREVIEW_FRAMES", "ClipSource", "FrameChooser", "FramePairs", "FrameSelection", "Frames", "pair_starts"]


Frames = NDArray[np.uint8]

#: Maps the number of frames of a clip to the frames that are wanted, ascending. Of a video, only the middle 300 frames count.
FrameChooser = Callable[[int], list[int]]

#: Frames of a clip that a preview shows at most.
PREVIEW_FRAMES = 48


@dataclass(frozen=True)
class FramePairs:
    """K pairs of consecutive frames of a clip.

    Attributes:
        numbers: frame number t of the first frame of each pair; of a video over 300 frames, counted in its middle 300 frames.
        frames: uint8 (K, H, W, 3), RGB, frame t of each pair.
        next_frames: uint8 (K, H, W, 3), RGB, frame t + 1; None if the clip has one frame.
        scene: the scene that was rendered; None for real clips.
    """

    numbers: Sequence[int]
    frames: Frames
    next_frames: Frames | None
    scene: Scene | None = None


@dataclass(frozen=True)
class FrameSelection:
    """K frames of a clip.

    Attributes:
        numbers: frame number of each frame; of a video over 300 frames, counted in its middle 300 frames.
        frames: uint8 (K, H, W, 3), RGB.
        num_frames: number of frames to choose from: those of the whole clip, or 300 for a longer video.
        scene: the scene that was rendered; None for real clips.
    """

    numbers: Sequence[int]
    frames: Frames
    num_frames: int
    scene: Scene | None = None


def pair_starts(num_frames: int, count: int) -> list[int]:
    """First frames of `count` pairs of consecutive frames, evenly spread from the start to the end of a clip.

    Examples:
        >>> pair_starts(101, 3)
        [0, 50, 99]
    """
    if num_frames == 1:
        return [0]
    return [int(t) for t in np.linspace(0, num_frames - 2, count).round()]


class ClipSource(ABC):
    """A source of clips.

    Attributes:
        name: name of the source in reports.
        kind: `dataset`, `preset`, `videos` or `images`.
        path: path or preset name, as the user gave it.
        preset_name: name of the preset that was rendered; None for real clips.
        unit: what one item is called, `clip` or `image`.
        num_clips: number of clips; None if there is no limit.
        notes: remarks on clips that are left out, for reports.
    """

    kind: str
    unit = "clip"
    num_clips: int | None

    def __init__(self, name: str, path: str, preset_name: str | None = None) -> None:
        self.name, self.path, self.preset_name = name, path, preset_name
        self.notes: list[str] = []

    def keys(self, seed: int) -> Iterator[Any]:
        """The keys of the clips, in random order; for a preset, ascending.

        Args:
            seed: random seed of the order; not used for a preset.
        """
        assert self.num_clips is not None
        return iter(np.argsort(uniform(seed, 0, Stream.CLIP_ORDER, (self.num_clips,)), kind="stable").tolist())

    def read_pairs(self, key: Any, count: int) -> FramePairs:
        """Read `count` pairs of consecutive frames, evenly spread over a clip.

        Raises:
            DatasetError: the clip cannot be read.
        """
        selection = self.read_frames(
            key, lambda length: sorted({s for t in pair_starts(length, count) for s in (t, t + 1) if s < length})
        )
        starts = pair_starts(selection.num_frames, count)
        if selection.num_frames == 1:
            return FramePairs(starts, selection.frames, None, selection.scene)
        row = {t: k for k, t in enumerate(selection.numbers)}
        frames, next_frames = (selection.frames[[row[t + step] for t in starts]] for step in (0, 1))
        return FramePairs(starts, frames, next_frames, selection.scene)

    @abstractmethod
    def read_frames(self, key: Any, choose: FrameChooser) -> FrameSelection:
        """Read the chosen frames of a clip.

        Raises:
            DatasetError: the clip cannot be read.
        """

    @abstractmethod
    def digest(self, key: Any) -> str:
        """SHA-256 of what the frames of a clip depend on: clips with equal digests have equal frames.

        Raises:
            DatasetError: the clip cannot be read.
        """

    @abstractmethod
    def preview(self, key: Any) -> tuple[Frames, float, str]:
        """The first frames of a clip, at most PREVIEW_FRAMES; frames per second, 0 for an image; and a caption.

        Raises:
            DatasetError: the clip cannot be read.
        """
