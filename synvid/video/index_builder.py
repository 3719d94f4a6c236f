"""Make the index of a video file from its packets, or by decoding it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synvid.file_formats import TIMESTAMPED_CONTAINERS
from synvid.video.demux import PacketReader
from synvid.video.frame_index import NO_TIMESTAMP, FrameIndex, packet_location

__all__ = ["build_index"]

#: Codecs whose packets may hold no frame, or two.
_IRREGULAR_CODECS = {"vp8", "mpeg4"}
#: The largest number of positions by which codecs move a frame between decoding and display.
_MAX_REORDERING = 32


@dataclass(frozen=True)
class PacketInfo:
    """What a packet tells without being decoded; times are in the stream's time base."""

    pts: int | None
    dts: int | None
    location: tuple[int, int]  # byte offset and size
    is_key: bool
    is_hidden: bool
    is_corrupt: bool

    @property
    def seek_timestamp(self) -> int:
        """The time stamp that a seek to the packet takes."""
        return min((time for time in (self.pts, self.dts) if time is not None), default=NO_TIMESTAMP)


def build_index(reader: PacketReader, decode: bool = False) -> FrameIndex:
    """Make the index of a file in one pass over it.

    Time stamps are used if the container stores them, all are present and different, and decoding can begin at the first
    packet. Otherwise the whole file is decoded.

    Args:
        reader: the file.
        decode: decode the file even if it has time stamps.

    Raises:
        ValueError: the file has no frames.
    """
    packets: list[PacketInfo] = []

    def record_packets() -> Iterator[tuple[int, Any]]:
        for position, packet in reader.packets():
            stamps, flags = (packet.pts, packet.dts), (packet.is_keyframe, packet.is_discard, packet.is_corrupt)
            packets.append(PacketInfo(*stamps, packet_location(packet), *flags))
            yield position, packet

    if decode:
        shown, keys = _decode_order(reader, record_packets())
    else:
        for _ in record_packets():
            pass
        trusted = reader.container_name in TIMESTAMPED_CONTAINERS and reader.codec_name not in _IRREGULAR_CODECS
        if not (trusted and _has_reliable_times(packets)):
            return build_index(reader, decode=True)
        shown = [position for position, packet in enumerate(packets) if not packet.is_hidden]
        shown.sort(key=lambda position: packets[position].pts or 0)
        keys = list(range(len(packets)))
    if not shown:
        raise ValueError("it has no frames")
    numbers = np.full(len(packets), -1, np.int32)
    numbers[shown] = np.arange(len(shown))
    return FrameIndex(
        numbers,
        np.array([packet.seek_timestamp for packet in packets], np.int64),
        np.array([packet.location for packet in packets], np.int64),
        np.array(sorted({key for key in keys if packets[key].is_key}), np.int32),
        _frame_times([packets[position].pts for position in shown], reader.time_base, reader.frame_rate),
        decode,
    )


def _decode_order(reader: PacketReader, packets: Iterator[tuple[int, Any]]) -> tuple[list[int], list[int]]:
    """Decode a file: positions of the packets whose frames are shown, in that order, and of those that are key frames."""
    shown, keys, num_intact = [], [], 0
    for position, frame, damaged, _ in reader.decode(packets):
        shown.append(position)
        num_intact = num_intact if damaged else len(shown)
        keys += [position] if frame.key_frame else []
    del shown[num_intact:]  # a damaged end
    if -1 in shown or len(set(shown)) < len(shown):
        raise ValueError("its frames cannot be assigned to packets")
    return shown, keys


def _has_reliable_times(packets: Sequence[PacketInfo]) -> bool:
    """Whether the time stamps say in which order the packets are shown."""
    times = [packet.pts for packet in packets if not packet.is_hidden and packet.pts is not None]
    return (
        bool(times)
        and len(set(times)) == len(times) == sum(not packet.is_hidden for packet in packets)
        and not any(packet.is_corrupt for packet in packets)
        and packets[0].is_key
        and (packets[0].is_hidden or packets[0].pts == min(times))
    )


def _frame_times(stamps: list[int | None], time_base: float, frame_rate: Fraction) -> NDArray[np.float64]:
    """Presentation time of each frame in seconds from the first one; at the average rate if a time stamp is missing.

    AVI stores decoding times, a few positions away from where the frame is shown: sorted, they are right. Where time stamps go
    back, as in concatenated files, they continue with the usual step.
    """
    present = [stamp for stamp in stamps if stamp is not None]
    if len(present) < len(stamps):
        return np.arange(len(stamps)) / float(frame_rate)
    moved = np.abs(np.argsort(present, kind="stable") - np.arange(len(present))).max()
    if len(set(present)) < len(present) or moved > _MAX_REORDERING:
        steps = np.diff(np.array(present, np.int64))
        usual = np.median(steps[steps > 0]) if (steps > 0).any() else 1
        present = [0, *np.cumsum(np.where(steps > 0, steps, usual)).tolist()]
    seconds = np.array(present, np.float64) - float(min(present))
    times: NDArray[np.float64] = np.sort(seconds) * np.float64(time_base)
    return times
