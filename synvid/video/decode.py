"""From the bytes of a video file to frames."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synvid.errors import DatasetError

__all__ = ["MAX_PIXELS", "check_size", "count_frames", "decode", "decode_some"]

#: A video whose frames claim more pixels is refused before any is decoded: a few bytes may claim gigabytes.
MAX_PIXELS = 50_000_000


def check_size(stream: Any) -> None:
    """Refuse frames that are too large to be true.

    Raises:
        ValueError: they have more than MAX_PIXELS pixels.
    """
    width, height = stream.codec_context.width or 0, stream.codec_context.height or 0
    if width * height > MAX_PIXELS:
        raise ValueError(f"its frames have {width} x {height} pixels, more than {MAX_PIXELS:,}")


def decode(file: Any, frames: Sequence[int] | None = None, name: str = "video", every: int = 1) -> NDArray[np.uint8]:
    """Decode a video, or some of its frames; seeks to the key frame before each stretch of them.

    Args:
        file: a path or an open binary file.
        frames: frame numbers in any order; None for all.
        name: what an error calls the file.
        every: without `frames`, one frame is kept of so many, the first one first.

    Returns:
        uint8 (T, H, W, 3), RGB.

    Raises:
        DatasetError: it is no video, or has no such frame.
    """
    import av

    wanted = None if frames is None else sorted(set(frames))
    if wanted == []:
        wanted = [0]  # for the size of a frame
    found: dict[int, NDArray[np.uint8]] = {}
    try:
        with av.open(file) as container:
            stream = _video_stream(container)
            rate, base, start = stream.average_rate, stream.time_base, stream.start_time or 0
            if wanted and rate and base:
                container.seek(start + int(wanted[0] / rate / base), stream=stream)
            for count, frame in enumerate(container.decode(stream)):
                seen = wanted is not None and rate and base and frame.pts is not None
                number = round(float((frame.pts - start) * base * rate)) if seen else count
                if number in wanted if wanted is not None else number % every == 0:
                    found[number] = frame.to_ndarray(format="rgb24")
                if wanted is not None and number >= wanted[-1]:
                    break
    except (av.FFmpegError, IndexError, ValueError) as error:
        raise DatasetError(f"{name}: cannot be decoded: {error}.") from None
    order = sorted(found) if frames is None else list(frames)
    if frames is not None and not len(frames) and found:
        return np.empty((0, *found[0].shape), np.uint8)
    missing = [number for number in order if number not in found]
    if missing or not order:
        raise DatasetError(f"{name}: has no frame {missing[0] if missing else 0}.")
    return np.stack([found[number] for number in order])


def count_frames(file: Any, name: str, formats: Collection[str]) -> int:
    """How many frames a video has: as its container says, or where it does not, as many as there are packets.

    Args:
        file: a path or an open binary file.
        name: what an error calls the file.
        formats: names of the containers that count as video.

    Raises:
        DatasetError: it is no video.
    """
    with _opened(file, name, formats) as (container, stream):
        if stream.frames:
            return int(stream.frames)
        return sum(packet.size > 0 for packet in container.demux(stream))


def decode_some(
    file: Any, name: str, formats: Collection[str], frames: Sequence[int], start: int = 0
) -> dict[int, NDArray[np.uint8]]:
    """Decode frames by counting, so that files without a steady rate can be read; those that are not there are left out.

    Args:
        file: a path or an open binary file.
        name: what an error calls the file.
        formats: names of the containers that count as video.
        frames: ascending numbers, counted from the key frame before frame `start`.
        start: near which to begin.

    Returns:
        {number: uint8 (H, W, 3)}, turned as the file says.

    Raises:
        DatasetError: it is no video, or broken before the first of the frames.
    """
    wanted, found = set(frames), dict[int, NDArray[np.uint8]]()
    with _opened(file, name, formats) as (container, stream):
        if start and stream.average_rate:
            container.seek(int((stream.start_time or 0) + start / stream.average_rate / stream.time_base), stream=stream)
        count = 0
        try:
            for count, frame in enumerate(container.decode(stream)):
                if count in wanted:
                    turned = np.rot90(frame.to_ndarray(format="rgb24"), round(getattr(frame, "rotation", 0) / 90))
                    found[count] = np.ascontiguousarray(turned)
                if count >= frames[-1]:
                    break
        except _errors():
            if not found:
                raise
    if not found:
        raise DatasetError(f"{name}: cannot be decoded: it has no frames.")
    return found


def _errors() -> tuple[type[Exception], ...]:
    import av

    return av.FFmpegError, IndexError, ValueError


def _video_stream(container: Any) -> Any:
    if not container.streams.video:
        raise ValueError("it holds no video, sound perhaps")
    stream = container.streams.video[0]
    check_size(stream)
    stream.codec_context.thread_count = 1
    return stream


@contextlib.contextmanager
def _opened(file: Any, name: str, formats: Collection[str]) -> Iterator[tuple[Any, Any]]:
    import av

    if hasattr(file, "seek"):
        file.seek(0)
    try:
        with av.open(file, options={"protocol_whitelist": "file"}) as container:
            if container.format.name not in formats:
                raise ValueError(f"is {container.format.long_name}")
            stream = _video_stream(container)
            yield container, stream
    except _errors() as error:
        raise DatasetError(f"{name}: cannot be decoded: {error}.") from None
