"""Read frames of video files by number: other people's files, and the clips of our own shards.

Frame t of a video is the t-th frame that a player shows, counted from 0, whatever the container and the codec, and whether or
not frames are evenly spaced in time; `VideoFile.times` has the time of each. An index (`synvid.video.frame_index`), made once
for a file, says which packet holds which frame.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from synvid.errors import DatasetError
from synvid.video.demux import PacketReader
from synvid.video.frame_index import FrameIndex, load_index, store_index
from synvid.video.index_builder import build_index

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["VideoFile", "decode"]


Frames = NDArray[np.uint8]


def decode(file: Any, frames: Sequence[int] | None = None, name: str | None = None) -> Frames:
    """Decode a video, or some of its frames.

    Args:
        file: a path, or a binary file that can seek.
        frames: frame numbers in any order; None for all frames.
        name: name of the file in error messages; None for its path.

    Returns:
        uint8 (T, H, W, 3), RGB.

    Raises:
        DatasetError: the file is not a video or has no such frame, or the frame is damaged.
    """
    with VideoFile(file, name) as video:
        return video.read(range(video.num_frames) if frames is None else frames)


class VideoFile:
    """An open video file; a context manager.

    Args:
        file: a path, or a binary file that can seek.
        name: name of the file in error messages; None for its path.

    Raises:
        DatasetError: the file is not a video, it has no frames, or they are too large.
    """

    def __init__(self, file: Any, name: str | None = None) -> None:
        self.name = str(file) if name is None else name
        if not hasattr(file, "read"):
            file = os.path.abspath(file)  # noqa: PTH100  # FFmpeg takes "a:b.mp4" for a protocol, an absolute path never
        self._file: Any = file
        self._reader = PacketReader(file)
        with self._wrap_errors():
            self._reader.open()
            index = load_index(file)
            self._index: FrameIndex = index or build_index(self._reader)
            store_index(file, self._index, is_new=index is None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. Reading frames opens it again."""
        self._reader.close()

    @property
    def num_frames(self) -> int:
        """Number of frames that are shown; a damaged end does not count."""
        return len(self.times)

    @property
    def times(self) -> NDArray[np.float64]:
        """float64 (T,), presentation time of each frame, seconds from the first one."""
        return self._index.times

    @property
    def duration(self) -> float:
        """Seconds from the start of the first frame to the end of the last, which is taken to last the average time."""
        last = float(self.times[-1])
        return last * self.num_frames / (self.num_frames - 1) if last > 0 else float(1 / self._reader.frame_rate)

    def read(self, numbers: Sequence[int]) -> Frames:
        """Read frames by number.

        Args:
            numbers: frame numbers, in any order.

        Returns:
            uint8 (len(numbers), H, W, 3), RGB, rotated and mirrored as the file says.

        Raises:
            DatasetError: there is no such frame, or it is damaged.
        """
        distinct = sorted(set(numbers)) or [0]  # for no frames, the size of a frame is still needed
        frames = dict(zip(distinct, self.stream(distinct), strict=True))
        return np.stack([frames[number] for number in numbers]) if len(numbers) else np.empty((0, *frames[0].shape), np.uint8)

    def stream(self, numbers: Sequence[int]) -> Iterator[Frames]:
        """Read frames by ascending number, one (H, W, 3) at a time, and hold only that one in memory.

        Raises:
            DatasetError: there is no such frame, it is damaged, or other frames of this object were read meanwhile.
        """
        missing = [number for number in numbers if not 0 <= number < self.num_frames]
        if missing:
            raise DatasetError(f"{self.name}: has no frame {missing[0]}; it has {self.num_frames}.")
        index, done, shape = self._index, 0, None
        with self._wrap_errors():
            for earlier in range(len(index.keys) + 2):
                try:
                    for frame in self._decode_frames(index, numbers[done:], earlier):
                        if shape not in {None, frame.shape}:
                            raise ValueError(f"its frames change their size at frame {numbers[done]}")
                        shape, done = frame.shape, done + 1
                        yield frame
                    return
                except _WrongOrderError:
                    if not index.decoded:
                        self._index = index = build_index(self._reader, decode=True)
                        store_index(self._file, index, is_new=True)
            raise ValueError(f"frame {numbers[done]} cannot be found")

    def _decode_frames(self, index: FrameIndex, numbers: Sequence[int], earlier: int) -> Iterator[Frames]:
        """Decode frames of ascending numbers, each from the last key packet before it or `earlier` key packets before that."""
        done = 0
        while done < len(numbers):
            for number, frame in self._decode_from(index, *index.decode_start(numbers[done], earlier)):
                if number == numbers[done]:
                    if frame is None:
                        raise ValueError(f"frame {number} is damaged")
                    yield _to_rgb(frame)
                    done += 1
                    if done == len(numbers) or index.decode_start(numbers[done], earlier)[1] > number:
                        break
            else:
                raise _WrongOrderError

    def _decode_from(self, index: FrameIndex, start: int, expected: int) -> Iterator[tuple[int, Any]]:
        """Numbers and frames as the decoder returns them from a packet on; None in place of a damaged or lost frame.

        Args:
            index: the index of the file.
            start: position of the packet.
            expected: number of the first frame.

        Raises:
            _WrongOrderError: a number is missing although nothing is damaged.
        """
        for position, frame, damaged, frames_lost in self._reader.decode(self._reader.packets(start, index)):
            number = int(index.numbers[position]) if 0 <= position < len(index.numbers) else -1
            if number > expected and not (damaged or frames_lost):
                raise _WrongOrderError
            yield from ((missing, None) for missing in range(expected, number))
            if number >= expected:
                yield number, None if damaged else frame
                expected = number + 1

    @contextlib.contextmanager
    def _wrap_errors(self) -> Iterator[None]:
        """Turn an error in the file into a DatasetError that names the file, and close the file."""
        import av

        try:
            yield
        except (OSError, ValueError, av.FFmpegError) as error:
            self.close()
            why = error.strerror if isinstance(error, (OSError, av.FFmpegError)) and error.strerror else error
            raise DatasetError(f"{self.name}: cannot be decoded: {why}.") from None


class _WrongOrderError(Exception):
    """The decoder returns frames in another order than the index says, or not all of them, though nothing is damaged."""


def _to_rgb(frame: Any) -> Frames:
    """The frame as RGB, rotated and mirrored by the display matrix of the file."""
    image: Frames = frame.to_ndarray(format="rgb24", threads=1)  # threads would hang processes that are forked later
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return image
    a, b, _, c, d, *_ = np.frombuffer(bytes(matrix), np.int32).tolist()  # x' = a x + c y, y' = b x + d y
    if abs(b) + abs(c) > abs(a) + abs(d):
        image, a, d = image.swapaxes(0, 1), c, b
    return np.ascontiguousarray(image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])
