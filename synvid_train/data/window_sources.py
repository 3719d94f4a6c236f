"""Sources of training windows: clips rendered from a preset, clips of a rendered dataset, labelled video files."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from synvid.dataset.reader import Dataset
from synvid.errors import ConfigurationError
from synvid.preset import BANK_SUFFIX, Preset
from synvid.renderer import render_frames
from synvid.scene.sample import sample_scene
from synvid.textures.bank_cache import open_or_build_bank
from synvid.video.decode import VideoFile, decode
from synvid_train.data.transforms import finetune_window, sample_window
from synvid_train.data.video_list import VideoList

__all__ = ["DatasetClips", "LabelledVideos", "RenderedClips", "WindowSource"]


Frames = NDArray[np.uint8]


class WindowSource(Protocol):
    """A sequence of clips; a window of frames can be read from each."""

    @property
    def labels(self) -> Sequence[int]:
        """Class number of each clip; empty if clips have no labels."""

    @property
    def identity(self) -> str:
        """Identifies the set of clips; a run can be resumed only if it is unchanged."""

    def __len__(self) -> int:
        """Number of clips."""

    def read_window(self, index: int, num_frames: int, stride: int, rng: np.random.Generator) -> Frames:
        """Return frames of one clip, uint8 (num_frames, H, W, 3); `rng` draws the start.

        Raises:
            DatasetError: the clip cannot be read.
        """


@dataclass(frozen=True)
class RenderedClips:
    """Clips of a preset, rendered on demand; only the frames of the window are rendered.

    Attributes:
        preset, seed: distribution and random seed of the clips.
        num_clips: length of the source. Larger indices are valid too and give new clips.
    """

    preset: Preset
    seed: int
    num_clips: int
    labels: ClassVar[Sequence[int]] = ()

    def __post_init__(self) -> None:
        if self.preset.mixture.source == "real":
            raise ConfigurationError(f"--preset {self.preset.name} mixes in real clips; render it and train with --shards.")

    def __len__(self) -> int:
        return self.num_clips

    @cached_property
    def identity(self) -> str:
        """Digest of the preset, with its texture banks by content rather than path; seed; number of clips."""
        banks = {
            name: f"{k}-{open_or_build_bank(name).header.digest}{BANK_SUFFIX}" for k, name in enumerate(self.preset.banks())
        }
        return f"{self.preset.with_banks(banks).digest()}, seed {self.seed}, {self.num_clips} clips"

    def read_window(self, index: int, num_frames: int, stride: int, rng: np.random.Generator) -> Frames:
        """Render the window."""
        scene = sample_scene(self.preset, self.seed, index)
        return render_frames(scene, sample_window(scene.num_frames, num_frames, stride, rng))


@dataclass(frozen=True)
class DatasetClips:
    """Clips of a dataset written by `synvid render`.

    Attributes:
        dataset: the dataset.
        rerender: render clips from the recipe, seed and index instead of decoding them; real clips are still decoded.
    """

    dataset: Dataset
    rerender: bool = False
    labels: ClassVar[Sequence[int]] = ()

    def __post_init__(self) -> None:
        if self.rerender:
            _ = self.dataset.located  # once here rather than in each worker process

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def identity(self) -> str:
        """Digest of the dataset's recipe, number of clips, and whether they are decoded or rendered."""
        return f"{self.dataset.recipe.digest}, {len(self)} clips, {'rendered' if self.rerender else 'decoded'}"

    def read_window(self, index: int, num_frames: int, stride: int, rng: np.random.Generator) -> Frames:
        """Decode or render the window."""
        row, recipe = self.dataset[index], self.dataset.recipe
        window = sample_window(row["frames"], num_frames, stride, rng)
        if self.rerender and recipe.preset.preset_for_clip(row["index"]) is not None:
            return render_frames(self.dataset.scene(index), window)
        return decode(io.BytesIO(self.dataset.video(index)), window, f"{self.dataset.path}, clip {row['key']}")


class LabelledVideos:
    """Video files with labels, read in windows as VideoMAE's fine-tuning does (`finetune_window`)."""

    def __init__(self, videos: VideoList) -> None:
        self.videos = videos
        self.labels = videos.labels

    def __len__(self) -> int:
        return len(self.videos)

    @cached_property
    def identity(self) -> str:
        """Hash of labels, classes and paths relative to the videos' common folder, so the folder may be moved."""
        paths = [os.path.abspath(path) for path in self.videos.paths]  # noqa: PTH100  # does not resolve links
        folder = os.path.commonpath([Path(path).parent for path in paths])
        content = [os.path.relpath(path, folder) for path in paths], self.videos.labels, self.videos.classes
        return hashlib.sha256(repr(content).encode(errors="surrogateescape")).hexdigest()

    def read_window(self, index: int, num_frames: int, stride: int, rng: np.random.Generator) -> Frames:
        """Decode the window."""
        with VideoFile(self.videos.paths[index]) as video:
            return video.read(finetune_window(video.num_frames, num_frames, stride, rng))
