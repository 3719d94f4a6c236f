"""The one place that opens video: other people's files, and the clips of our own shards.

Frame t of a video is the t-th frame that a player shows, counted from 0, whatever the container and the codec, and whether
the frames follow one another at a steady rate or not; `VideoFile.times` says when each is shown.

Time stamps do not lead to it safely: AVI has none, MPEG streams may begin in the middle. So a file is indexed once, each
packet to the frame that it becomes: from the time stamps where the container keeps one for every frame, else by decoding
everything. When frames are read, packets carry their place in the file through the decoder, so that a frame is known by its
packet and by nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from synvid.errors import DatasetError
from synvid.paths import cache_folder

if TYPE_CHECKING:
    from typing_extensions import Self
from synvid.video.frame_index import NO_STAMP, FrameIndex, Packet, frame_times, has_reliable_times, packet_place

__all__ = ["MAX_PIXELS", "VIDEO_SUFFIXES", "VideoFile", "decode"]


Frames = NDArray[np.uint8]

#: A video whose frames claim more pixels is refused before any is decoded: a few bytes may claim gigabytes.
MAX_PIXELS = 50_000_000
#: Endings of video files.
VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".3gp", ".ogv")
#: Containers that count as video; a text that lists other files is none.
_FORMATS = {"mov,mp4,m4a,3gp,3g2,mj2", "avi", "matroska,webm", "mpeg", "mpegvideo", "mpegts", "asf", "flv", "ogg"}
#: Those that keep the time at which each frame is shown.
_TIMED = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"}
#: Codecs of which a packet may hold no frame, or two.
_UNEVEN = {"vp8", "mpeg4"}
#: An index of so many packets is kept on disk even if nothing had to be decoded for it.
_MANY = 2000

#: Indices by the file that keeps each: the latest ones of this process.
_known: dict[Path, FrameIndex] = {}
_MOST_KNOWN = 256
#: Part of the names of indices on disk.
_VERSION = 1


def decode(file: Any, frames: Sequence[int] | None = None, name: str | None = None) -> Frames:
    """Decode a video, or some of its frames.

    Args:
        file: a path, or a binary file that can seek.
        frames: numbers in any order; None for all.
        name: what an error calls the file; None for its path.

    Returns:
        uint8 (T, H, W, 3), RGB.

    Raises:
        DatasetError: it is no video, has no such frame, or the frame is damaged.
    """
    with VideoFile(file, name) as video:
        return video.read(range(video.num_frames) if frames is None else frames)


class VideoFile:
    """A video file, to be used in a `with` statement.

    Args:
        file: a path, or a binary file that can seek.
        name: what an error calls it; None for its path.

    Raises:
        DatasetError: it is no video, has no frames, or too large ones.
    """

    def __init__(self, file: Any, name: str | None = None) -> None:
        self.name = str(file) if name is None else name
        self._file: Any = file if hasattr(file, "read") else os.path.abspath(file)  # noqa: PTH100  # "a:b.mp4": no protocol a
        self._container: Any = None
        self._stream: Any = None
        self._unread = False  # the container stands at its beginning
        self._pass = 0  # which reading of packets is the latest
        self._index: FrameIndex | None = None
        with self._sentences():
            self._open()
            self._index = self._find_index()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close what was opened here."""
        if self._container is not None:
            self._container.close()
        self._container, self._unread = None, False

    @property
    def num_frames(self) -> int:
        """How many frames are shown; a damaged end does not count."""
        return len(self.times)

    @property
    def times(self) -> NDArray[np.float64]:
        """float64 (T,), seconds from the first frame to each."""
        assert self._index is not None
        return self._index.times

    @property
    def duration(self) -> float:
        """Seconds from the first frame to the end of the last, which is taken to last as long as the others on average."""
        last = float(self.times[-1])
        return last * self.num_frames / (self.num_frames - 1) if last > 0 else float(1 / (self._stream.average_rate or 25))

    def read(self, numbers: Sequence[int]) -> Frames:
        """Some frames.

        Args:
            numbers: of the frames, in any order.

        Returns:
            uint8 (len(numbers), H, W, 3), RGB, turned and mirrored as the file says.

        Raises:
            DatasetError: there is no such frame, or it is damaged.
        """
        distinct = sorted(set(numbers)) or [0]  # none: the size of a frame is still wanted
        found = dict(zip(distinct, self.stream(distinct), strict=True))
        return np.stack([found[number] for number in numbers]) if len(numbers) else np.empty((0, *found[0].shape), np.uint8)

    def stream(self, numbers: Sequence[int]) -> Iterator[Frames]:
        """The same for ascending numbers, one frame (H, W, 3) at a time: no more are held in memory."""
        beyond = [number for number in numbers if not 0 <= number < self.num_frames]
        if beyond:
            raise DatasetError(f"{self.name}: has no frame {beyond[0]}; it has {self.num_frames}.")
        index, done, size = self._index, 0, None
        assert index is not None
        with self._sentences():
            for earlier in range(len(index.keys) + 2):
                try:
                    for frame in self._wanted(index, numbers[done:], earlier):
                        if size not in {None, frame.shape}:
                            raise ValueError(f"its frames change their size at frame {numbers[done]}")
                        size, done = frame.shape, done + 1
                        yield frame
                    return
                except _WrongOrderError:
                    if not index.decoded:
                        self._index = index = self._keep(self._make_index(decode=True))
            raise ValueError(f"frame {numbers[done]} cannot be found")

    def _wanted(self, index: FrameIndex, numbers: Sequence[int], earlier: int) -> Iterator[Frames]:
        """Frames of ascending numbers, decoded from the last key before each, or from one so many keys earlier."""
        done = 0
        while done < len(numbers):
            for number, frame in self._shown(index, *index.key(numbers[done], earlier)):
                if number == numbers[done]:
                    if frame is None:
                        raise ValueError(f"frame {number} is damaged")
                    yield _upright(frame)
                    done += 1
                    if done == len(numbers) or index.key(numbers[done], earlier)[1] > number:
                        break
            else:
                raise _WrongOrderError

    def _shown(self, index: FrameIndex, key: int, expected: int) -> Iterator[tuple[int, Any]]:
        """Numbers and frames as the decoder gives them from a packet on; None for a frame that is damaged or lost.

        Args:
            index: of the file.
            key: the packet.
            expected: the first number.

        Raises:
            _WrongOrderError: they do not follow one another, though nothing is damaged.
        """
        for place, frame, damaged, lost in self._decoded(self._packets(key)):
            number = int(index.numbers[place]) if 0 <= place < len(index.numbers) else -1
            if number > expected and not (damaged or lost):
                raise _WrongOrderError
            yield from ((missing, None) for missing in range(expected, number))
            if number >= expected:
                yield number, None if damaged else frame
                expected = number + 1

    def _decoded(self, packets: Iterator[tuple[int, Any]]) -> Iterator[tuple[int, Any, bool, bool]]:
        """Frames as the decoder gives them.

        Yields:
            The packet that a frame came from, the frame, whether it is damaged or comes between a damaged one and the next
            key, and whether damage may have lost others before it.
        """
        import av

        damaged, torn = False, set()
        for place, packet in itertools.chain(packets, [(0, None)]):  # None: the frames that the decoder still holds
            if packet is not None:
                packet.pts = packet.dts = place
                if packet.is_corrupt:
                    torn.add(place)
            try:
                frames = self._stream.decode(packet)
            except av.FFmpegError:
                frames, damaged = [], True
            for frame in frames:
                _check_size(frame.width, frame.height)
                lost, damaged = damaged, frame.is_corrupt or frame.pts in torn or (damaged and not frame.key_frame)
                yield -1 if frame.pts is None else frame.pts, frame, damaged, lost

    # ---- Packets --------------------------------------------------------------------------------------------------
    def _open(self) -> None:
        """Open the file, or go back to its beginning."""
        import av

        self.close()
        local = isinstance(self._file, str)
        if not local:
            self._file.seek(0)
        self._container = av.open(self._file, options={"protocol_whitelist": "file"} if local else {})
        if self._container.format.name not in _FORMATS:
            raise ValueError(f"it is {self._container.format.long_name}")
        films = [one for one in self._container.streams.video if not one.disposition & one.disposition.attached_pic]
        if not films:
            raise ValueError("it holds no video, sound perhaps")
        if films[0].codec_context is None:
            raise ValueError("its codec is not known")
        self._stream = films[0]
        _check_size(self._stream.codec_context.width or 0, self._stream.codec_context.height or 0)
        self._stream.codec_context.thread_count = 1
        self._unread = True

    def _packets(self, first: int = 0) -> Iterator[tuple[int, Any]]:
        """Packets with data in them and their places, from one of them on, to the end or to where the file is broken."""
        self._pass += 1
        index = None if self._container is None or self._unread else self._index
        found = None if index is None else self._seek(index, first)
        if found is None:
            if not self._unread:
                self._open()
            found = ((place, packet) for place, packet in enumerate(self._demuxed()) if place >= first)
        self._unread = False
        return found

    def _demuxed(self) -> Iterator[Any]:
        import av

        latest = self._pass
        with contextlib.suppress(av.FFmpegError):
            for packet in self._container.demux(self._stream):
                if packet.size:
                    yield packet
                if self._pass != latest:  # the file stands elsewhere now, and places would be counted wrongly
                    raise ValueError("other frames were read before these had ended")

    def _seek(self, index: FrameIndex, first: int) -> Iterator[tuple[int, Any]] | None:
        """Packets from one of them on, without reading all before it; None if that cannot be."""
        import av

        if index.stamps[first] == NO_STAMP:
            return None
        try:
            self._container.seek(int(index.stamps[first]), stream=self._stream)
        except av.FFmpegError:
            return None
        packets = self._demuxed()
        for packet in itertools.islice(packets, 100):
            (same,) = np.nonzero((index.places == packet_place(packet)).all(axis=1))
            if len(same) == 1:  # else it is a piece of one, or several look alike
                numbered = enumerate(itertools.chain([packet], packets), int(same[0]))
                return itertools.dropwhile(lambda pair: pair[0] < first, numbered) if same[0] <= first else None
        return None

    # ---- Index ----------------------------------------------------------------------------------------------------
    def _find_index(self) -> FrameIndex:
        """The index of a file: known to this process, in the user's cache, or made now."""
        path = self._cached()
        index = None if path is None else _known.get(path) or FrameIndex.load(path)
        return self._keep(index or self._make_index(), is_new=index is None)

    def _keep(self, index: FrameIndex, is_new: bool = True) -> FrameIndex:
        """Keep an index for the next time; on disk, if it took long to make."""
        path = self._cached()
        if path is not None:
            if is_new and (index.decoded or len(index.numbers) >= _MANY):
                index.save(path)
            _known.pop(path, None)
            _known[path] = index  # as the latest
            if len(_known) > _MOST_KNOWN:
                del _known[next(iter(_known))]
        return index

    def _cached(self) -> Path | None:
        """Where the index of the file is kept, by its path, size and date; None for a file that has no path."""
        if not isinstance(self._file, str):
            return None
        status = os.stat(self._file)  # noqa: PTH116
        key = f"{_VERSION}\0{self._file}\0{status.st_size}\0{status.st_mtime_ns}".encode(errors="surrogateescape")
        return cache_folder() / "videos" / f"{hashlib.sha256(key).hexdigest()[:32]}.npz"

    def _make_index(self, decode: bool = False) -> FrameIndex:
        """Go through a file once, reading all packets, or decoding them, too.

        Time stamps are believed where the container keeps them, they are all there and differ, and decoding can begin at the
        first packet; where they are not, everything is decoded.

        Raises:
            ValueError: it has no frames.
        """
        packets: list[Packet] = []

        def noted() -> Iterator[tuple[int, Any]]:
            for place, packet in self._packets():
                stamps = packet.pts, packet.dts
                packets.append(Packet(*stamps, packet_place(packet), packet.is_keyframe, packet.is_discard, packet.is_corrupt))
                yield place, packet

        if decode:
            shown, keys, sound = [], [], 0
            for place, frame, damaged, _ in self._decoded(noted()):
                shown.append(place)
                sound = sound if damaged else len(shown)
                keys += [place] if frame.key_frame else []
            del shown[sound:]  # a damaged end
            if -1 in shown or len(set(shown)) < len(shown):
                raise ValueError("it is not clear which packet makes which frame")
        else:
            for _ in noted():
                pass
            shown, keys = [place for place, packet in enumerate(packets) if not packet.hidden], list(range(len(packets)))
            if not (
                self._container.format.name in _TIMED
                and self._stream.codec_context.name not in _UNEVEN
                and has_reliable_times(packets)
            ):
                return self._make_index(decode=True)
            shown.sort(key=lambda place: packets[place].shown_at or 0)
        if not shown:
            raise ValueError("it has no frames")
        numbers = np.full(len(packets), -1, np.int32)
        numbers[shown] = np.arange(len(shown))
        return FrameIndex(
            numbers,
            np.array([packet.stamp for packet in packets], np.int64),
            np.array([packet.place for packet in packets], np.int64),
            np.array(sorted({key for key in keys if packets[key].is_key}), np.int32),
            frame_times([packets[place].shown_at for place in shown], self._stream),
            decode,
        )

    @contextlib.contextmanager
    def _sentences(self) -> Iterator[None]:
        """Turn what goes wrong with the file into a sentence that names it."""
        import av

        try:
            yield
        except (OSError, ValueError, av.FFmpegError) as error:
            self.close()
            why = error.strerror if isinstance(error, (OSError, av.FFmpegError)) and error.strerror else error
            raise DatasetError(f"{self.name}: cannot be decoded: {why}.") from None


class _WrongOrderError(Exception):
    """Frames come in another order than the index says, or some do not come, though nothing is damaged."""


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ValueError(f"its frames have {width} x {height} pixels, more than {MAX_PIXELS:,}")


def _upright(frame: Any) -> Frames:
    """The picture as RGB, turned and mirrored as the file says."""
    picture: Frames = frame.to_ndarray(format="rgb24", threads=1)  # threads would hang processes that are forked later
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return picture
    a, b, _, c, d, *_ = np.frombuffer(bytes(matrix), np.int32).tolist()  # x' = a x + c y, y' = b x + d y
    if abs(b) + abs(c) > abs(a) + abs(d):
        picture, a, d = picture.swapaxes(0, 1), c, b
    return np.ascontiguousarray(picture[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])
