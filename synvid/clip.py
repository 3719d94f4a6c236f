"""The clip: rendered or decoded frames, which play in a notebook."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import SupportsIndex, overload

import numpy as np
from numpy.typing import NDArray

from synvid.formatting import format_count
from synvid.scene.scene import Scene

__all__ = ["Clip"]


@dataclass(frozen=True, eq=False)
class Clip:
    """A sequence of frames, with their frame rate and the scene that they show.

    `len(clip)` is the number of frames, `clip[3]` one frame, uint8 (H, W, 3), and `clip[2:8]` a clip of these frames.

    Attributes:
        frames: uint8 (T, H, W, 3), RGB.
        fps: frames per second.
        scene: the scene that was rendered; None for a clip of a real video.

    Examples:
        >>> from synvid import make_clip
        >>> clip = make_clip("moving_circles", frames=range(10))
        >>> len(clip), clip[3].shape, len(clip[2:8])
        (10, (256, 256, 3), 6)
    """

    frames: NDArray[np.uint8]
    fps: float
    scene: Scene | None

    def __len__(self) -> int:
        return len(self.frames)

    @overload
    def __getitem__(self, index: SupportsIndex) -> NDArray[np.uint8]: ...
    @overload
    def __getitem__(self, index: slice) -> Clip: ...
    def __getitem__(self, index: SupportsIndex | slice) -> NDArray[np.uint8] | Clip:
        if isinstance(index, slice):
            return replace(self, frames=self.frames[index])
        frame: NDArray[np.uint8] = self.frames[index.__index__()]
        return frame

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        return iter(self.frames)

    def __repr__(self) -> str:
        count, height, width, _ = self.frames.shape
        name = "real" if self.scene is None else f"seed={self.scene.seed}, index={self.scene.index}"
        return f"Clip({format_count(count, 'frame')} of {width}x{height} at {self.fps:g} fps, {name})"

    def save(self, path: str | Path, encoding: str = "fast") -> None:
        """Write the clip to an MP4 file.

        Args:
            path: path of the file.
            encoding: `fast`, `small`, `yuv444` or `lossless`.

        Raises:
            ConfigurationError: unknown encoding, or one that does not support the frame size.
        """
        from synvid.video.encode import encode

        Path(path).expanduser().write_bytes(encode(self.frames, self.fps, encoding))

    def _repr_html_(self) -> str:
        from synvid.video.display import figure_html, video_tag

        return figure_html([video_tag(self.frames, self.fps)], repr(self))
