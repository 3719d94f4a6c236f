"""Window sources for pre-training: clips to train on, and held-out clips to evaluate on."""

from __future__ import annotations

from synvid.dataset.reader import Dataset
from synvid.preset import Preset
from synvid_train.data.window_sources import DatasetClips, RenderedClips
from synvid_train.train.pretrain import HELD_OUT

__all__ = ["dataset_sources", "preset_sources"]

#: Added to the seed of the training clips, so that held-out clips differ from them.
_HELD_OUT_SEED_OFFSET = 1_000_003


def preset_sources(preset: Preset, seed: int, num_clips: int) -> tuple[RenderedClips, RenderedClips]:
    """Return clips rendered from a preset during training, and held-out clips of the same preset.

    Args:
        preset: with its texture banks resolved.
        seed: random seed of the training clips.
        num_clips: number of training clips.
    """
    return RenderedClips(preset, seed, num_clips), _held_out(preset, seed)


def dataset_sources(dataset: Dataset, rerender: bool) -> tuple[DatasetClips, RenderedClips | None]:
    """Return the clips of a rendered dataset, and held-out clips of its preset.

    Args:
        dataset: the dataset.
        rerender: render the clips again instead of decoding them.

    Returns:
        The training clips; and the held-out clips, None if the preset has texture banks or mixes in real clips.
    """
    preset = dataset.recipe.preset
    is_self_contained = not preset.banks() and preset.mixture.source != "real"
    return DatasetClips(dataset, rerender), _held_out(preset, dataset.recipe.seed) if is_self_contained else None


def _held_out(preset: Preset, seed: int) -> RenderedClips:
    return RenderedClips(preset, seed + _HELD_OUT_SEED_OFFSET, HELD_OUT)
