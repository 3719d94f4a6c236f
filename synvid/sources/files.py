"""Clips of video files and image files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from synvid.errors import DatasetError
from synvid.os_errors import wrap_os_errors
from synvid.sources.base import PREVIEW_FRAMES, ClipSource, FrameChooser, Frames, FrameSelection
from synvid.storage.atomic_io import file_sha256
from synvid.textures.image_folder import READ_ERRORS, read_image
from synvid.video.decode import VideoFile

__all__ = ["FilesSource", "ImagesSource", "VideosSource", "decode_first_frames", "decode_selection"]


#: Of a longer video, only this many frames from its middle are used.
_MAX_FRAMES = 300
_PREVIEW_FPS = 25.0


class FilesSource(ClipSource):
    """Files of one kind; key k is the k-th file.

    Args:
        name: name of the source in reports.
        folder: the folder of the files.
        files: paths relative to the folder.
        path: what the user gave; None for the folder.
    """

    def __init__(self, name: str, folder: Path, files: list[str], path: Path | None = None) -> None:
        super().__init__(name, str(path or folder))
        self.folder, self.files, self.num_clips = folder, files, len(files)

    def digest(self, key: int) -> str:
        """SHA-256 of the file."""
        path = self.folder / self.files[key]
        with wrap_os_errors(path):
            return file_sha256(path)


class VideosSource(FilesSource):
    """A folder of videos, or a single video."""

    kind = "videos"

    def read_frames(self, key: int, choose: FrameChooser) -> FrameSelection:
        """Decode the chosen frames; of a long video, from its middle."""
        return decode_selection(self.folder / self.files[key], self.files[key], choose)

    def preview(self, key: int) -> tuple[Frames, float, str]:
        """The first frames, 25 frames per second, and the name of the file."""
        return decode_first_frames(self.folder / self.files[key], self.files[key]), _PREVIEW_FPS, self.files[key]


class ImagesSource(FilesSource):
    """A folder of images, or a single image: clips of one frame."""

    kind = "images"
    unit = "image"

    def read_frames(self, key: int, choose: FrameChooser) -> FrameSelection:
        """Read the image."""
        path, numbers = self.folder / self.files[key], choose(1)
        try:
            return FrameSelection(numbers, read_image(path)[None], 1)
        except READ_ERRORS as error:
            raise DatasetError(f"{path}: cannot be read as an image: {error}.") from None

    def preview(self, key: int) -> tuple[Frames, float, str]:
        """The image, 0 frames per second, and the name of the file."""
        return self.read_pairs(key, 1).frames, 0.0, self.files[key]


def decode_selection(file: Any, name: str, choose: FrameChooser) -> FrameSelection:
    """Decode chosen frames of a video; of a long one, from its middle.

    Args:
        file: a path, or a binary file.
        name: name of the file in error messages.
        choose: gets the number of frames, 300 at most.
    """
    with VideoFile(file, name) as video:
        start, length = max(0, (video.num_frames - _MAX_FRAMES) // 2), min(video.num_frames, _MAX_FRAMES)
        numbers = choose(length)
        return FrameSelection(numbers, video.read([start + number for number in numbers]), length)


def decode_first_frames(file: Any, name: str) -> Frames:
    """Decode the frames of a preview."""
    with VideoFile(file, name) as video:
        return video.read(range(min(PREVIEW_FRAMES, video.num_frames)))
