"""PyTorch datasets: augmented training samples and all views of test videos."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from synvid.errors import DatasetError
from synvid.video.decode import VideoFile
from synvid_train.data.corruptions import Corruption
from synvid_train.data.transforms import (
    evaluation_crops,
    evaluation_windows,
    finetune_view,
    pretrain_view,
    scale_short_side,
)
from synvid_train.data.window_sources import Frames, LabelledVideos, WindowSource
from synvid_train.model.videomae import Architecture, tube_mask
from synvid_train.training_recipe import TrainingRecipe

__all__ = ["EvaluationVideos", "TrainingClips", "recipe_architecture"]


#: Attempts to read a sample, the first of them the clip itself; replacements up to the second number have the clip's class.
_MAX_ATTEMPTS = 100
_SAME_CLASS_ATTEMPTS = 50


class TrainingClips(Dataset[dict[str, Any]]):
    """Training samples by (epoch, index, repeat); a sample does not depend on the process or the time at which it is loaded.

    A sample has `clip` uint8 (T, S, S, 3) and `read_error`; in pre-training also `token_order` int64 (N,), the token indices,
    visible ones first; in fine-tuning `label`.

    Repeats are different views of one window, which is decoded once if they are requested together.

    A clip that cannot be read is replaced by a random clip of the same class, which keeps the class frequencies; `read_error`
    is then the error message. If 50 such clips cannot be read, or clips have no labels, any clip is drawn,
    with its own label.
    """

    def __init__(self, source: WindowSource, recipe: TrainingRecipe, seed: int, pretraining: bool) -> None:
        self.source, self.recipe, self.seed, self.pretraining = source, recipe, seed, pretraining
        self.architecture = recipe_architecture(recipe)

    @property
    def sample_bytes(self) -> int:
        """Size of one sample's clip in bytes."""
        return self.recipe.model.num_frames * self.recipe.model.image_size**2 * 3

    def __getitem__(self, key: tuple[int, int, int]) -> dict[str, Any]:
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: Sequence[tuple[int, int, int]]) -> list[dict[str, Any]]:
        """Return the samples of a batch; torch's loader calls this instead of `__getitem__`."""
        groups = itertools.groupby(keys, lambda key: (key[0], key[1]))
        return [sample for clip, group in groups for sample in self._samples(*clip, [repeat for *_, repeat in group])]

    def _samples(self, epoch: int, index: int, repeats: Sequence[int]) -> list[dict[str, Any]]:
        read_error = ""
        for attempt in range(_MAX_ATTEMPTS):
            i = index if attempt == 0 else self._replacement(epoch, index, attempt)
            first = np.random.default_rng((self.seed, epoch, i, 0))  # draws the window, then the view of repeat 0
            try:
                frames = self.source.read_window(i, self.recipe.model.num_frames, self.recipe.data.stride, first)
            except DatasetError as error:
                read_error = read_error or str(error)
            else:
                rngs = [np.random.default_rng((self.seed, epoch, i, repeat)) if repeat else first for repeat in repeats]
                return [{**self._sample(i, frames, rng), "read_error": read_error} for rng in rngs]
        raise DatasetError(f"{_MAX_ATTEMPTS} clips in a row cannot be read; the first: {read_error}")

    def _replacement(self, epoch: int, index: int, attempt: int) -> int:
        """Return the index of the clip to use instead of one that cannot be read."""
        rng = np.random.default_rng((self.seed, epoch, index, 0, attempt))
        if attempt > _SAME_CLASS_ATTEMPTS or not len(self._labels):
            return int(rng.integers(len(self.source)))
        return int(rng.choice(np.flatnonzero(self._labels == self._labels[index])))

    @cached_property
    def _labels(self) -> NDArray[np.int64]:
        return np.asarray(self.source.labels, np.int64)

    def _sample(self, index: int, frames: Frames, rng: np.random.Generator) -> dict[str, Any]:
        model, views = self.recipe.model, self.recipe.views
        if self.pretraining:
            clip = pretrain_view(frames, model.image_size, views.crop_scales, rng)
            return {"clip": clip, "token_order": tube_mask(self.architecture, self.recipe.objective.mask_ratio, rng)}
        return {"clip": finetune_view(frames, model.image_size, views, rng), "label": self.source.labels[index]}


class EvaluationVideos(Dataset[dict[str, Any]]):
    """All evaluation views of each video.

    A sample has `clips` uint8 (V, T, S, S, 3), or None if the video cannot be read; `label`; and `read_error`, the error
    message or an empty string.

    Args:
        source: the videos.
        recipe: settings of the model and the views.
        corruption: applied to each video first; None leaves videos unchanged.
        seed: random seed of the corruption.
    """

    def __init__(
        self, source: LabelledVideos, recipe: TrainingRecipe, corruption: Corruption | None = None, seed: int = 0
    ) -> None:
        self.source, self.recipe, self.corruption, self.seed = source, recipe, corruption, seed

    @property
    def sample_bytes(self) -> int:
        """Size of all views of a video in bytes."""
        model, views = self.recipe.model, self.recipe.views
        return views.test_clips * views.test_crops * model.num_frames * model.image_size**2 * 3

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> dict[str, Any]:
        try:
            with VideoFile(self.source.videos.paths[index]) as video:
                clips = self._views(video, (self.seed, index))
        except DatasetError as error:
            return {"clips": None, "label": self.source.labels[index], "read_error": str(error)}
        return {"clips": torch.from_numpy(clips), "label": self.source.labels[index], "read_error": ""}

    def _views(self, video: VideoFile, seed: tuple[int, int]) -> Frames:
        """Decode and scale only the frames that appear in a view, one at a time: memory does not grow with the video."""
        model, views = self.recipe.model, self.recipe.views
        order = np.arange(video.num_frames)
        if self.corruption is not None:
            order = self.corruption.frame_order(video.num_frames, seed)
        order = order[:: self.recipe.data.stride]
        windows = evaluation_windows(len(order), model.num_frames, views.test_clips)
        needed, positions = np.unique(order[windows], return_inverse=True)
        frames = []
        for t, frame in zip(needed.tolist(), video.stream(needed.tolist()), strict=True):
            corrupted = frame if self.corruption is None else self.corruption.corrupt_frame(frame, (*seed, t))
            frames.append(scale_short_side(corrupted[None], model.image_size)[0])
        clips = np.stack(frames)[positions.reshape(views.test_clips, model.num_frames)]
        return evaluation_crops(clips, model.image_size, views.test_crops)


def recipe_architecture(recipe: TrainingRecipe) -> Architecture:
    """Return the model architecture that a recipe describes."""
    model = recipe.model
    return Architecture(
        model.size, model.num_frames, model.image_size, model.patch_size, model.tubelet_size, model.decoder_depth
    )
