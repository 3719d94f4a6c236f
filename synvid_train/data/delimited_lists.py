"""Read lists of videos: CSV with a header, or lines of path and label."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from synvid.config.strict_yaml import short
from synvid.errors import ConfigurationError
from synvid.file_formats import VIDEO_SUFFIXES
from synvid_train.data.dataset_lists import kinetics_paths
from synvid_train.data.list_rows import SPLIT_NAMES, Listing, ListRow, has_video_suffix, line_error

__all__ = ["read_path_label_lines", "read_table"]


#: Names of the columns with path and label, in order of preference.
_PATH_COLUMNS = (
    "path", "clip_path", "video_path", "file_path", "filepath", "file_name", "filename", "file", "video_name", "vid_name",
    "clip_name", "video", "clip", "name", "video_id", "id",
)  # fmt: skip
_LABEL_COLUMNS = ("label", "labels", "class", "class_name", "label_name", "category", "action", "target", "tag", "class_id")
#: Names of columns that select a segment of a video.
_SEGMENT_COLUMNS = {
    "start", "end", "time_start", "time_end", "start_time", "end_time", "start_frame", "end_frame", "t_start", "t_end",
}  # fmt: skip
_SUFFIXES = "|".join(suffix[1:] for suffix in VIDEO_SUFFIXES)

#: Number and text of a line.
Lines = Sequence[tuple[int, str]]


def _find_delimiter(lines: Sequence[str]) -> str:
    """Return tab, comma or semicolon if it separates path and label in most lines, else a space.

    A comma in a folder's name, as in `fast,slow/a.mp4 run`, does not count.
    """
    counts = {}
    for delimiter in ("\t", ",", ";"):
        ends = [line.rpartition(delimiter)[2] for line in lines if delimiter in line]
        counts[delimiter] = sum(not re.search(rf"\.({_SUFFIXES})\s+\S", end, re.IGNORECASE) for end in ends)
    most_frequent = max(counts, key=counts.__getitem__)
    return most_frequent if 2 * counts[most_frequent] >= len(lines) else " "


def _split_fields(path: Path, number: int, line: str, delimiter: str) -> list[str]:
    """Return the fields of a CSV line; each line is parsed alone, so an unclosed quote affects only its own line."""
    try:
        fields = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise line_error(path, f"line {number}", f"{short(line)} has malformed quotes ({error}).") from None
    return [field.strip() for field in fields]


# ---- CSV with a header --------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Columns:
    """Indices of the columns of a CSV with a header; None for a column that it does not have.

    Attributes:
        header: names of all columns.
        path: path, or YouTube id in Kinetics' CSV.
        label, split: label and split.
        times: start and end, in Kinetics' CSV only.
    """

    header: list[str]
    path: int
    label: int | None
    split: int | None
    times: tuple[int, int] | None


def _find_columns(path: Path, folder: Path, header: list[str], split_column: str | None) -> _Columns | None:
    """Return the columns of a header; None if it does not name path and label, or its first field is an existing video."""
    words = [word.lower() for word in header]

    def find(names: Iterable[str]) -> int | None:
        return next((words.index(name) for name in names if name in words), None)

    kinetics = {"youtube_id", "time_start", "time_end"} <= set(words)
    file, label = find(["youtube_id"] if kinetics else _PATH_COLUMNS), find(_LABEL_COLUMNS)
    if file is None or (label is None and not kinetics) or os.path.isfile(folder / header[0]):
        return None
    if split_column is not None and split_column not in header:
        raise ConfigurationError(f"--split {split_column}: {path} has no such column; its columns are {', '.join(header)}.")
    split = header.index(split_column) if split_column is not None else find(["split"]) if kinetics else None
    times = (words.index("time_start"), words.index("time_end")) if kinetics else None
    return _Columns(header, file, label, split, times)


def read_table(path: Path, folder: Path, lines: Lines, split_column: str | None) -> Listing | None:
    """Read a CSV with a header; return None if the first line is not a header.

    Args:
        path: the file.
        folder: folder to which paths are relative.
        lines: its lines that are not blank.
        split_column: column that holds the split; None if there is none.

    Raises:
        ConfigurationError: a row is malformed, or there is no such column.
    """
    delimiter = _find_delimiter([line for _, line in lines])
    header = [] if delimiter == " " else _split_fields(path, *lines[0], delimiter)
    columns = _find_columns(path, folder, header, split_column) if header else None
    if columns is None:
        return None
    segment = [name for name in header if name.lower() in _SEGMENT_COLUMNS and columns.times is None]
    if segment:
        raise ConfigurationError(
            f"{path}: the columns {', '.join(segment)} select segments of videos, which is not supported; cut the segments "
            "out, `ffmpeg -ss START -to END -i IN OUT`, or remove these columns to use whole videos."
        )
    rows = []
    for number, line in lines[1:]:
        fields = _split_fields(path, number, line, delimiter)
        if len(fields) != len(header):
            raise line_error(
                path,
                f"line {number}",
                f"{short(line)} has {len(fields)} fields, but the header has {len(header)}; quote fields that contain "
                f"{delimiter!r}.",
            )
        rows.append(_table_row(path, f"line {number}", fields, columns))
    unused = next((name for name in header if name.lower() == "split" and columns.split is None), "")
    format_name = "Kinetics CSV" if columns.times else "CSV with a header"
    return Listing(path, format_name, folder, tuple(rows), unused_split_column=unused)


def _table_row(path: Path, location: str, fields: Sequence[str], columns: _Columns) -> ListRow:
    for column in (columns.path, columns.split, columns.label):
        if column is not None and not fields[column]:
            if column == columns.label:
                raise line_error(path, location, f"the row of {short(fields[columns.path])} has no label.")
            raise line_error(path, location, f"the column {columns.header[column]} is empty.")
    name = fields[columns.path]
    label, split_name = ("" if column is None else fields[column] for column in (columns.label, columns.split))
    split = SPLIT_NAMES.get(split_name.lower(), split_name)
    if columns.times is None:
        return ListRow(location, (name,), label, split)
    start, end = (fields[column] for column in columns.times)
    return ListRow(location, kinetics_paths(path, location, name, start, end, label, split_name), label, split)


# ---- Path and label -----------------------------------------------------------------------------------------------
def read_path_label_lines(path: Path, folder: Path, lines: Lines) -> Listing:
    """Read lines `path label` or `path frames label`, separated by a tab, a comma, a semicolon or spaces.

    A first line of header words separated by spaces, such as `path label`, is skipped.

    Args:
        path: the file.
        folder: folder to which paths are relative.
        lines: its lines that are not blank.

    Raises:
        ConfigurationError: a line is malformed.
    """
    delimiter = _find_delimiter([line for _, line in lines])
    split_line = _split_at_spaces if delimiter == " " else _split_at_delimiter
    first_words = lines[0][1].lower().split() if delimiter == " " else []
    has_header = bool(set(first_words) & set(_PATH_COLUMNS) and set(first_words) & set(_LABEL_COLUMNS))
    has_header = has_header and not os.path.isfile(folder / first_words[0])
    fields = []
    for number, line in lines[1:] if has_header else lines:
        name, middle, label = split_line(path, number, line, delimiter)
        fields.append((f"line {number}", name, middle, label))
    # A number in some lines only is the start of a label: `3 point shot`.
    has_frame_counts = bool(fields) and all(middle for *_, middle, _ in fields)
    inconsistent = next((location for location, _, middle, _ in fields if bool(middle) != bool(fields[0][2])), None)
    if inconsistent is not None and delimiter != " ":
        raise line_error(
            path, inconsistent, "this line and the first differ: only one has a number of frames between path and label."
        )
    rows = [
        ListRow(location, (name,), label if has_frame_counts else f"{middle} {label}".strip())
        for location, name, middle, label in fields
    ]
    several = next((row for row in rows if re.fullmatch(r"\d+(\s+\d+)+", row.label)), None)
    if several is not None:
        raise line_error(path, several.location, f"{short(several.label)} are several labels; a video must have one.")
    if delimiter == " " and not has_frame_counts:
        rows, has_frame_counts = _without_frame_counts(rows, folder)
    no_suffixes = not any(has_video_suffix(row.paths[0]) for row in rows)
    may_have_header = bool(rows) and not has_header and not has_video_suffix(rows[0].paths[0])
    kind = {" ": "text", ",": "CSV", "\t": "text with tabs", ";": "text with semicolons"}[delimiter]
    format_name = f"{kind} of paths, {'numbers of frames ' if has_frame_counts else ''}and labels"
    return Listing(
        path, format_name, folder, tuple(rows),
        lists_frame_folders=has_frame_counts and no_suffixes, may_have_header=may_have_header,
    )  # fmt: skip


def _split_at_delimiter(path: Path, number: int, line: str, delimiter: str) -> tuple[str, str, str]:
    """Return path, number of frames or an empty string, and label."""
    fields = _split_fields(path, number, line, delimiter)
    middle = fields[1] if len(fields) == 3 and fields[1].isdigit() else ""
    if len(fields) != (3 if middle else 2) or not fields[0] or not fields[-1]:
        raise line_error(
            path,
            f"line {number}",
            f"{short(line)} is not a path and a label; quote fields that contain {delimiter!r}, and give a list with more "
            "columns a header that names path and label.",
        )
    return fields[0], middle, fields[-1]


def _split_at_spaces(path: Path, number: int, line: str, _: str) -> tuple[str, str, str]:
    """Return path, number of frames or an empty string, and label.

    The path ends with its closing quote, else a video's extension, else the last space.
    """
    line = line.strip()
    quoted = re.fullmatch(r'"((?:[^"]|"")+)"\s+(.+)', line)
    match = quoted or re.fullmatch(rf"(.+\.(?:{_SUFFIXES}))\s+(.+)", line, re.IGNORECASE)
    if match is None:
        name, _, label = line.rpartition(" ")
        if not name.strip():
            raise line_error(path, f"line {number}", f"{short(line)} is not a path and a label.")
        return name.strip(), "", label
    name, rest = match[1].replace('""', '"') if quoted else match[1], match[2].strip('"')
    count = re.fullmatch(r"(\d+)\s+(.+)", rest)
    return (name, count[1], count[2]) if count else (name, "", rest)


def _without_frame_counts(rows: list[ListRow], folder: Path) -> tuple[list[ListRow], bool]:
    """Remove the numbers of frames from rows `path frames label` without extensions; return whether there were any.

    Whether a number belongs to the path is decided by the paths that exist.
    """
    matches = [re.fullmatch(r"(.*\S)\s+\d+", row.paths[0]) for row in rows]
    stripped = [replace(row, paths=(match[1],)) for match, row in zip(matches, rows, strict=True) if match]
    if not stripped or len(stripped) < len(rows) or any(os.path.exists(folder / row.paths[0]) for row in rows):
        return rows, False
    return stripped, True
