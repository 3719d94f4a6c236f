"""Real clips of a mixture: cut from video files, scaled to the set's size and rate (section 9.4 of the paper)."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from synvid.errors import ConfigurationError, DatasetError
from synvid.file_formats import VIDEO_SUFFIXES
from synvid.numerics.rng import uniform
from synvid.numerics.streams import Stream
from synvid.paths import RECIPE_FILE, find_files
from synvid.preset import Video
from synvid.video.decode import VideoFile

__all__ = ["RealVideos", "UndecodableError"]


_PIECE = 16  # frames


class UndecodableError(DatasetError):
    """A file that is no video, or a broken one."""


@dataclass(frozen=True)
class RealVideos:
    """The video files below a folder.

    Attributes:
        path: of the folder.
        files: how many.
        digest: SHA-256 of their names and sizes.
    """

    path: str
    files: int
    digest: str

    @classmethod
    def find(cls, folder: Path) -> RealVideos:
        """Look for video files in a folder and all below it.

        Raises:
            ConfigurationError: there is no such folder, or no video in it.
        """
        if not folder.is_dir():
            raise ConfigurationError(f"--real {folder}: no such folder.")
        _names.cache_clear()  # the folder may have changed
        names = _names(str(folder.resolve()))
        if not names:
            raise ConfigurationError(f"--real {folder}: holds no video; they end in {', '.join(VIDEO_SUFFIXES)}.")
        digest = hashlib.sha256()
        for name in names:
            digest.update(f"{name}\0{(folder / name).stat().st_size}\0".encode(errors="surrogateescape"))
        return cls(str(folder.resolve()), len(names), digest.hexdigest())

    def candidates(self, seed: int, rank: int) -> Iterator[str]:
        """Which files clip number `rank` of the real ones may come from, best first: all are used once before one is twice."""
        names = _names(self.path)
        if not names:
            raise DatasetError(f"{self.path}: the real videos of this dataset are not there.")
        round_, place = divmod(rank, len(names))
        order = np.argsort(uniform(seed, round_, Stream.REAL_ORDER, (len(names),)), kind="stable")
        for step in range(len(names)):
            yield names[order[(place + step) % len(names)]]

    def pieces(self, name: str, video: Video, seed: int, index: int) -> Iterator[NDArray[np.uint8]]:
        """The frames of a clip: a random stretch of the file, as long as a clip of the set if the file is.

        Args:
            name: of the file, from `candidates`.
            video: size, rate and lengths of the set.
            seed, index: of the clip.

        Returns:
            uint8 (T, H, W, 3) at a time. The middle of the picture, scaled to fill the frame; where the rates differ, the
            last frame that has begun.

        Raises:
            UndecodableError: the file cannot be decoded.
        """
        low, high = video.num_frames_range
        length = low + int(uniform(seed, index, Stream.NUM_FRAMES, (1,))[0] * (high - low + 1))
        where = float(uniform(seed, index, Stream.REAL_WINDOW, (1,))[0])
        try:
            with VideoFile(Path(self.path, name)) as film:
                start = max(0.0, film.duration - length / video.fps) * where
                moments = start + np.arange(length) / video.fps
                moments = moments[moments < film.duration - 1e-6]
                numbers, times = np.unique(np.searchsorted(film.times, moments + 1e-6, "right") - 1, return_counts=True)
                shown = zip(film.stream(numbers.tolist()), times.tolist(), strict=True)
                yield from _grouped(itertools.chain.from_iterable([_scaled(frame, video)] * count for frame, count in shown))
        except DatasetError as error:
            raise UndecodableError(str(error)) from None


@lru_cache(maxsize=4)
def _names(folder: str) -> list[str]:
    return find_files(Path(folder), VIDEO_SUFFIXES, without=RECIPE_FILE)


def _scaled(frame: NDArray[np.uint8], video: Video) -> NDArray[np.uint8]:
    picture = Image.fromarray(frame)
    share = min(picture.width / video.width, picture.height / video.height)
    width, height = share * video.width, share * video.height
    left, top = (picture.width - width) / 2, (picture.height - height) / 2
    box = (left, top, left + width, top + height)
    return np.asarray(picture.resize((video.width, video.height), Image.Resampling.BICUBIC, box))


def _grouped(frames: Iterator[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
    group: list[NDArray[np.uint8]] = []
    for frame in frames:
        group.append(frame)
        if len(group) == _PIECE:
            yield np.stack(group)
            group = []
    if group:
        yield np.stack(group)
