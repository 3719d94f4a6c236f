"""From the bytes of a video file to frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synvid.errors import DatasetError

__all__ = ["decode"]


def decode(file: Any, frames: Sequence[int] | None = None, name: str = "video") -> NDArray[np.uint8]:
    """Decode a video, or some of its frames; seeks to the key frame before each stretch of them.

    Args:
        file: a path or an open binary file.
        frames: frame numbers in any order; None for all.
        name: what an error calls the file.

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
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            rate, base, start = stream.average_rate, stream.time_base, stream.start_time or 0
            if wanted and rate and base:
                container.seek(start + int(wanted[0] / rate / base), stream=stream)
            for count, frame in enumerate(container.decode(stream)):
                seen = wanted is not None and rate and base and frame.pts is not None
                number = round(float((frame.pts - start) * base * rate)) if seen else count
                if wanted is None or number in wanted:
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
