"""Real clips of a mixture: cut from video files, scaled to the dataset's frame size and rate (section 9.4 of the paper)."""

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


_CHUNK_FRAMES = 16


class UndecodableError(DatasetError):
    """A video file cannot be decoded."""


@dataclass(frozen=True)
class RealVideos:
    """The video files in a folder tree.

    Attributes:
        path: the folder; empty if it is not known on this machine.
        files: number of video files.
        digest: SHA-256 of their names and sizes.
    """

    path: str
    files: int
    digest: str

    @classmethod
    def find(cls, folder: Path) -> RealVideos:
        """Find the video files in a folder tree.

        Raises:
            ConfigurationError: the folder does not exist or holds no video.
        """
        if not folder.is_dir():
            raise ConfigurationError(f"{folder}: no such folder; give the folder of the real videos (--real DIR, or real=).")
        _video_names.cache_clear()  # the folder may have changed
        names = _video_names(str(folder.resolve()))
        if not names:
            raise ConfigurationError(f"{folder}: holds no video files for real clips ({', '.join(VIDEO_SUFFIXES)}).")
        digest = hashlib.sha256()
        for name in names:
            digest.update(f"{name}\0{(folder / name).stat().st_size}\0".encode(errors="surrogateescape"))
        return cls(str(folder.resolve()), len(names), digest.hexdigest())

    def candidates(self, seed: int, rank: int) -> Iterator[str]:
        """Yield the names of the files to try for a real clip, best first; every file is used once before one is used twice.

        Args:
            seed: random seed of the dataset.
            rank: number of real clips before this one.

        Raises:
            DatasetError: there are no video files.
        """
        names = _video_names(self.path)
        if not names:
            raise DatasetError(f"{self.path}: the real videos of this dataset are missing.")
        round_, position = divmod(rank, len(names))
        order = np.argsort(uniform(seed, round_, Stream.REAL_ORDER, (len(names),)), kind="stable")
        for step in range(len(names)):
            yield names[order[(position + step) % len(names)]]

    def frame_chunks(self, name: str, video: Video, seed: int, index: int) -> Iterator[NDArray[np.uint8]]:
        """Decode a random window of a video file, as long as a clip of the dataset if the file is long enough.

        Frames are centre-cropped and scaled to the frame size. If the frame rates differ, each time shows the last frame that
        has begun.

        Args:
            name: a name from `candidates`.
            video: frame size, rate and numbers of frames of the dataset.
            seed: random seed of the dataset.
            index: index of the clip.

        Yields:
            Consecutive frames, uint8 (T, H, W, 3), RGB.

        Raises:
            UndecodableError: the file cannot be decoded.
        """
        low, high = video.num_frames_range
        length = low + int(uniform(seed, index, Stream.NUM_FRAMES, (1,))[0] * (high - low + 1))
        fraction = float(uniform(seed, index, Stream.REAL_WINDOW, (1,))[0])
        try:
            with VideoFile(Path(self.path, name)) as file:
                start = max(0.0, file.duration - length / video.fps) * fraction
                times = start + np.arange(length) / video.fps
                times = times[times < file.duration - 1e-6]
                numbers, counts = np.unique(np.searchsorted(file.times, times + 1e-6, "right") - 1, return_counts=True)
                frames = zip(file.stream(numbers.tolist()), counts.tolist(), strict=True)
                yield from _chunks(itertools.chain.from_iterable([_crop_and_scale(frame, video)] * k for frame, k in frames))
        except DatasetError as error:
            raise UndecodableError(str(error)) from None


@lru_cache(maxsize=4)
def _video_names(folder: str) -> list[str]:
    return find_files(Path(folder), VIDEO_SUFFIXES, without=RECIPE_FILE)


def _crop_and_scale(frame: NDArray[np.uint8], video: Video) -> NDArray[np.uint8]:
    image = Image.fromarray(frame)
    scale = min(image.width / video.width, image.height / video.height)
    width, height = scale * video.width, scale * video.height
    left, top = (image.width - width) / 2, (image.height - height) / 2
    box = (left, top, left + width, top + height)
    return np.asarray(image.resize((video.width, video.height), Image.Resampling.BICUBIC, box))


def _chunks(frames: Iterator[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
    chunk: list[NDArray[np.uint8]] = []
    for frame in frames:
        chunk.append(frame)
        if len(chunk) == _CHUNK_FRAMES:
            yield np.stack(chunk)
            chunk = []
    if chunk:
        yield np.stack(chunk)
