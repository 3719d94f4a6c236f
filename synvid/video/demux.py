"""Open a video file, and read and decode its packets in file order.

A packet is known by its position: 0 for the first packet with data, counted in file order. The position travels through the
decoder as the packet's time stamp, so each decoded frame names the packet that it came from.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from synvid.file_formats import MAX_PIXELS, VIDEO_CONTAINERS
from synvid.video.frame_index import NO_TIMESTAMP, packet_location

if TYPE_CHECKING:
    from synvid.video.frame_index import FrameIndex

__all__ = ["DecodedFrame", "PacketReader"]


#: A packet and its position in the file; None stands for the end of the file.
PositionedPacket = tuple[int, Any]
#: Packets read after a seek until their positions are known.
_MAX_UNKNOWN = 100


class DecodedFrame(NamedTuple):
    """A frame as the decoder returns it."""

    position: int  # of the packet that it came from; -1 if the decoder does not say
    frame: Any  # av.VideoFrame
    damaged: bool  # it is damaged, or lies between a damaged frame and the next key frame
    frames_lost: bool  # damage may have lost frames before it


class PacketReader:
    """Reads and decodes the packets of one video stream: the first one that is not cover art.

    Args:
        file: an absolute path, or a binary file that can seek.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self._container: Any = None
        self._stream: Any = None
        self._at_start = False
        self._current_pass = 0  # counts calls of `packets`

    def open(self) -> None:
        """Open the file, or reopen it at its beginning.

        Raises:
            ValueError: the file is not a video, or its frames are too large.
            OSError, av.FFmpegError: it cannot be opened.
        """
        import av

        self.close()
        is_path = isinstance(self._file, str)
        if not is_path:
            self._file.seek(0)
        self._container = av.open(self._file, options={"protocol_whitelist": "file"} if is_path else {})
        if self._container.format.name not in VIDEO_CONTAINERS:
            raise ValueError(f"its format is {self._container.format.long_name}")
        streams = [one for one in self._container.streams.video if not one.disposition & one.disposition.attached_pic]
        if not streams:
            raise ValueError("it has no video stream")
        if streams[0].codec_context is None:
            raise ValueError("its codec is unknown")
        self._stream = streams[0]
        _check_size(self._stream.codec_context.width or 0, self._stream.codec_context.height or 0)
        self._stream.codec_context.thread_count = 1
        self._at_start = True

    def close(self) -> None:
        """Close the file; `packets` opens it again."""
        if self._container is not None:
            self._container.close()
        self._container, self._at_start = None, False

    @property
    def container_name(self) -> str:
        """FFmpeg's name of the demuxer."""
        name: str = self._container.format.name
        return name

    @property
    def codec_name(self) -> str:
        """FFmpeg's name of the decoder."""
        name: str = self._stream.codec_context.name
        return name

    @property
    def time_base(self) -> float:
        """Seconds per unit of a time stamp."""
        return float(self._stream.time_base)

    @property
    def frame_rate(self) -> Fraction:
        """Average frames per second; 25 if the file does not say."""
        return Fraction(self._stream.average_rate or 25)

    def packets(self, first: int = 0, index: FrameIndex | None = None) -> Iterator[PositionedPacket]:
        """Packets with data, in file order, to the end of the file or to where it is broken.

        Args:
            first: the position to begin at.
            index: used to seek to `first`; without it, all packets before are read.
        """
        self._current_pass += 1
        packets = None if index is None or self._container is None or self._at_start else self._seek(index, first)
        if packets is None:
            if not self._at_start:
                self.open()
            packets = ((position, packet) for position, packet in enumerate(self._demux()) if position >= first)
        self._at_start = False
        return packets

    def decode(self, packets: Iterator[PositionedPacket]) -> Iterator[DecodedFrame]:
        """Decode packets, in the order in which the decoder returns frames, which is that in which they are shown."""
        import av

        damaged, corrupt = False, set()
        for position, packet in itertools.chain(packets, [(0, None)]):  # None flushes the decoder
            if packet is not None:
                packet.pts = packet.dts = position
                if packet.is_corrupt:
                    corrupt.add(position)
            try:
                frames = self._stream.decode(packet)
            except av.FFmpegError:
                frames, damaged = [], True
            for frame in frames:
                _check_size(frame.width, frame.height)
                lost, damaged = damaged, frame.is_corrupt or frame.pts in corrupt or (damaged and not frame.key_frame)
                yield DecodedFrame(-1 if frame.pts is None else frame.pts, frame, damaged, lost)

    def _demux(self) -> Iterator[Any]:
        import av

        started_in = self._current_pass
        with contextlib.suppress(av.FFmpegError):
            for packet in self._container.demux(self._stream):
                if packet.size:
                    yield packet
                if self._current_pass != started_in:  # another reader has moved the file: positions would be counted wrongly
                    raise ValueError("other frames were read before this iteration ended")

    def _seek(self, index: FrameIndex, first: int) -> Iterator[PositionedPacket] | None:
        """Packets from a position on, without reading all packets before it; None if seeking does not lead there."""
        import av

        if index.timestamps[first] == NO_TIMESTAMP:
            return None
        try:
            self._container.seek(int(index.timestamps[first]), stream=self._stream)
        except av.FFmpegError:
            return None
        packets = self._demux()
        run, last_positions = _recognise(itertools.islice(packets, _MAX_UNKNOWN), index)
        if len(last_positions) != 1 or (len(run) == 1 and last_positions[0] < len(index.numbers) - 1):
            return None
        start = int(last_positions[0]) - len(run) + 1
        if start > first:
            return None
        return itertools.dropwhile(lambda pair: pair[0] < first, enumerate(itertools.chain(run, packets), start))


def _recognise(packets: Iterator[Any], index: FrameIndex) -> tuple[list[Any], NDArray[np.int64]]:
    """Find out which packets of a file these are, by comparing consecutive ones with the index.

    The first packet after a seek may be the end of one, and in MPEG program streams it takes the byte offset of the next; so a
    single packet that matches proves nothing.

    Returns:
        The packets from the first one that is recognised on, and the possible positions of the last of them.
    """
    run: list[Any] = []
    positions = np.empty(0, np.int64)
    for packet in packets:
        matches = index.find_packets(*packet_location(packet))
        following = np.intersect1d(positions + 1, matches)
        run, positions = ([*run, packet], following) if len(following) else ([packet], matches)
        if len(run) > 1 and len(positions) == 1:
            break
    return run, positions


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ValueError(f"its frames have {width} x {height} pixels; the maximum is {MAX_PIXELS:,}")
