"""Frames as HTML: a <video> element with the data inside it, small enough for a notebook."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from synvid.video.encode import encode

__all__ = ["figure_html", "shrink_frames", "video_tag"]


_MAX_BYTES = 4_000_000


def shrink_frames(frames: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Frames as HTML: a <video> element with the data inside it, small enough for a notebook."""
    from PIL import Image

    _, height, width, _ = frames.shape
    factor = min(1.0, side / max(height, width))
    size = (max(2, int(width * factor) // 2 * 2), max(2, int(height * factor) // 2 * 2))
    if size == (width, height):
        return frames
    return np.stack([np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BOX)) for frame in frames])


def video_tag(frames: NDArray[np.uint8], fps: float, side: int = 256, controls: bool = True) -> str:
    """A <video> element that holds the frames itself and plays them in a loop.

    Args:
        frames: uint8 (T, H, W, 3).
        fps: frames per second.
        side: longest side of what is shown, pixels; halved until the video is below 4 MB.
        controls: whether it can be stopped.
    """
    video = encode(shrink_frames(frames, side), fps, "small")
    while len(video) > _MAX_BYTES and side > 64:
        side //= 2
        video = encode(shrink_frames(frames, side), fps, "small")
    data = base64.b64encode(video).decode()
    return (
        f'<video {"controls " if controls else ""}loop autoplay muted playsinline src="data:video/mp4;base64,{data}"></video>'
    )


def figure_html(videos: Sequence[str], caption: str) -> str:
    """Frames as HTML: a <video> element with the data inside it, small enough for a notebook."""
    return f"<figure>{' '.join(videos)}<figcaption>{html.escape(caption)}</figcaption></figure>"
