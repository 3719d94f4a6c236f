"""From a list of labelled videos, in any of the published formats, to rows; whether the videos are there is for others to see.

Text of paths and labels, CSV with a header, folders by class, UCF101, HMDB51, Kinetics, Something-Something v2, Diving48.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from synvid.config.strict_yaml import short
from synvid.errors import ConfigurationError
from synvid.file_formats import VIDEO_SUFFIXES
from synvid.paths import find_files

__all__ = ["PARTS", "ListRow", "Listing", "has_extension", "read_rows"]


#: What datasets call their parts, and what they are here.
PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
#: Columns of a header that say where a video is and what it shows, the likeliest first.
_PATHS = (
    "path", "clip_path", "video_path", "file_path", "filepath", "file_name", "filename", "file", "video_name", "vid_name",
    "clip_name", "video", "clip", "name", "video_id", "id",
)  # fmt: skip
_LABELS = ("label", "labels", "class", "class_name", "label_name", "category", "action", "target", "tag", "class_id")
_VIDEO = "|".join(suffix[1:] for suffix in VIDEO_SUFFIXES)


@dataclass(frozen=True)
class ListRow:
    """One video of a list.

    Attributes:
        place: where it stands in the list, `line 3`.
        names: its path below the folder of the videos, or the several that it may have; with or without an extension.
        label: what it shows; empty where a test keeps that to itself.
        part: train, val, test or another word; empty where the list has no parts.
    """

    place: str
    names: tuple[str, ...]
    label: str
    part: str = ""


@dataclass(frozen=True)
class Listing:
    """What a list holds.

    Attributes:
        source: the file or folder.
        format: what kind of list it is, in words.
        folder: to which paths are relative.
        rows: of all parts.
        order: names of all classes as the dataset numbers them, where a file beside the list says so.
        frames: whether rows have a number between path and label, and their paths no extension: of folders of frames.
        unsure: the first line may be a header of unknown words.
        unused: a column that marks parts, which nobody asked for.
    """

    source: Path
    format: str
    folder: Path
    rows: tuple[ListRow, ...]
    order: tuple[str, ...] = ()
    frames: bool = False
    unsure: bool = False
    unused: str = ""


def read_rows(path: Path, root: Path | None = None, column: str | None = None) -> Listing:
    """Read a list of any format.

    Args:
        path: of the list, or a folder.
        root: folder to which paths are relative. None: the folder of the list.
        column: of a CSV with a header, that says which rows are of which part. Of HMDB51's files, the split: 1, 2, 3.

    Raises:
        ConfigurationError: it cannot be read, or a line of it is not understood; the line is named.
    """
    folder = root or (path if path.is_dir() else path.parent)
    if "_test_split" in path.name or (path.is_dir() and any(path.glob("*_test_split*.txt"))):
        return _hmdb51(path, folder, column or "1")
    if path.is_dir() or path.suffix.lower() == ".json":
        if column is not None:
            raise ConfigurationError(f"--split {column}: {path} is no CSV and has no columns; leave --split out.")
        return _folders(path) if path.is_dir() else _json(path, folder)
    text = _text(path)
    lines = [(number, line.strip(" \r")) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if any(_ucf101(path, line) for _, line in lines):
        listing = _ucf101_list(path, folder, lines)
    elif lines:
        listing = _table(path, folder, lines, column) or _pairs(path, folder, lines)
    else:
        listing = Listing(path, "an empty file", folder, ())
    if column is not None and not any(row.part for row in listing.rows):
        raise ConfigurationError(f"--split {column}: {path} has no header with path and label.")
    return replace(listing, rows=tuple(_with_whole_label(path, row) for row in listing.rows))


def _with_whole_label(path: Path, row: ListRow) -> ListRow:
    """The row with the number 3 for the label 3.0, as tables write it whose column has gaps; no number is below 0."""
    number = re.fullmatch(r"(-?\d+)(\.0*)?", row.label)
    if number is None:
        return row
    if number[1].startswith("-"):
        raise _wrong(path, row.place, f"the label {row.label} is no class; numbers of classes begin at 0.")
    return replace(row, label=number[1])


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}: is no UTF-8 text.") from None


def _wrong(path: Path, place: str, words: str) -> ConfigurationError:
    return ConfigurationError(f"{path}, {place}: {words}")


# ---- Text and CSV -------------------------------------------------------------------------------------------------
def _delimiter(lines: Sequence[str]) -> str:
    """What separates label from path in most lines: no comma that is in the folders of paths, `fast,slow/a.mp4 run`."""
    counts = {}
    for mark in ("\t", ",", ";"):
        ends = [line.rpartition(mark)[2] for line in lines if mark in line]
        counts[mark] = sum(not re.search(rf"\.({_VIDEO})\s+\S", end, re.IGNORECASE) for end in ends)
    likeliest = max(counts, key=counts.__getitem__)
    return likeliest if 2 * counts[likeliest] >= len(lines) else " "


def _fields(path: Path, number: int, line: str, delimiter: str) -> list[str]:
    """The fields of a line of CSV; a line is a row, so that an open quote takes no others with it."""
    try:
        fields = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise _wrong(path, f"line {number}", f"{short(line)} has wrong quotes ({error}).") from None
    return [field.strip() for field in fields]


#: Columns that say which part of a video is meant.
_SEGMENTS = {
    "start",
    "end",
    "time_start",
    "time_end",
    "start_time",
    "end_time",
    "start_frame",
    "end_frame",
    "t_start",
    "t_end",
}


@dataclass(frozen=True)
class _Columns:
    """What stands where in a CSV with a header; None for what it lacks.

    Attributes:
        header: names of all columns.
        file: the path, or the id of Kinetics.
        label, part: of a row.
        times: start and end, of Kinetics only.
    """

    header: list[str]
    file: int
    label: int | None
    part: int | None
    times: tuple[int, int] | None


def _columns(path: Path, folder: Path, header: list[str], column: str | None) -> _Columns | None:
    """The columns of a header; None if it names no path and label, or is rather a video of such a name."""
    words = [word.lower() for word in header]

    def find(known: Iterable[str]) -> int | None:
        return next((words.index(word) for word in known if word in words), None)

    kinetics = {"youtube_id", "time_start", "time_end"} <= set(words)
    file, label = find(["youtube_id"] if kinetics else _PATHS), find(_LABELS)
    if file is None or (label is None and not kinetics) or os.path.isfile(folder / header[0]):
        return None
    if column is not None and column not in header:
        raise ConfigurationError(f"--split {column}: {path} has no such column; it has {', '.join(header)}.")
    part = header.index(column) if column is not None else find(["split"]) if kinetics else None
    times = (words.index("time_start"), words.index("time_end")) if kinetics else None
    return _Columns(header, file, label, part, times)


def _table(path: Path, folder: Path, lines: Sequence[tuple[int, str]], column: str | None) -> Listing | None:
    """A CSV with a header; None if the first line is none."""
    delimiter = _delimiter([line for _, line in lines])
    header = [] if delimiter == " " else _fields(path, *lines[0], delimiter)
    columns = _columns(path, folder, header, column) if header else None
    if columns is None:
        return None
    segment = [name for name in header if name.lower() in _SEGMENTS and columns.times is None]
    if segment:
        raise ConfigurationError(
            f"{path}: parts of videos ({', '.join(segment)}) are not read: cut them out, ffmpeg -ss START -to END -i IN OUT, "
            "or take these columns away to use whole videos."
        )
    rows = []
    for number, line in lines[1:]:
        fields = _fields(path, number, line, delimiter)
        if len(fields) != len(header):
            count = f"{len(fields)} fields where the header has {len(header)}"
            raise _wrong(path, f"line {number}", f"{short(line)} has {count}; what contains {delimiter!r} goes in quotes.")
        rows.append(_table_row(path, f"line {number}", fields, columns))
    unused = next((name for name in header if name.lower() == "split" and columns.part is None), "")
    return Listing(path, "Kinetics' CSV" if columns.times else "CSV with a header", folder, tuple(rows), unused=unused)


def _table_row(path: Path, place: str, fields: Sequence[str], columns: _Columns) -> ListRow:
    for column in (columns.file, columns.part, columns.label):
        if column is not None and not fields[column]:
            what = f"the row of {short(fields[columns.file])} has no label" if column == columns.label else (
                f"the column {columns.header[column]} is empty"
            )  # fmt: skip
            raise _wrong(path, place, f"{what}.")
    name = fields[columns.file]
    label, mark = ("" if column is None else fields[column] for column in (columns.label, columns.part))
    part = PARTS.get(mark.lower(), mark)
    if columns.times is None:
        return ListRow(place, (name,), label, part)
    start, end = (fields[column] for column in columns.times)
    return ListRow(place, _kinetics_names(path, place, name, start, end, label, mark), label, part)


def _pairs(path: Path, folder: Path, lines: Sequence[tuple[int, str]]) -> Listing:
    """Lines `path label` or `path frames label`; a first line of a header's words, separated by blanks, is left out."""
    delimiter = _delimiter([line for _, line in lines])
    split = _blank_fields if delimiter == " " else _comma_fields
    first = lines[0][1].lower().split() if delimiter == " " else []
    heading = bool(set(first) & set(_PATHS) and set(first) & set(_LABELS)) and not os.path.isfile(folder / first[0])
    rows = []
    for number, line in lines[1:] if heading else lines:
        name, between, label = split(path, number, line, delimiter)
        rows.append((f"line {number}", name, between, label))
    frames = bool(rows) and all(between for *_, between, _ in rows)  # else the beginning of a label, `3 point shot`
    odd = next((place for place, _, between, _ in rows if bool(between) != bool(rows[0][2])), None)
    if odd is not None and delimiter != " ":
        raise _wrong(path, odd, "it and the first one differ in whether a number of frames is between path and label.")
    made = [ListRow(place, (name,), label if frames else f"{between} {label}".strip()) for place, name, between, label in rows]
    several = next((row for row in made if re.fullmatch(r"\d+(\s+\d+)+", row.label)), None)
    if several is not None:
        raise _wrong(path, several.place, f"{short(several.label)} is several labels; a video has one.")
    if delimiter == " " and not frames:
        made, frames = _without_frames(made, folder)
    bare = not any(has_extension(row.names[0]) for row in made)
    unsure = bool(made) and not heading and not has_extension(made[0].names[0])
    kind = {" ": "text", ",": "CSV", "\t": "text with tabs", ";": "text with semicolons"}[delimiter]
    words = f"{kind} of paths, {'numbers of frames ' if frames else ''}and labels"
    return Listing(path, words, folder, tuple(made), frames=frames and bare, unsure=unsure)


def _comma_fields(path: Path, number: int, line: str, delimiter: str) -> tuple[str, str, str]:
    """Path, number of frames or nothing, and label."""
    fields = _fields(path, number, line, delimiter)
    between = fields[1] if len(fields) == 3 and fields[1].isdigit() else ""
    if len(fields) != (3 if between else 2) or not fields[0] or not fields[-1]:
        raise _wrong(path, f"line {number}", f"{short(line)} is no path and label; what contains {delimiter!r} goes in "
                     "quotes, and other columns need a header with path and label.")  # fmt: skip
    return fields[0], between, fields[-1]


def _blank_fields(path: Path, number: int, line: str, _: str) -> tuple[str, str, str]:
    """The same of a line with blanks: the path ends with its quotes, or the extension of a video, or the last blank."""
    line = line.strip()
    quoted = re.fullmatch(r'"((?:[^"]|"")+)"\s+(.+)', line)
    ended = quoted or re.fullmatch(rf"(.+\.(?:{_VIDEO}))\s+(.+)", line, re.IGNORECASE)
    if ended is None:
        name, _, label = line.rpartition(" ")
        if not name.strip():
            raise _wrong(path, f"line {number}", f"{short(line)} is no path and label.")
        return name.strip(), "", label
    name, rest = ended[1].replace('""', '"') if quoted else ended[1], ended[2].strip('"')
    between = re.fullmatch(r"(\d+)\s+(.+)", rest)
    return (name, between[1], between[2]) if between else (name, "", rest)


def _without_frames(rows: list[ListRow], folder: Path) -> tuple[list[ListRow], bool]:
    """Rows of `path frames label` without extensions, without the numbers of frames, and whether they have some.

    Only what is there tells a number of frames from the end of a path.
    """
    matches = [re.fullmatch(r"(.*\S)\s+\d+", row.names[0]) for row in rows]
    bare = [replace(row, names=(match[1],)) for match, row in zip(matches, rows, strict=True) if match]
    if not bare or len(bare) < len(rows) or any(os.path.exists(folder / row.names[0]) for row in rows):
        return rows, False
    return bare, True


def has_extension(name: str) -> bool:
    """Whether a name ends as a video file's does."""
    return name.lower().endswith(VIDEO_SUFFIXES)


# ---- Folders ------------------------------------------------------------------------------------------------------
def _folders(path: Path) -> Listing:
    """CLASS/VIDEO, or SPLIT/CLASS/VIDEO with all folders at the top named as parts are."""
    files = [
        Path(name) for name in find_files(path, VIDEO_SUFFIXES) if not any(part.startswith(".") for part in Path(name).parts)
    ]
    if not files:
        raise ConfigurationError(f"{path}: a folder that lists no videos; it should hold CLASS/VIDEO or SPLIT/CLASS/VIDEO.")
    parts = all(file.parts[0].lower() in PARTS for file in files) and any(len(file.parts) == 3 for file in files)
    depth = 3 if parts else 2
    odd = next((file for file in files if len(file.parts) != depth), None)
    if odd is not None:
        expected = "SPLIT/CLASS/VIDEO" if parts else "CLASS/VIDEO, or SPLIT/CLASS/VIDEO with the splits train, val and test"
        raise ConfigurationError(f"{path}: {odd} is not where a folder by class has its videos: {expected}.")
    rows = tuple(
        ListRow(str(file), (str(file),), file.parts[-2], PARTS[file.parts[0].lower()] if parts else "") for file in files
    )
    return Listing(path, "folders by split and class" if parts else "folders by class", path, rows)


# ---- UCF101 and HMDB51 --------------------------------------------------------------------------------------------
def _ucf101(path: Path, line: str) -> re.Match[str] | None:
    """A line of UCF101's official lists: `Archery/v_Archery_g01_c02.avi 3`, in testlist01.txt without the number."""
    named = re.fullmatch(r"(train|test)list\d+\.txt", path.name)
    return re.fullmatch(r"((\w+)/v_\w+_g\d+_c\d+\.\w+)(\s+\d+)?", line.strip()) if named else None


def _ucf101_list(path: Path, folder: Path, lines: Iterable[tuple[int, str]]) -> Listing:
    """Labels are the folders: numbers, from 1, are in trainlist01.txt only."""
    rows = []
    for number, line in lines:
        match = _ucf101(path, line)
        if match is None:
            raise _wrong(path, f"line {number}", f"{short(line)} is no line of UCF101's lists, CLASS/VIDEO and a number.")
        rows.append(ListRow(f"line {number}", _anywhere(match[1]), match[2]))
    index, order = path.with_name("classInd.txt"), {}
    if index.is_file():
        numbered = [line.split() for line in _text(index).split("\n") if line.strip()]
        order = {words[-1]: _number(index, words[0]) for words in numbered}
    return Listing(path, "UCF101's list", folder, tuple(rows), tuple(sorted(order, key=order.__getitem__)))


def _anywhere(name: str) -> tuple[str, ...]:
    """CLASS/VIDEO, in the folder of its class or without it, as it was published or converted."""
    names = (name, name.partition("/")[2])
    return (*names, *(str(Path(name).with_suffix("")) for name in names))


def _number(path: Path, text: object) -> int:
    if not re.fullmatch(r"\d+", str(text)):
        raise ConfigurationError(f"{path}: {short(text)} should be the number of a class.")
    return int(str(text))


def _hmdb51(path: Path, folder: Path, split: str) -> Listing:
    """A file a class, `CLASS_test_splitN.txt`, with lines `video.avi 1`: 1 is training, 2 test, 0 neither."""
    if split not in ("1", "2", "3"):
        raise ConfigurationError(f"--split {split}: HMDB51 has the splits 1, 2 and 3.")
    rows = []
    for file in sorted(path.glob(f"*_test_split{split}.txt")) if path.is_dir() else [path]:
        label = file.name.partition("_test_split")[0]
        for number, line in enumerate(_text(file).split("\n"), 1):
            if not line.strip():
                continue
            match = re.fullmatch(r"(.+?)\s+([012])", line.strip())
            if match is None:
                raise _wrong(file, f"line {number}", f"{short(line)} is no video and 0, 1 or 2, as HMDB51's lists have them.")
            if match[2] != "0":
                part = {"1": "train", "2": "test"}[match[2]]
                rows.append(ListRow(f"{file.name}, line {number}", _anywhere(f"{label}/{match[1]}"), label, part))
    return Listing(path, f"HMDB51's lists, split {split}", folder, tuple(rows))


# ---- Kinetics, Something-Something v2, Diving48 --------------------------------------------------------------------
def _kinetics_names(path: Path, place: str, clip: str, start: str, end: str, label: str, part: str) -> tuple[str, ...]:
    """Where the clip of a YouTube video may be: ID_000001_000011 or ID, at the top, by label, or by split."""
    try:
        stretch = f"_{int(float(start)):06d}_{int(float(end)):06d}"
    except (ValueError, OverflowError):
        raise _wrong(path, place, f"time_start {start!r} and time_end {end!r} should be seconds.") from None
    classes = dict.fromkeys(name for name in (label, label.replace(" ", "_")) if name)
    parts = dict.fromkeys(name for name in (part, PARTS.get(part.lower(), part)) if name)
    folders = ["", *(f"{name}/" for name in (*classes, *parts)), *(f"{name}/{kind}/" for name in parts for kind in classes)]
    bare = [f"{folder}{clip}{times}" for times in (stretch, "") for folder in folders]
    return (*(f"{name}.mp4" for name in bare), *bare)


def _json(path: Path, folder: Path) -> Listing:
    try:
        data = json.loads(_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise ConfigurationError(f"{path}: is no JSON: {error}.") from None
    entries: Iterator[tuple[str, Any]]
    entries = ((f"entry {i}", entry) for i, entry in enumerate(data, 1)) if isinstance(data, list) else iter(())
    if isinstance(data, dict) and data and all(isinstance(entry, dict) for entry in data.values()):
        entries = iter(data.items())
        return Listing(path, "Kinetics' JSON", folder, _rows(path, entries, _kinetics_row))
    first = data[0] if isinstance(data, list) and data else None
    if isinstance(first, dict) and "vid_name" in first:
        return Listing(path, "Diving48's JSON", folder, _rows(path, entries, _diving48_row))
    if isinstance(first, dict) and "id" in first:
        order = _something_order(path)
        rows = _rows(path, entries, _something_row)
        unknown = next((row for row in rows if order and row.label and row.label not in order), None)
        if unknown is not None:
            raise _wrong(path, unknown.place, f"{short(unknown.label)} is not in its labels.json.")
        return Listing(path, "Something-Something v2's JSON", folder, rows, order)
    if isinstance(data, list) and not data:
        return Listing(path, "an empty list", folder, ())
    raise ConfigurationError(
        f"{path}: is no list of videos; JSON is read as Something-Something v2 (id, template), Diving48 (vid_name, label) and "
        "Kinetics (annotations, subset) have it."
    )


def _rows(path: Path, entries: Iterable[tuple[str, Any]], read: Callable[[Path, str, Any], ListRow]) -> tuple[ListRow, ...]:
    rows = []
    for place, entry in entries:
        try:
            rows.append(read(path, place, entry))
        except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
            if isinstance(error, ConfigurationError):
                raise
            words = f"has no {error}" if isinstance(error, KeyError) else "is not as the others"
            raise _wrong(path, place, f"{short(entry)} {words}.") from None
    return tuple(rows)


def _kinetics_row(path: Path, place: str, entry: Any) -> ListRow:
    about = entry["annotations"]
    label, part, (start, end) = about.get("label", ""), entry["subset"], about["segment"]
    names = _kinetics_names(path, place, place, str(start), str(end), label, part)
    return ListRow(place, names, label, PARTS.get(part.lower(), part))


def _diving48_row(_: Path, __: str, entry: Any) -> ListRow:
    return ListRow(_entry(entry, "vid_name"), (entry["vid_name"] + ".mp4", entry["vid_name"]), str(entry["label"]).strip())


def _something_row(_: Path, __: str, entry: Any) -> ListRow:
    """The label is the template, `Putting [something] on [something]`, without brackets; a test has none."""
    template = entry["template"] if {"template", "label"} & set(entry) else ""
    label = template.replace("[", "").replace("]", "").strip()
    return ListRow(_entry(entry, "id"), (f"{entry['id']}.webm", str(entry["id"])), label)


def _entry(entry: Any, key: str) -> str:
    return f"{key} {str(entry[key])[:40]}"


def _something_order(path: Path) -> tuple[str, ...]:
    """Labels by number, from the file of labels beside a list."""
    for name in ("labels.json", "something-something-v2-labels.json"):
        if (file := path.with_name(name)).is_file():
            try:
                numbers = {label: _number(file, number) for label, number in dict(json.loads(_text(file))).items()}
            except (ValueError, TypeError) as error:
                if isinstance(error, ConfigurationError):
                    raise
                raise ConfigurationError(f"{file}: should be JSON of labels and their numbers.") from None
            return tuple(sorted(numbers, key=numbers.__getitem__))
    return ()
