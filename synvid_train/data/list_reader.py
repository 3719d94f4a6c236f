"""Read the rows of a list of labelled videos in any supported format, without checking whether the videos exist."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from synvid.errors import ConfigurationError
from synvid_train.data.dataset_lists import (
    is_hmdb51,
    is_ucf101_line,
    read_class_folders,
    read_hmdb51,
    read_json,
    read_ucf101,
)
from synvid_train.data.delimited_lists import read_path_label_lines, read_table
from synvid_train.data.list_rows import Listing, ListRow, line_error, read_text

__all__ = ["read_rows"]


def read_rows(path: Path, root: Path | None = None, split_option: str | None = None) -> Listing:
    """Read a list of any format.

    Args:
        path: the list, or a folder.
        root: folder to which paths are relative. None: the folder of the list.
        split_option: column that holds the split, in a CSV with a header; for HMDB51 the split number: 1, 2 or 3.

    Raises:
        ConfigurationError: the list cannot be read, or a line is malformed; the line is named.
    """
    folder = root or (path if path.is_dir() else path.parent)
    if is_hmdb51(path):
        return read_hmdb51(path, folder, split_option or "1")
    if path.is_dir() or path.suffix.lower() == ".json":
        if split_option is not None:
            raise ConfigurationError(f"--split {split_option}: {path} is not a CSV file, so it has no columns; omit --split.")
        return read_class_folders(path) if path.is_dir() else read_json(path, folder)
    lines = [(number, line.strip(" \r")) for number, line in enumerate(read_text(path).split("\n"), 1) if line.strip()]
    if any(is_ucf101_line(path, line) for _, line in lines):
        listing = read_ucf101(path, folder, lines)
    elif lines:
        listing = read_table(path, folder, lines, split_option) or read_path_label_lines(path, folder, lines)
    else:
        listing = Listing(path, "an empty file", folder, ())
    if split_option is not None and not any(row.split for row in listing.rows):
        raise ConfigurationError(f"--split {split_option}: {path} has no header that names path and label.")
    return replace(listing, rows=tuple(_normalize_label(path, row) for row in listing.rows))


def _normalize_label(path: Path, row: ListRow) -> ListRow:
    """Turn the label 3.0, which tables with gaps in a column contain, into 3; refuse negative numbers."""
    number = re.fullmatch(r"(-?\d+)(\.0*)?", row.label)
    if number is None:
        return row
    if number[1].startswith("-"):
        raise line_error(path, row.location, f"the label {row.label} is not a class number; class numbers start at 0.")
    return replace(row, label=number[1])
