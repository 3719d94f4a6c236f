"""Show frames in HTML: <video> elements that contain their data, small enough for a notebook."""

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
    """Downscale frames so that the longer side is at most `side` pixels, and both sides are even.

    Args:
        frames: uint8 (T, H, W, 3), RGB.
        side: pixels.
    """
    from PIL import Image

    _, height, width, _ = frames.shape
    factor = min(1.0, side / max(height, width))
    size = (max(2, int(width * factor) // 2 * 2), max(2, int(height * factor) // 2 * 2))
    if size == (width, height):
        return frames
    return np.stack([np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BOX)) for frame in frames])


def video_tag(frames: NDArray[np.uint8], fps: float, side: int = 256, controls: bool = True) -> str:
    """A <video> element that contains the encoded frames and plays them in a loop.

    Args:
        frames: uint8 (T, H, W, 3), RGB.
        fps: frames per second.
        side: maximum of width and height, pixels; halved until the data are smaller than 4 MB.
        controls: show the controls of the player.
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
    """A <figure> element with videos and an escaped caption.

    Args:
        videos: <video> elements, from `video_tag`.
        caption: plain text.
    """
    return f"<figure>{' '.join(videos)}<figcaption>{html.escape(caption)}</figcaption></figure>"
