"""Clips and datasets as HTML: video inside the page, small enough for a notebook."""

from __future__ import annotations

import base64
import html
import itertools
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from synvid.video.encode import encode

if TYPE_CHECKING:
    from synvid.clip import Clip
    from synvid.dataset.reader import Dataset

__all__ = ["clip_html", "dataset_html", "shrink", "video_tag"]

_MAX_BYTES = 4_000_000
_DATASET_CLIPS = 4


def shrink(frames: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Frames with even sides, the longer at most `side` pixels; uint8 (T, H, W, 3) to (T, h, w, 3)."""
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
    video = encode(shrink(frames, side), fps, "small")
    while len(video) > _MAX_BYTES and side > 64:
        side //= 2
        video = encode(shrink(frames, side), fps, "small")
    data = base64.b64encode(video).decode()
    return (
        f'<video {"controls " if controls else ""}loop autoplay muted playsinline src="data:video/mp4;base64,{data}"></video>'
    )


def clip_html(clip: Clip) -> str:
    """A clip with a caption."""
    return f"<figure>{video_tag(clip.frames, clip.fps)}<figcaption>{html.escape(repr(clip))}</figcaption></figure>"


def dataset_html(dataset: Dataset) -> str:
    """A dataset's first clips with a caption."""
    drawn = (i for i in range(len(dataset)) if dataset.recipe.preset.of_clip(i) is not None)
    shown = list(itertools.islice(drawn, _DATASET_CLIPS)) or range(min(_DATASET_CLIPS, len(dataset)))
    preset = dataset.recipe.preset
    clips = (dataset.decode(i) if preset.of_clip(i) is None else dataset.render(i) for i in shown)
    videos = " ".join(video_tag(clip.frames, clip.fps, side=128) for clip in clips)
    return f"<figure>{videos}<figcaption>{html.escape(repr(dataset))}</figcaption></figure>"
