"""A rendered clip, which shows itself in a notebook."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synvid.scene.scene import Scene

__all__ = ["Clip"]


@dataclass(frozen=True, eq=False)
class Clip:
    """Frames and where they came from.

    Attributes:
        frames: uint8 (T, H, W, 3), RGB.
        fps: frames per second.
        scene: what was rendered; None of a real clip.
    """

    frames: NDArray[np.uint8]
    fps: float
    scene: Scene | None

    def __len__(self) -> int:
        return len(self.frames)

    def __repr__(self) -> str:
        count, height, width, _ = self.frames.shape
        name = "real" if self.scene is None else f"seed={self.scene.seed}, index={self.scene.index}"
        return f"Clip({count} frames of {width}x{height} at {self.fps:g} fps, {name})"

    def save(self, path: str | Path, encoding: str = "fast") -> None:
        """Write the clip as an MP4 file.

        Args:
            path: of the file.
            encoding: `fast`, `small`, `yuv444` or `lossless`.

        Raises:
            ConfigurationError: the encoding cannot hold the frame's size.
        """
        from synvid.video.encode import encode

        Path(path).expanduser().write_bytes(encode(self.frames, self.fps, encoding))

    def _repr_html_(self) -> str:
        from synvid.video.display import figure_html, video_tag

        return figure_html([video_tag(self.frames, self.fps)], repr(self))
