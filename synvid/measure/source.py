"""Clips of any source, a few moments of each: a rendered set, a preset, a folder of videos or of pictures.

Nothing is held but the frames of one clip. A source is a sequence of keys in an order that the seed decides, so the first
clips of it are a random subset, and the same one each time.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from synvid.dataset.reader import Dataset, open_dataset
from synvid.dataset.recipe import OUTPUT_VERSION, RECIPE_FILE
from synvid.errors import ConfigurationError, DatasetError
from synvid.philox import uniform
from synvid.preset import Preset, list_presets, load_preset
from synvid.renderer import render_frames
from synvid.scene import Scene, sample_scene
from synvid.texture.folder import SUFFIXES as IMAGES
from synvid.texture.folder import read_picture
from synvid.texture.supply import find_bank
from synvid.video.decode import SUFFIXES as VIDEOS
from synvid.video.decode import VideoFile
from synvid.work.disk import find_files
from synvid.work.words import counted

__all__ = ["Choice", "Moments", "Source", "Taken", "find_source", "moments_of"]

Frames = NDArray[np.uint8]

#: From the number of frames of a clip to the numbers of those that are wanted, ascending.
Choice = Callable[[int], list[int]]

#: Stream of random numbers that orders the clips of a source.
_ORDER = 1000
#: A longer video is measured over so many frames from its middle.
_LONGEST = 300
_SHOWN = 48  # frames
_SHOWN_FPS = 25.0


@dataclass(frozen=True)
class Moments:
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
class Taken:
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


def moments_of(num_frames: int, count: int) -> list[int]:
    """Frames t, evenly spread over a clip from its first one to the last that another follows.

    >>> moments_of(101, 3)
    [0, 50, 99]
    """
    if num_frames == 1:
        return [0]
    return [int(t) for t in np.linspace(0, num_frames - 2, count).round()]


class Source:
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
        return iter(np.argsort(uniform(seed, 0, _ORDER, (self.total,)), kind="stable").tolist())

    def read(self, key: Any, count: int) -> Moments:
        """Some moments of a clip.

        Raises:
            DatasetError: it cannot be read.
        """
        taken = self.take(key, lambda length: sorted({s for t in moments_of(length, count) for s in (t, t + 1) if s < length}))
        numbers = moments_of(taken.num_frames, count)
        if taken.num_frames == 1:
            return Moments(numbers, taken.frames, None, taken.scene)
        place = {t: k for k, t in enumerate(taken.numbers)}
        frames, following = (taken.frames[[place[t + step] for t in numbers]] for step in (0, 1))
        return Moments(numbers, frames, following, taken.scene)

    def take(self, key: Any, choice: Choice) -> Taken:
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


class PresetSource(Source):
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
        if preset.of_clip(0) is None and preset.mixture.share == 1:
            raise ConfigurationError(f"{preset.name}: all its clips are real; render it with --real DIR and measure the set.")

    def keys(self, _seed: int) -> Iterator[int]:
        return (index for index in itertools.count() if self.of.of_clip(index) is not None)

    def take(self, key: int, choice: Choice) -> Taken:
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


class DatasetSource(Source):
    """A set that `synvid render` wrote: frames as they are decoded, scenes as they were sampled."""

    kind = "dataset"

    def __init__(self, name: str, dataset: Dataset) -> None:
        super().__init__(name, str(dataset.path), dataset.recipe.preset.name)
        self.of, self.total = dataset, len(dataset)

    def _real(self, key: int) -> bool:
        return self.of.recipe.preset.of_clip(self.of[key]["index"]) is None

    def take(self, key: int, choice: Choice) -> Taken:
        if self._real(key):
            return _decoded(io.BytesIO(self.of.video(key)), f"{self.path}, clip {self.of[key]['key']}", choice)
        return _rendered(self.of.described(key), choice, lambda _, numbers: self.of.decode(key, numbers).frames)

    def digest(self, key: int) -> str:
        return hashlib.sha256(self.of.video(key)).hexdigest()

    def show(self, key: int) -> tuple[Frames, float, str]:
        video, name = io.BytesIO(self.of.video(key)), f"clip {self.of[key]['key']}"
        return _first_frames(video, name), self.of.recipe.preset.video.fps, name


class VideosSource(Source):
    """A folder of videos, or one of them."""

    kind = "videos"

    def __init__(self, name: str, folder: Path, files: list[str]) -> None:
        super().__init__(name, str(folder))
        self.folder, self.files, self.total = folder, files, len(files)

    def take(self, key: int, choice: Choice) -> Taken:
        return _decoded(self.folder / self.files[key], self.files[key], choice)

    def digest(self, key: int) -> str:
        return _sha256_of_file(self.folder / self.files[key])

    def show(self, key: int) -> tuple[Frames, float, str]:
        return _first_frames(str(self.folder / self.files[key]), self.files[key]), _SHOWN_FPS, self.files[key]


class ImagesSource(Source):
    """A folder of pictures, or one of them: clips of one frame."""

    kind = "images"
    what = "picture"

    def __init__(self, name: str, folder: Path, files: list[str]) -> None:
        super().__init__(name, str(folder))
        self.folder, self.files, self.total = folder, files, len(files)

    def take(self, key: int, choice: Choice) -> Taken:
        path, numbers = self.folder / self.files[key], choice(1)
        try:
            return Taken(numbers, read_picture(path)[None], 1)
        except (OSError, ValueError, SyntaxError, MemoryError, Image.DecompressionBombError) as error:
            raise DatasetError(f"{path}: is no picture that can be read: {error}.") from None

    def digest(self, key: int) -> str:
        return _sha256_of_file(self.folder / self.files[key])

    def show(self, key: int) -> tuple[Frames, float, str]:
        return self.read(key, 1).frames, 0.0, self.files[key]


def _rendered(scene: Scene, choice: Choice, frames_of: Callable[[Scene, list[int]], Frames]) -> Taken:
    numbers = choice(scene.num_frames)
    return Taken(numbers, frames_of(scene, numbers), scene.num_frames, scene)


def _sha256(*parts: Any) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _sha256_of_file(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise DatasetError(f"{path}: {error.strerror}.") from None
    return digest.hexdigest()


# ---- Video files ---------------------------------------------------------------------------------------------------
def _decoded(file: Any, name: str, choice: Choice) -> Taken:
    """Frames of a video file; of a long one, from its middle."""
    with VideoFile(file, name) as film:
        start, length = max(0, (film.num_frames - _LONGEST) // 2), min(film.num_frames, _LONGEST)
        numbers = choice(length)
        return Taken(numbers, film.read([start + number for number in numbers]), length)


def _first_frames(file: Any, name: str) -> Frames:
    with VideoFile(file, name) as film:
        return film.read(range(min(_SHOWN, film.num_frames)))


# ---- Finding -------------------------------------------------------------------------------------------------------
def find_source(
    text: str,
    *,
    kind: str | None = None,
    seed: int = 0,
    prepare: Callable[[Preset], Preset] = lambda preset: preset,
) -> Source:
    """What a path or name stands for.

    Args:
        text: a folder, a file, a preset, or one of them with a name of one's own before it: NAME=PATH.
        kind: `videos` or `images`, where a folder holds both.
        seed: of the clips of a preset.
        prepare: gives a preset its banks of textures, and may change it.

    Raises:
        ConfigurationError: there is no such thing, nothing in it, or both videos and pictures.
        DatasetError: a rendered set is not finished.
    """
    name, path = _named(text)
    if path.suffix in (".yaml", ".yml") and path.name != RECIPE_FILE:
        preset = load_preset(path)
        return PresetSource(name or preset.name, prepare(preset), seed)
    if path.name == RECIPE_FILE and path.is_file():
        path = path.parent
    if (path / RECIPE_FILE).is_file():
        return DatasetSource(name or path.resolve().name, open_dataset(path))
    if path.is_dir():
        return _folder_source(name or path.resolve().name, path, kind)
    if path.is_file():
        one = _of_kind(name or path.stem, path, kind)
        if one is None:
            raise ConfigurationError(f"{path}: is no video and no picture; they end in {', '.join(VIDEOS + IMAGES)}.")
        return one
    known = text if not name else str(path)
    if known in list_presets():
        preset = load_preset(known)
        return PresetSource(name or preset.name, prepare(preset), seed)
    if any(mark in known for mark in "/.~") and known.partition("/")[0] != "reference":
        raise ConfigurationError(f"{known}: no such file or folder.")
    try:
        load_preset(known)
    except ConfigurationError as error:
        raise ConfigurationError(f"{known}: no such folder, and {error}") from None
    raise AssertionError  # not in the list, and yet it loads


def _named(text: str) -> tuple[str, Path]:
    """Name and path of NAME=PATH; a path that exists is one, whatever signs it holds."""
    name, equals, rest = text.partition("=")
    try:
        path = Path(text).expanduser()
        if equals and name and rest and "/" not in name and not path.exists():
            path = Path(rest).expanduser()
        else:
            name = ""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # it may be a preset
            path.stat()
    except (OSError, RuntimeError, ValueError) as error:  # a name too long, or of a user who is not there
        why = error.strerror if isinstance(error, OSError) else "no such file or folder"
        raise ConfigurationError(f"{text[:80]}: {why}.") from None
    return name, path


def _folder_source(name: str, folder: Path, kind: str | None) -> Source:
    found = {"videos": find_files(folder, VIDEOS), "images": find_files(folder, IMAGES)}
    some = [each for each in found if found[each] and kind in (None, each)]
    if len(some) == 2:
        raise ConfigurationError(
            f"{folder}: holds {counted(len(found['videos']), 'video')} and {counted(len(found['images']), 'picture')}; "
            "--kind videos or --kind images says which to measure."
        )
    if not some:
        what = {None: "no dataset, no video and no picture", "videos": "no video", "images": "no picture"}[kind]
        raise ConfigurationError(f"{folder}: holds {what}; they end in {', '.join(VIDEOS + IMAGES)}.")
    source = VideosSource if some[0] == "videos" else ImagesSource
    return source(name, folder, found[some[0]])


def _of_kind(name: str, path: Path, kind: str | None) -> Source | None:
    """A single file as a source, if it is of a kind that is asked for."""
    for one, suffixes, source in (("videos", VIDEOS, VideosSource), ("images", IMAGES, ImagesSource)):
        if path.suffix.lower() in suffixes and kind in (None, one):
            found = source(name, path.parent, [path.name])
            found.path = str(path)
            return found
    return None
