"""The index of a video file: which packet holds which frame, and when it is shown."""

from __future__ import annotations

import contextlib
import io
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from synvid.storage.atomic_io import atomic_write

if TYPE_CHECKING:
    pass

NO_STAMP = -(2**63)
#: Places that codecs may move a frame by.
MAX_REORDERED = 32


# ---- Index -----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class FrameIndex:
    """Where the frames of a file are.

    Attributes:
        numbers: int32 (P,), the frame that each packet becomes, in the order of the file; -1 for none.
        stamps: int64 (P,), where a seek finds each, in the stream's time base.
        places: int64 (P, 2), position and size of each in bytes, which tell it from others.
        keys: int32 (K,), packets from which decoding may begin, ascending.
        times: float64 (T,), seconds from the first frame to each.
        decoded: everything was decoded to learn this.
    """

    numbers: NDArray[np.int32]
    stamps: NDArray[np.int64]
    places: NDArray[np.int64]
    keys: NDArray[np.int32]
    times: NDArray[np.float64]
    decoded: bool

    @classmethod
    def load(cls, path: Path) -> FrameIndex | None:
        """One that was saved; None if there is none, or it cannot be read."""
        try:
            with path.open("rb") as file, np.load(file) as arrays:
                return cls(**{field.name: arrays[field.name] for field in fields(cls)})
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
            return None

    def save(self, path: Path) -> None:
        """Keep it, if there is room."""
        file = io.BytesIO()
        arrays: dict[str, Any] = {field.name: np.asarray(getattr(self, field.name)) for field in fields(self)}
        np.savez_compressed(file, **arrays)
        with contextlib.suppress(OSError):
            atomic_write(path, file.getvalue())

    @cached_property
    def firsts(self) -> NDArray[np.int32]:
        """int32 (K,), the first frame that decoding from each key gives: its own, or where it is not shown the next."""
        firsts = self.numbers[self.keys]
        for k in np.flatnonzero(firsts < 0):
            later = self.numbers[self.keys[k] :]
            firsts[k] = later[later >= 0].min(initial=len(self.times))
        return firsts

    def key(self, number: int, earlier: int = 0) -> tuple[int, int]:
        """Where to begin for a frame: the last key before it, or one so many keys earlier, or the first packet.

        Returns:
            The packet, and the first frame that decoding from it gives.
        """
        (usable,) = np.nonzero(self.firsts <= number)
        if earlier >= len(usable):
            return 0, 0
        return int(self.keys[usable[-1 - earlier]]), int(self.firsts[usable[-1 - earlier]])


@dataclass(frozen=True)
class Packet:
    """What is known of a packet without decoding it; times are in the stream's time base, None where there are none."""

    shown_at: int | None
    decoded_at: int | None
    place: tuple[int, int]
    is_key: bool
    hidden: bool
    damaged: bool

    @property
    def stamp(self) -> int:
        """Where a seek finds it."""
        return min((time for time in (self.shown_at, self.decoded_at) if time is not None), default=NO_STAMP)


def packet_place(packet: Any) -> tuple[int, int]:
    return -1 if packet.pos is None else packet.pos, packet.size


def has_reliable_times(packets: Sequence[Packet]) -> bool:
    """Whether time stamps say which packet is shown when."""
    times = [packet.shown_at for packet in packets if not packet.hidden and packet.shown_at is not None]
    return (
        bool(times)
        and len(set(times)) == len(times) == sum(not packet.hidden for packet in packets)
        and not any(packet.damaged for packet in packets)
        and packets[0].is_key
        and (packets[0].hidden or packets[0].shown_at == min(times))
    )


def frame_times(stamps: list[int | None], stream: Any) -> NDArray[np.float64]:
    """Seconds from the first frame to each; at the average rate where some have no time.

    Stamps of AVI are those of decoding, a few places away from where the frame is shown: sorted, they are right. Where a clock
    goes back, as in files that were joined, it runs on by the usual step.
    """
    known = [stamp for stamp in stamps if stamp is not None]
    if len(known) < len(stamps):
        return np.arange(len(stamps)) / float(stream.average_rate or 25)
    moved = np.abs(np.argsort(known, kind="stable") - np.arange(len(known))).max()
    if len(set(known)) < len(known) or moved > MAX_REORDERED:
        steps = np.diff(np.array(known, np.int64))
        usual = np.median(steps[steps > 0]) if (steps > 0).any() else 1
        known = [0, *np.cumsum(np.where(steps > 0, steps, usual)).tolist()]
    seconds = np.array(known, np.float64) - float(min(known))
    times: NDArray[np.float64] = np.sort(seconds) * np.float64(stream.time_base)
    return times
