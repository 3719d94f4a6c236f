"""Where training clips come from, and the loader that brings them: seeded by (seed, epoch, index), whoever loads what when."""

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

from synvid.dataset.reader import Dataset as Shards
from synvid.errors import ConfigurationError
from synvid.preset import BANK_SUFFIX, Preset
from synvid.renderer import render_frames
from synvid.scene.sample import sample_scene
from synvid.textures.bank_cache import find_bank
from synvid.video.decode import VideoFile, decode
from synvid_train.data.annotations import VideoList
from synvid_train.data.transforms import (
    finetune_window,
    sample_window,
)

__all__ = ["LabelledVideos", "RenderedClips", "ShardClips", "WindowSource"]


Frames = NDArray[np.uint8]


class WindowSource(Protocol):
    """A number of clips, from each of which some frames may be had."""

    @property
    def labels(self) -> Sequence[int]:
        """A number each, where they have some."""

    @property
    def identity(self) -> str:
        """Tells these clips from all others."""

    def __len__(self) -> int:
        """How many clips there are."""

    def window(self, i: int, count: int, stride: int, rng: np.random.Generator) -> Frames:
        """Some frames of clip i, uint8 (count, H, W, 3), from where `rng` says; DatasetError if it cannot be read."""


@dataclass(frozen=True)
class RenderedClips:
    """Clips of a preset, rendered when asked for, only the frames that are needed.

    Attributes:
        preset, seed: of the clips.
        count: how many; beyond them are others, new ones.
    """

    preset: Preset
    seed: int
    count: int
    labels: ClassVar[Sequence[int]] = ()

    def __post_init__(self) -> None:
        if self.preset.mixture.source == "real":
            raise ConfigurationError(f"--preset {self.preset.name} mixes in real clips; render it and train with --shards.")

    def __len__(self) -> int:
        return self.count

    @cached_property
    def identity(self) -> str:
        """Settings of the preset with its textures by what they are, wherever they lie; seed, and how many."""
        banks = {name: f"{k}-{find_bank(name).header.digest}{BANK_SUFFIX}" for k, name in enumerate(self.preset.banks())}
        return f"{self.preset.with_banks(banks).digest()}, seed {self.seed}, {self.count} clips"

    def window(self, i: int, count: int, stride: int, rng: np.random.Generator) -> Frames:
        """Render them."""
        scene = sample_scene(self.preset, self.seed, i)
        return render_frames(scene, sample_window(scene.num_frames, count, stride, rng))


@dataclass(frozen=True)
class ShardClips:
    """Clips of a dataset that was rendered with `synvid render`, tar or files.

    Attributes:
        shards: the dataset.
        rerender: render the clips from the manifest instead of decoding them; real ones are decoded still.
    """

    shards: Shards
    rerender: bool = False
    labels: ClassVar[Sequence[int]] = ()

    def __post_init__(self) -> None:
        if self.rerender:
            _ = self.shards.located  # looked for here, not in each process

    def __len__(self) -> int:
        return len(self.shards)

    @property
    def identity(self) -> str:
        """All that decides the dataset's clips, how many, and whether they are decoded."""
        return f"{self.shards.recipe.digest}, {len(self)} clips, {'rendered' if self.rerender else 'decoded'}"

    def window(self, i: int, count: int, stride: int, rng: np.random.Generator) -> Frames:
        """Decode or render them."""
        row, recipe = self.shards[i], self.shards.recipe
        numbers = sample_window(row["frames"], count, stride, rng)
        if self.rerender and recipe.preset.preset_for_clip(row["index"]) is not None:
            return render_frames(self.shards.scene(i), numbers)
        return decode(io.BytesIO(self.shards.video(i)), numbers, f"{self.shards.path}, clip {row['key']}")


class LabelledVideos:
    """Video files with labels."""

    def __init__(self, videos: VideoList) -> None:
        self.videos = videos
        self.labels = videos.labels

    def __len__(self) -> int:
        return len(self.videos)

    @cached_property
    def identity(self) -> str:
        """A hash of labels, classes and paths below the folder that all videos share, wherever that lies."""
        paths = [os.path.abspath(path) for path in self.videos.paths]  # noqa: PTH100  # links keep their names
        shared = os.path.commonpath([Path(path).parent for path in paths])
        listed = [os.path.relpath(path, shared) for path in paths], self.videos.labels, self.videos.classes
        return hashlib.sha256(repr(listed).encode(errors="surrogateescape")).hexdigest()

    def window(self, i: int, count: int, stride: int, rng: np.random.Generator) -> Frames:
        """Decode those of fine-tuning."""
        with VideoFile(self.videos.paths[i]) as film:
            return film.read(finetune_window(film.num_frames, count, stride, rng))
