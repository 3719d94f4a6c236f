"""The index of a video file: which packet holds which frame, and when the frame is shown.

Time stamps alone do not identify a frame: AVI has none, and MPEG streams may begin in the middle. So a file is indexed once:
from its time stamps where the container stores one for every frame, otherwise by decoding the whole file.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import zipfile
import zlib
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synvid.paths import cache_folder
from synvid.storage.atomic_io import atomic_write

__all__ = ["NO_TIMESTAMP", "FrameIndex", "load_index", "packet_location", "store_index"]


#: Stands for a missing time stamp.
NO_TIMESTAMP = -(2**63)
#: An index of a file with at least this many packets is written to disk, even if it was not made by decoding.
_SAVED_FROM = 2000
#: Version of the file format of an index; part of its file name.
_FORMAT = 1

#: Indices that this process has used, by cache path, the latest last.
_recent: dict[Path, FrameIndex] = {}
_MAX_RECENT = 256


@dataclass(frozen=True)
class FrameIndex:
    """The frames of a video file.

    Attributes:
        numbers: int32 (P,), frame number of each packet, in file order; -1 for a packet that is not shown.
        timestamps: int64 (P,), the time stamp that a seek to each packet takes, in the stream's time base.
        locations: int64 (P, 2), byte offset (-1: unknown) and size of each packet.
        keys: int32 (K,), positions of the packets at which decoding may begin, ascending.
        times: float64 (T,), presentation time of each frame, seconds from the first one.
        decoded: True if the whole file was decoded to make the index.
    """

    numbers: NDArray[np.int32]
    timestamps: NDArray[np.int64]
    locations: NDArray[np.int64]
    keys: NDArray[np.int32]
    times: NDArray[np.float64]
    decoded: bool

    @classmethod
    def load(cls, path: Path) -> FrameIndex | None:
        """Read a saved index; None if the file is missing or damaged."""
        try:
            with path.open("rb") as file, np.load(file) as arrays:
                return cls(**{field.name: arrays[field.name] for field in fields(cls)})
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
            return None

    def save(self, path: Path) -> None:
        """Write the index to a file. A full disk or a read-only cache is not an error."""
        file = io.BytesIO()
        arrays: dict[str, Any] = {field.name: np.asarray(getattr(self, field.name)) for field in fields(self)}
        np.savez_compressed(file, **arrays)
        with contextlib.suppress(OSError):
            atomic_write(path, file.getvalue())

    @cached_property
    def first_frames(self) -> NDArray[np.int32]:
        """int32 (K,), the first frame that decoding from each key packet returns: its own, or the next if it is not shown."""
        first_frames = self.numbers[self.keys]
        for k in np.flatnonzero(first_frames < 0):
            later = self.numbers[self.keys[k] :]
            first_frames[k] = later[later >= 0].min(initial=len(self.times))
        return first_frames

    def find_packets(self, offset: int, size: int) -> NDArray[np.int64]:
        """Positions of the packets that may be the one of this byte offset and size; -1 is an unknown offset."""
        same_size = self.locations[:, 1] == size
        (positions,) = np.nonzero(same_size if offset < 0 else same_size & (self.locations[:, 0] == offset))
        return positions

    def decode_start(self, number: int, earlier: int = 0) -> tuple[int, int]:
        """Where decoding must begin to return a frame.

        Args:
            number: the frame.
            earlier: how many key packets before the last possible one; beyond the first key packet, the start of the file.

        Returns:
            Position of the packet, and the first frame that decoding from it returns.
        """
        (usable,) = np.nonzero(self.first_frames <= number)
        if earlier >= len(usable):
            return 0, 0
        return int(self.keys[usable[-1 - earlier]]), int(self.first_frames[usable[-1 - earlier]])


def packet_location(packet: Any) -> tuple[int, int]:
    """Byte offset and size of a packet; an unknown offset is -1."""
    return -1 if packet.pos is None else packet.pos, packet.size


# ---- Keeping indices ---------------------------------------------------------------------------------------------------
def load_index(file: Any) -> FrameIndex | None:
    """The index of a file from this process or the user's cache; None if there is none, or `file` is not a path."""
    path = _cache_path(file)
    return None if path is None else _recent.get(path) or FrameIndex.load(path)


def store_index(file: Any, index: FrameIndex, is_new: bool) -> None:
    """Keep an index for `load_index`; on disk only if it is new and took long to make. Only paths have one."""
    path = _cache_path(file)
    if path is None:
        return
    if is_new and (index.decoded or len(index.numbers) >= _SAVED_FROM):
        index.save(path)
    _recent.pop(path, None)
    _recent[path] = index
    if len(_recent) > _MAX_RECENT:
        del _recent[next(iter(_recent))]


def _cache_path(file: Any) -> Path | None:
    """The file in the user's cache that holds an index, by the path, size and date of the video."""
    if not isinstance(file, str):
        return None
    status = os.stat(file)  # noqa: PTH116
    key = f"{_FORMAT}\0{file}\0{status.st_size}\0{status.st_mtime_ns}".encode(errors="surrogateescape")
    return cache_folder() / "videos" / f"{hashlib.sha256(key).hexdigest()[:32]}.npz"
