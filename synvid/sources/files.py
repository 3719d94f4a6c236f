"""Clips of video files and image files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from synvid.errors import DatasetError
from synvid.sources.base import _SHOWN, _SHOWN_FPS, ClipSource, FrameChooser, Frames, FrameSelection, sha256_of_file
from synvid.textures.image_folder import read_image
from synvid.video.decode import VideoFile

#: A longer video is measured over so many frames from its middle.
_LONGEST = 300


class VideosSource(ClipSource):
    """A folder of videos, or one of them."""

    kind = "videos"

    def __init__(self, name: str, folder: Path, files: list[str]) -> None:
        super().__init__(name, str(folder))
        self.folder, self.files, self.total = folder, files, len(files)

    def take(self, key: int, choice: FrameChooser) -> FrameSelection:
        return _decoded(self.folder / self.files[key], self.files[key], choice)

    def digest(self, key: int) -> str:
        return sha256_of_file(self.folder / self.files[key])

    def show(self, key: int) -> tuple[Frames, float, str]:
        return _first_frames(str(self.folder / self.files[key]), self.files[key]), _SHOWN_FPS, self.files[key]


class ImagesSource(ClipSource):
    """A folder of pictures, or one of them: clips of one frame."""

    kind = "images"
    what = "picture"

    def __init__(self, name: str, folder: Path, files: list[str]) -> None:
        super().__init__(name, str(folder))
        self.folder, self.files, self.total = folder, files, len(files)

    def take(self, key: int, choice: FrameChooser) -> FrameSelection:
        path, numbers = self.folder / self.files[key], choice(1)
        try:
            return FrameSelection(numbers, read_image(path)[None], 1)
        except (OSError, ValueError, SyntaxError, MemoryError, Image.DecompressionBombError) as error:
            raise DatasetError(f"{path}: is no picture that can be read: {error}.") from None

    def digest(self, key: int) -> str:
        return sha256_of_file(self.folder / self.files[key])

    def show(self, key: int) -> tuple[Frames, float, str]:
        return self.read(key, 1).frames, 0.0, self.files[key]


# ---- Video files ---------------------------------------------------------------------------------------------------
def _decoded(file: Any, name: str, choice: FrameChooser) -> FrameSelection:
    """Frames of a video file; of a long one, from its middle."""
    with VideoFile(file, name) as film:
        start, length = max(0, (film.num_frames - _LONGEST) // 2), min(film.num_frames, _LONGEST)
        numbers = choice(length)
        return FrameSelection(numbers, film.read([start + number for number in numbers]), length)


def _first_frames(file: Any, name: str) -> Frames:
    with VideoFile(file, name) as film:
        return film.read(range(min(_SHOWN, film.num_frames)))
