"""Training samples and test samples."""

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

__all__ = ["TestVideos", "TrainingClips"]


#: Attempts at replacing a clip by one of its class.
_OF_ITS_CLASS = 50


class TrainingClips(Dataset[dict[str, Any]]):
    """Samples for training: (epoch, index, repeat) to a clip and its mask or label, the same in whatever process.

    Repeats are views of one window, which is decoded once where they are asked for together.

    A clip that cannot be read is replaced by another one of its class, drawn at random, and named in the sample: classes keep
    their shares. Where none of fifty can be read, or clips have no labels, it is replaced by any, which brings its own label.
    """

    def __init__(self, source: WindowSource, recipe: TrainingRecipe, seed: int, pretraining: bool) -> None:
        self.source, self.recipe, self.seed, self.pretraining = source, recipe, seed, pretraining
        self.architecture = recipe_architecture(recipe)

    @property
    def sample_bytes(self) -> int:
        """Of a clip as the model takes it."""
        return self.recipe.model.num_frames * self.recipe.model.image_size**2 * 3

    def __getitem__(self, key: tuple[int, int, int]) -> dict[str, Any]:
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: Sequence[tuple[int, int, int]]) -> list[dict[str, Any]]:
        """Samples of a batch, as torch's loader asks for them."""
        groups = itertools.groupby(keys, lambda key: (key[0], key[1]))
        return [sample for clip, group in groups for sample in self._samples(*clip, [repeat for *_, repeat in group])]

    def _samples(self, epoch: int, index: int, repeats: Sequence[int]) -> list[dict[str, Any]]:
        unread = ""
        for attempt in range(100):
            i = index if not attempt else self._another(epoch, index, attempt)
            first = np.random.default_rng((self.seed, epoch, i, 0))  # draws the window, then the view of repeat 0
            try:
                frames = self.source.window(i, self.recipe.model.num_frames, self.recipe.data.stride, first)
            except DatasetError as error:
                unread = unread or str(error)
            else:
                rngs = [np.random.default_rng((self.seed, epoch, i, repeat)) if repeat else first for repeat in repeats]
                return [{**self._sample(i, frames, rng), "unread": unread} for rng in rngs]
        raise DatasetError(f"a hundred clips cannot be read; the first: {unread}")

    def _another(self, epoch: int, index: int, attempt: int) -> int:
        """The clip that takes the place of one that cannot be read."""
        rng = np.random.default_rng((self.seed, epoch, index, 0, attempt))
        if attempt > _OF_ITS_CLASS or not len(self._labels):
            return int(rng.integers(len(self.source)))
        return int(rng.choice(np.flatnonzero(self._labels == self._labels[index])))

    @cached_property
    def _labels(self) -> NDArray[np.int64]:
        return np.asarray(self.source.labels, np.int64)

    def _sample(self, i: int, frames: Frames, rng: np.random.Generator) -> dict[str, Any]:
        model, views = self.recipe.model, self.recipe.views
        if self.pretraining:
            clip = pretrain_view(frames, model.image_size, views.crop_scales, rng)
            return {"clip": clip, "order": tube_mask(self.architecture, self.recipe.objective.mask_ratio, rng)}
        return {"clip": finetune_view(frames, model.image_size, views, rng), "label": self.source.labels[i]}


class TestVideos(Dataset[dict[str, Any]]):
    """All views of each video of a test, uint8 (V, T, S, S, 3); none where it cannot be read.

    Attributes:
        corruption: of the videos; None for none.
    """

    __test__ = False  # nothing for pytest

    def __init__(
        self, source: LabelledVideos, recipe: TrainingRecipe, corruption: Corruption | None = None, seed: int = 0
    ) -> None:
        self.source, self.recipe, self.corruption, self.seed = source, recipe, corruption, seed

    @property
    def sample_bytes(self) -> int:
        """Of all views of a video."""
        model, views = self.recipe.model, self.recipe.views
        return views.test_clips * views.test_crops * model.num_frames * model.image_size**2 * 3

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, i: int) -> dict[str, Any]:
        try:
            with VideoFile(self.source.videos.paths[i]) as film:
                clips = self._views(film, (self.seed, i))
        except DatasetError as error:
            return {"clips": None, "label": self.source.labels[i], "unread": str(error)}
        return {"clips": torch.from_numpy(clips), "label": self.source.labels[i], "unread": ""}

    def _views(self, film: VideoFile, seed: tuple[int, int]) -> Frames:
        """Only frames that some view shows are decoded, and scaled one by one: a long film takes no more memory."""
        model, views = self.recipe.model, self.recipe.views
        order = np.arange(film.num_frames) if self.corruption is None else self.corruption.order(film.num_frames, seed)
        order = order[:: self.recipe.data.stride]
        numbers, places = np.unique(
            order[evaluation_windows(len(order), model.num_frames, views.test_clips)], return_inverse=True
        )
        frames = []
        for number, frame in zip(numbers.tolist(), film.stream(numbers.tolist()), strict=True):
            shown = frame if self.corruption is None else self.corruption.change(frame, (*seed, number))
            frames.append(scale_short_side(shown[None], model.image_size)[0])
        windows = np.stack(frames)[places.reshape(views.test_clips, model.num_frames)]
        return evaluation_crops(windows, model.image_size, views.test_crops)


def recipe_architecture(recipe: TrainingRecipe) -> Architecture:
    """The shape of the recipe's model."""
    model = recipe.model
    return Architecture(
        model.size, model.num_frames, model.image_size, model.patch_size, model.tubelet_size, model.decoder_depth
    )
