"""Clips of a preset or of a rendered dataset."""

from __future__ import annotations

import hashlib
import io
import itertools
from collections.abc import Callable, Iterator
from functools import cached_property

from synvid.dataset.reader import Dataset
from synvid.dataset.recipe import OUTPUT_VERSION
from synvid.errors import ConfigurationError
from synvid.preset import Preset
from synvid.renderer import render_frames
from synvid.scene.sample import sample_scene
from synvid.scene.scene import Scene
from synvid.sources.base import PREVIEW_FRAMES, ClipSource, FrameChooser, Frames, FrameSelection
from synvid.sources.files import decode_first_frames, decode_selection
from synvid.textures.bank_cache import open_or_build_bank

__all__ = ["DatasetSource", "PresetSource"]


class PresetSource(ClipSource):
    """A preset, rendered on the fly; key k is clip k of the seed.

    Args:
        name: name of the source in reports.
        preset: the preset.
        seed: random seed of the clips.

    Raises:
        ConfigurationError: all clips of the preset are real.
    """

    kind = "preset"
    num_clips = None

    def __init__(self, name: str, preset: Preset, seed: int) -> None:
        super().__init__(name, preset.name, preset.name)
        self.preset, self.seed = preset, seed
        if preset.mixture.source == "real":
            self.notes.append(
                f"{preset.name} mixes in real clips, which are left out here; measure a rendered dataset to include them."
            )
        if preset.preset_for_clip(0) is None and preset.mixture.fraction == 1:
            raise ConfigurationError(
                f"{preset.name}: all its clips are real; render it with --real DIR and measure the dataset."
            )

    def keys(self, _seed: int) -> Iterator[int]:
        """The indices of the synthetic clips, ascending: clips are independent, so the first are a random subset."""
        return (index for index in itertools.count() if self.preset.preset_for_clip(index) is not None)

    def read_frames(self, key: int, choose: FrameChooser) -> FrameSelection:
        """Render the chosen frames."""
        return _select(sample_scene(self.preset, self.seed, key), choose, render_frames)

    def digest(self, key: int) -> str:
        """SHA-256 of the preset, its texture banks, the seed and the clip's index."""
        return hashlib.sha256(repr((OUTPUT_VERSION, self._digests, self.seed, key)).encode()).hexdigest()

    @cached_property
    def _digests(self) -> tuple[str, ...]:
        return (self.preset.digest(), *(open_or_build_bank(name).header.digest for name in self.preset.banks()))

    def preview(self, key: int) -> tuple[Frames, float, str]:
        """The first frames, the preset's rate, and seed and index of the clip."""
        scene = sample_scene(self.preset, self.seed, key)
        frames = render_frames(scene, range(min(PREVIEW_FRAMES, scene.num_frames)))
        return frames, scene.fps, f"seed {self.seed}, clip {key}"


class DatasetSource(ClipSource):
    """A rendered dataset; key k is its k-th clip. Frames are decoded, and scenes are sampled as they were for rendering."""

    kind = "dataset"

    def __init__(self, name: str, dataset: Dataset) -> None:
        super().__init__(name, str(dataset.path), dataset.recipe.preset.name)
        self.dataset, self.num_clips = dataset, len(dataset)

    def _is_real(self, key: int) -> bool:
        return self.dataset.recipe.preset.preset_for_clip(self.dataset[key]["index"]) is None

    def read_frames(self, key: int, choose: FrameChooser) -> FrameSelection:
        """Decode the chosen frames."""
        if self._is_real(key):
            name = f"{self.path}, clip {self.dataset[key]['key']}"
            return decode_selection(io.BytesIO(self.dataset.video(key)), name, choose)
        scene = self.dataset.scene_without_banks(key)
        return _select(scene, choose, lambda _, numbers: self.dataset.decode(key, numbers).frames)

    def digest(self, key: int) -> str:
        """SHA-256 of the encoded video."""
        return hashlib.sha256(self.dataset.video(key)).hexdigest()

    def preview(self, key: int) -> tuple[Frames, float, str]:
        """The first frames, the dataset's rate, and the key of the clip."""
        video, name = io.BytesIO(self.dataset.video(key)), f"clip {self.dataset[key]['key']}"
        return decode_first_frames(video, name), self.dataset.recipe.preset.video.fps, name


def _select(scene: Scene, choose: FrameChooser, read: Callable[[Scene, list[int]], Frames]) -> FrameSelection:
    numbers = choose(scene.num_frames)
    return FrameSelection(numbers, read(scene, numbers), scene.num_frames, scene)
