"""The clip: rendered or decoded frames, which play in a notebook."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import SupportsIndex, overload

import numpy as np
from numpy.typing import NDArray

from synvid.config.arguments import parse_path
from synvid.errors import ConfigurationError, DatasetError
from synvid.formatting import format_count
from synvid.scene.scene import Scene
from synvid.storage.atomic_io import atomic_write

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
        frame: NDArray[np.uint8] = self.frames[operator.index(index)]
        return frame

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        return iter(self.frames)

    def __repr__(self) -> str:
        count, height, width, _ = self.frames.shape
        name = "real" if self.scene is None else f"seed={self.scene.seed}, index={self.scene.index}"
        return f"Clip({format_count(count, 'frame')} of {width}x{height} at {self.fps:g} fps, {name})"

    def save(self, path: str | Path, encoding: str = "fast") -> None:
        """Write the clip to an MP4 file, atomically: a file of that name is replaced once all is written.

        Args:
            path: path of the file, which ends in .mp4; its folder must exist.
            encoding: `fast`, `small`, `yuv444` or `lossless`.

        Raises:
            ConfigurationError: another file suffix, an unknown encoding, or one that does not support the frame size.
            DatasetError: the folder does not exist, or the file cannot be written.

        Examples:
            >>> import tempfile
            >>> from synvid import make_clip
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     make_clip("moving_circles", frames=range(4)).save(f"{folder}/clip.mp4", encoding="lossless")
        """
        from synvid.video.encode import encode

        file = parse_path("path", path, "the path of a file ending in .mp4")
        if file.suffix.lower() != ".mp4":
            raise ConfigurationError(f"path is {str(file)!r}; the file name must end in .mp4.")
        if not file.parent.is_dir():
            raise DatasetError(f"{file}: there is no folder {file.parent}.")
        data = encode(self.frames, self.fps, encoding)
        try:
            atomic_write(file, data)
        except OSError as error:
            raise DatasetError(f"{file}: cannot be written: {error.strerror or error}.") from None

    def _repr_html_(self) -> str:
        from synvid.video.display import figure_html, video_tag

        return figure_html([video_tag(self.frames, self.fps)], repr(self))
