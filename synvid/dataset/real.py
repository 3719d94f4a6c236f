"""Real clips of a mixture: cut from video files, scaled to the set's size and rate (section 9.4 of the paper)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from synvid.errors import ConfigurationError, DatasetError
from synvid.philox import Stream, uniform
from synvid.preset import Video
from synvid.video.decode import check_size
from synvid.work.disk import RECIPE_FILE, find_files

__all__ = ["FORMATS", "SUFFIXES", "RealVideos", "UndecodableError"]

SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".3gp", ".ogv")

_PIECE = 16  # frames
#: Containers of these names; a list of other files in a text is none.
FORMATS = {"mov,mp4,m4a,3gp,3g2,mj2", "avi", "matroska,webm", "mpeg", "mpegvideo", "mpegts", "asf", "flv", "ogg"}


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
            raise ConfigurationError(f"--real {folder}: holds no video; they end in {', '.join(SUFFIXES)}.")
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
        import av

        low, high = video.num_frames_range
        length = low + int(uniform(seed, index, Stream.NUM_FRAMES, (1,))[0] * (high - low + 1))
        where = float(uniform(seed, index, Stream.REAL_WINDOW, (1,))[0])
        try:
            with av.open(str(Path(self.path, name)), options={"protocol_whitelist": "file"}) as container:
                if container.format.name not in FORMATS:
                    raise ValueError(f"is {container.format.long_name}")
                stream = container.streams.video[0]
                check_size(stream)
                stream.codec_context.thread_count = 1
                whole = container.duration / av.time_base if container.duration else 0.0
                start = max(0.0, whole - length / video.fps) * where
                yield from _grouped(_stretch(container, stream, start, length, video))
        except (av.FFmpegError, IndexError, ValueError) as error:
            raise UndecodableError(f"{Path(self.path, name)}: cannot be decoded: {error}.") from None


@lru_cache(maxsize=4)
def _names(folder: str) -> list[str]:
    return find_files(Path(folder), SUFFIXES, without=RECIPE_FILE)


def _stretch(container: Any, stream: Any, start: float, length: int, video: Video) -> Iterator[NDArray[np.uint8]]:
    """Frames at start, start + 1 / fps, ... seconds, scaled; fewer than `length` if the file ends."""
    origin = float((stream.start_time or 0) * stream.time_base)
    if start > 2.0:
        container.seek(int((origin + start - 1.0) * 1e6))  # to a key frame before
    shown, made, time = None, 0, 0.0
    for frame in container.decode(stream):
        time = float(frame.time) - origin if frame.time is not None else 0.0
        while made < length and shown is not None and time > start + made / video.fps + 1e-6:
            yield shown
            made += 1
        if made >= length:
            return
        shown = _scaled(frame, video) if time > start - 1.0 else shown
    rest = float(1 / stream.average_rate) if stream.average_rate else 0.0  # the last frame is shown for a while, too
    while made < length and shown is not None and time + rest > start + made / video.fps + 1e-6:
        yield shown
        made += 1


def _scaled(frame: Any, video: Video) -> NDArray[np.uint8]:
    picture = Image.fromarray(np.rot90(frame.to_ndarray(format="rgb24"), round(getattr(frame, "rotation", 0) / 90)))
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
