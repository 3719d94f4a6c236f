"""Where training clips come from, and the loader that brings them: seeded by (seed, epoch, index), whoever loads what when."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import itertools
import multiprocessing
import os
import shutil
import signal
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from synvid.dataset.reader import Dataset as Shards
from synvid.errors import ConfigurationError, DatasetError
from synvid.preset import BANK_SUFFIX, Preset
from synvid.renderer import render_frames
from synvid.scene import sample_scene
from synvid.texture.supply import find_bank
from synvid.video.decode import VideoFile, decode
from synvid.work.disk import in_words, raise_file_limit
from synvid.work.pool import end_with_parent
from synvid.work.words import counted
from synvid_train.corruption import Corruption
from synvid_train.labels import VideoList
from synvid_train.recipe import Recipe
from synvid_train.videomae import Architecture, tube_mask
from synvid_train.views import (
    evaluation_crops,
    evaluation_windows,
    finetune_view,
    finetune_window,
    pretrain_view,
    sample_window,
    scale_short_side,
)

__all__ = [
    "LabelledVideos",
    "RenderedClips",
    "Schedule",
    "ShardClips",
    "Source",
    "TestVideos",
    "TrainingClips",
    "living_loaders",
    "load",
    "load_singly",
]

Frames = NDArray[np.uint8]


class Source(Protocol):
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
        if self.rerender and recipe.preset.of_clip(row["index"]) is not None:
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


#: Attempts at replacing a clip by one of its class.
_OF_ITS_CLASS = 50


class TrainingClips(Dataset[dict[str, Any]]):
    """Samples for training: (epoch, index, repeat) to a clip and its mask or label, the same in whatever process.

    Repeats are views of one window, which is decoded once where they are asked for together.

    A clip that cannot be read is replaced by another one of its class, drawn at random, and named in the sample: classes keep
    their shares. Where none of fifty can be read, or clips have no labels, it is replaced by any, which brings its own label.
    """

    def __init__(self, source: Source, recipe: Recipe, seed: int, pretraining: bool) -> None:
        self.source, self.recipe, self.seed, self.pretraining = source, recipe, seed, pretraining
        self.architecture = architecture_of(recipe)

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

    def __init__(self, source: LabelledVideos, recipe: Recipe, corruption: Corruption | None = None, seed: int = 0) -> None:
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


def architecture_of(recipe: Recipe) -> Architecture:
    """The shape of the recipe's model."""
    model = recipe.model
    return Architecture(
        model.size, model.num_frames, model.image_size, model.patch_size, model.tubelet_size, model.decoder_depth
    )


@dataclass(frozen=True)
class Schedule:
    """Which clips each step takes: a permutation an epoch, cut into batches, of which each rank takes its part.

    Attributes:
        count: clips of an epoch.
        repeats: samples of each, all in the same step.
        batch_size: clips a step, over all ranks.
        device_batch: most samples that a rank takes at once.
        epochs: of the run.
        seed: of the order.
        fresh: clips of an epoch are others than those of the one before.
        rank, world: which part is ours.
        pairs: samples are mixed in pairs, so a piece must have an even number of them.
    """

    count: int
    repeats: int
    batch_size: int
    device_batch: int
    epochs: int
    seed: int
    fresh: bool = False
    rank: int = 0
    world: int = 1
    pairs: bool = False

    def __post_init__(self) -> None:
        if self.batch_size % self.world:
            raise ConfigurationError(
                f"optim.batch_size is {self.batch_size}; it must be a multiple of the {self.world} processes."
            )
        if self.steps_per_epoch == 0:
            raise ConfigurationError(
                f"optim.batch_size is {self.batch_size}, but an epoch has only {self.count} clips; "
                f"--set optim.batch_size={self.count} or less."
            )
        if self.pairs and self.piece % 2:
            raise ConfigurationError(
                f"objective.mixup and cutmix mix clips in pairs, but optim.batch_size={self.batch_size} over "
                f"{counted(self.world, 'device')} with run.device_batch={self.device_batch} is cut into pieces of "
                f"{self.piece}; {self._even()}."
            )

    def _even(self) -> str:
        """What would make pieces even."""
        if self._share % 2:
            whole = 2 * self.world
            return f"--set optim.batch_size={max(self.batch_size // whole, 1) * whole}"
        sizes = range(2, max(min(self._share, self.device_batch), 2) + 1, 2)
        return f"--set run.device_batch={max(size for size in sizes if self._share % size == 0)}"

    @property
    def steps_per_epoch(self) -> int:
        """Full batches of an epoch."""
        return self.count // self.batch_size

    @property
    def steps(self) -> int:
        """Of the run."""
        return self.steps_per_epoch * self.epochs

    @property
    def _share(self) -> int:
        """Samples of a step that a rank takes."""
        return self.batch_size // self.world * self.repeats

    @property
    def accumulate(self) -> int:
        """Pieces that a rank's part of a step is cut into, equal ones."""
        return self._share // self.piece

    @property
    def piece(self) -> int:
        """Samples of such a piece, as many as a rank may take at once."""
        share = self._share
        return next(size for size in range(min(share, self.device_batch), 0, -1) if share % size == 0)

    def pieces(self, start: int = 0) -> Iterator[list[tuple[int, int, int]]]:
        """(epoch, index, repeat) of the clips of each piece, from step `start` on."""
        share = self.batch_size // self.world
        size = self.piece
        order, known = np.empty(0, np.int64), -1
        for step in range(start, self.steps):
            epoch, place = divmod(step, self.steps_per_epoch)
            if epoch != known:
                known, order = epoch, np.random.default_rng((self.seed, epoch)).permutation(self.count)
            first = place * self.batch_size + self.rank * share
            shift = epoch * self.count if self.fresh else 0
            chosen = order[first : first + share]
            keys = [(epoch, int(i) + shift, repeat) for i in chosen for repeat in range(self.repeats)]
            yield from (keys[k : k + size] for k in range(0, len(keys), size))


def load(
    dataset: Dataset[dict[str, Any]],
    batches: Iterable[list[Any]],
    workers: int,
    device: torch.device,
    collate: Any = None,
    talk: Callable[[str], None] = lambda _: None,
) -> Generator[dict[str, Any], None, None]:
    """Load batches in worker processes; samples do not depend on how many.

    Batches travel through shared memory. Of those that wait each worker has one, and more as long as all take at most
    `PREFETCH_BYTES`; where half of what is free cannot hold them there are fewer workers, which `talk` is told. Workers
    leave signals to this process, which ends them: to be closed, or they outlive an error and the process waits for them.

    To be used inside `living_loaders`, since torch says wherever one is that a process has died.
    """  # fmt: skip
    batches = iter(batches)
    first = next(batches, None)
    if first is None:
        return
    workers, ahead = _prefetch(dataset, first, workers, talk)
    others = multiprocessing.active_children()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)  # more workers than cores: as asked
            loader: Any = iter(
                DataLoader(
                    dataset, batch_sampler=itertools.chain([first], batches), num_workers=workers,
                    pin_memory=device.type == "cuda", collate_fn=collate, prefetch_factor=ahead if workers else None,
                    worker_init_fn=_be_obedient if workers else None,
                )
            )  # fmt: skip
    except BaseException:  # some of them may have begun
        for process in set(multiprocessing.active_children()).difference(others):
            process.kill()
        raise
    try:
        yield from loader
    except DatasetError as error:  # from a worker: with its traceback as text
        raise DatasetError(str(error).rsplit("DatasetError: ", 1)[-1].strip()) from None
    finally:
        if workers:
            loader._shutdown_workers()  # noqa: SLF001  # torch offers nothing else
            for process in loader._workers:  # noqa: SLF001  # they ignore SIGTERM, by which torch would end them
                process.kill()


#: Bytes of batches that wait in shared memory, over all workers.
PREFETCH_BYTES = 1 << 30
_AHEAD = 4
#: Files that a worker keeps open in this process, pipes; and those that batches of its take on their way.
_FILES_EACH, _FILES = 4, 16


def _prefetch(
    dataset: Dataset[dict[str, Any]], batch: list[Any], workers: int, talk: Callable[[str], None]
) -> tuple[int, int]:
    """How many workers there may be, and how many batches each prepares, so that shared memory does not overflow."""
    files = max((raise_file_limit() - _open_files()) // 2 - _FILES, 0) // _FILES_EACH
    if files < workers:
        talk(
            f"--workers {workers}: a process may have {raise_file_limit()} files open, which is too few for them; {files} are "
            "used. A higher `ulimit -n` lets more."
        )
        workers = files
    if workers == 0 or not hasattr(dataset, "sample_bytes"):
        return workers, _AHEAD
    size = len(batch) * int(dataset.sample_bytes)
    room = _free_shared_memory() // 2 // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    fit = min(workers, room // size)
    if fit < workers:
        talk(
            f"--workers {workers}: the batches of {size / 1e6:.0f} MB that they prepare do not fit into {room / 1e6:.0f} MB "
            f"of shared memory; {fit} are used. A smaller run.device_batch, or a larger /dev/shm, lets more."
        )
    return fit, max(1, min(_AHEAD, min(room, PREFETCH_BYTES) // (size * max(fit, 1))))


def _open_files() -> int:
    """How many files this process has open; some where that is not known."""
    try:
        return sum(1 for _ in Path("/dev/fd").iterdir())
    except OSError:
        return _FILES


def _free_shared_memory() -> int:
    """Bytes; where there is no /dev/shm, shared memory is not limited so."""
    try:
        return shutil.disk_usage("/dev/shm").free  # noqa: S108  # where torch keeps tensors that are shared
    except OSError:
        return PREFETCH_BYTES * 2


def _be_obedient(_: int) -> None:
    """Make a process that loads clips leave signals to its parent, and end when that is gone."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    end_with_parent()


def load_singly(
    dataset: Dataset[dict[str, Any]], places: Sequence[Any], workers: int, device: torch.device
) -> Generator[dict[str, Any], None, None]:
    """The same without batches: samples as they are."""
    return load(dataset, ([place] for place in places), workers, device, _only)


def _only(batch: list[dict[str, Any]]) -> dict[str, Any]:
    return batch[0]


#: What torch says where no more files can be opened, or handed over.
_NO_FILES = ("Too many open files", "items of ancdata")
#: What torch says where shared memory, a file of its own, cannot be had.
_NO_ROOM = ("unable to resize file", "unable to mmap", "unable to write to file", "unable to open shared memory")


@contextlib.contextmanager
def living_loaders() -> Iterator[None]:
    """Turn the death of a process that loads clips into a sentence.

    Raises:
        DatasetError: one died.
    """
    try:
        yield
    except RuntimeError as error:
        if any(words in str(error) for words in _NO_FILES):
            raise DatasetError(in_words(OSError(errno.EMFILE, ""))) from error
        if any(words in str(error) for words in _NO_ROOM):
            raise DatasetError(
                "processes that load clips find no room in shared memory (/dev/shm); fewer --workers or a smaller "
                "run.device_batch take less, what is saved is whole, and the same command goes on from it."
            ) from error
        if "exited unexpectedly" not in str(error) and "killed by signal" not in str(error):
            raise
        raise DatasetError(
            "a process that loads clips has died, of too little memory perhaps; fewer --workers take less, what is saved is "
            "whole, and the same command goes on from it."
        ) from error
