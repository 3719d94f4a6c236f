"""Rows of a list of labelled videos, and helpers that all list formats share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from synvid.errors import ConfigurationError
from synvid.file_formats import VIDEO_SUFFIXES

__all__ = ["SPLIT_NAMES", "ListRow", "Listing", "has_video_suffix", "line_error", "read_text"]


#: Names that datasets use for their splits → names used here.
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


@dataclass(frozen=True)
class ListRow:
    """One video of a list.

    Attributes:
        location: position in the list for error messages, e.g. `line 3`.
        paths: possible paths below the video folder, with or without an extension; the first that exists is used.
        label: class name or number; empty in test lists that withhold labels.
        split: train, val, test or another name; empty if the list has no splits.
    """

    location: str
    paths: tuple[str, ...]
    label: str
    split: str = ""


@dataclass(frozen=True)
class Listing:
    """Contents of a list.

    Attributes:
        source: the file or folder.
        format: description of the list's format.
        folder: folder to which paths are relative.
        rows: rows of all splits.
        class_order: all class names in the dataset's numbering, if a file next to the list defines it.
        lists_frame_folders: rows look like `folder frames label`, with paths that have no extension.
        may_have_header: the first line may be a header whose words are unknown.
        unused_split_column: name of a column `split` that was not asked for; empty if there is none.
    """

    source: Path
    format: str
    folder: Path
    rows: tuple[ListRow, ...]
    class_order: tuple[str, ...] = ()
    lists_frame_folders: bool = False
    may_have_header: bool = False
    unused_split_column: str = ""


def has_video_suffix(name: str) -> bool:
    """Return whether a name ends with a video file's extension."""
    return name.lower().endswith(VIDEO_SUFFIXES)


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file, without a byte order mark.

    Raises:
        ConfigurationError: the file cannot be read or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is not UTF-8 text.") from None


def line_error(path: Path, location: str, message: str) -> ConfigurationError:
    """Return an error that names the list and the position in it."""
    return ConfigurationError(f"{path}, {location}: {message}")
