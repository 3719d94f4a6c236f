"""Clips of a preset or of a rendered dataset."""

from __future__ import annotations

import hashlib
import io
import itertools
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

from synvid.dataset.reader import Dataset
from synvid.dataset.recipe import OUTPUT_VERSION
from synvid.errors import ConfigurationError
from synvid.preset import Preset
from synvid.renderer import render_frames
from synvid.scene.sample import sample_scene
from synvid.scene.scene import Scene
from synvid.sources.base import _SHOWN, ClipSource, FrameChooser, Frames, FrameSelection
from synvid.sources.files import _decoded, _first_frames
from synvid.textures.bank_cache import find_bank


class PresetSource(ClipSource):
    """A preset, rendered on the fly: clip 0, 1, 2, ... of the seed."""

    kind = "preset"
    total = None

    def __init__(self, name: str, preset: Preset, seed: int) -> None:
        super().__init__(name, preset.name, preset.name)
        self.of, self.seed = preset, seed
        if preset.mixture.source == "real":
            self.notes.append(
                f"{preset.name} mixes in real clips, which are left out here; measure a rendered set to have them counted."
            )
        if preset.preset_for_clip(0) is None and preset.mixture.fraction == 1:
            raise ConfigurationError(f"{preset.name}: all its clips are real; render it with --real DIR and measure the set.")

    def keys(self, _seed: int) -> Iterator[int]:
        return (index for index in itertools.count() if self.of.preset_for_clip(index) is not None)

    def take(self, key: int, choice: FrameChooser) -> FrameSelection:
        return _rendered(sample_scene(self.of, self.seed, key), choice, render_frames)

    def digest(self, key: int) -> str:
        return _sha256(OUTPUT_VERSION, self._settings, self.seed, key)

    @cached_property
    def _settings(self) -> tuple[str, ...]:
        return (self.of.digest(), *(find_bank(name).header.digest for name in self.of.banks()))

    def show(self, key: int) -> tuple[Frames, float, str]:
        scene = sample_scene(self.of, self.seed, key)
        frames = render_frames(scene, range(min(_SHOWN, scene.num_frames)))
        return frames, scene.fps, f"seed {self.seed}, clip {key}"


class DatasetSource(ClipSource):
    """A set that `synvid render` wrote: frames as they are decoded, scenes as they were sampled."""

    kind = "dataset"

    def __init__(self, name: str, dataset: Dataset) -> None:
        super().__init__(name, str(dataset.path), dataset.recipe.preset.name)
        self.of, self.total = dataset, len(dataset)

    def _real(self, key: int) -> bool:
        return self.of.recipe.preset.preset_for_clip(self.of[key]["index"]) is None

    def take(self, key: int, choice: FrameChooser) -> FrameSelection:
        if self._real(key):
            return _decoded(io.BytesIO(self.of.video(key)), f"{self.path}, clip {self.of[key]['key']}", choice)
        return _rendered(self.of.scene_without_banks(key), choice, lambda _, numbers: self.of.decode(key, numbers).frames)

    def digest(self, key: int) -> str:
        return hashlib.sha256(self.of.video(key)).hexdigest()

    def show(self, key: int) -> tuple[Frames, float, str]:
        video, name = io.BytesIO(self.of.video(key)), f"clip {self.of[key]['key']}"
        return _first_frames(video, name), self.of.recipe.preset.video.fps, name


def _rendered(scene: Scene, choice: FrameChooser, frames_of: Callable[[Scene, list[int]], Frames]) -> FrameSelection:
    numbers = choice(scene.num_frames)
    return FrameSelection(numbers, frames_of(scene, numbers), scene.num_frames, scene)


def _sha256(*parts: Any) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()
