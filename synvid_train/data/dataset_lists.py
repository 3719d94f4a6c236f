"""Read the lists that video datasets publish, and folders by class.

UCF101, HMDB51, Kinetics, Something-Something v2 and Diving48.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from synvid.config.strict_yaml import short
from synvid.errors import ConfigurationError
from synvid.file_formats import VIDEO_SUFFIXES
from synvid.paths import find_files
from synvid_train.data.list_rows import SPLIT_NAMES, Listing, ListRow, line_error, read_text

__all__ = [
    "is_hmdb51",
    "is_ucf101_line",
    "kinetics_paths",
    "read_class_folders",
    "read_hmdb51",
    "read_json",
    "read_ucf101",
]


# ---- Folders ------------------------------------------------------------------------------------------------------
def read_class_folders(path: Path) -> Listing:
    """List a folder CLASS/VIDEO, or SPLIT/CLASS/VIDEO if all folders at the top have names of splits.

    Raises:
        ConfigurationError: there is no video, or one is at another depth.
    """
    files = [
        Path(name) for name in find_files(path, VIDEO_SUFFIXES) if not any(part.startswith(".") for part in Path(name).parts)
    ]
    if not files:
        raise ConfigurationError(f"{path}: the folder lists no videos; they should be CLASS/VIDEO or SPLIT/CLASS/VIDEO.")
    has_splits = all(file.parts[0].lower() in SPLIT_NAMES for file in files) and any(len(file.parts) == 3 for file in files)
    depth = 3 if has_splits else 2
    misplaced = next((file for file in files if len(file.parts) != depth), None)
    if misplaced is not None:
        expected = (
            "SPLIT/CLASS/VIDEO" if has_splits else "CLASS/VIDEO, or SPLIT/CLASS/VIDEO with the splits train, val and test"
        )
        raise ConfigurationError(f"{path}: {misplaced} is misplaced; videos must be {expected}.")
    rows = tuple(
        ListRow(str(file), (str(file),), file.parts[-2], SPLIT_NAMES[file.parts[0].lower()] if has_splits else "")
        for file in files
    )
    return Listing(path, "folders by split and class" if has_splits else "folders by class", path, rows)


# ---- UCF101 and HMDB51 --------------------------------------------------------------------------------------------
def is_ucf101_line(path: Path, line: str) -> bool:
    """Return whether this is a line of an official UCF101 list, which has its own file name."""
    return _match_ucf101(path, line) is not None


def _match_ucf101(path: Path, line: str) -> re.Match[str] | None:
    """Match `Archery/v_Archery_g01_c02.avi 3`; testlist01.txt has no numbers."""
    if not re.fullmatch(r"(train|test)list\d+\.txt", path.name):
        return None
    return re.fullmatch(r"((\w+)/v_\w+_g\d+_c\d+\.\w+)(\s+\d+)?", line.strip())


def read_ucf101(path: Path, folder: Path, lines: Iterable[tuple[int, str]]) -> Listing:
    """Read an official list of UCF101. Labels are the folders: only trainlist01.txt has numbers.

    Raises:
        ConfigurationError: a line, or one of classInd.txt, is malformed.
    """
    rows = []
    for number, line in lines:
        match = _match_ucf101(path, line)
        if match is None:
            raise line_error(
                path, f"line {number}", f"{short(line)} is not a line of a UCF101 list, CLASS/VIDEO and a number."
            )
        rows.append(ListRow(f"line {number}", _converted_paths(match[1]), match[2]))
    index, numbers = path.with_name("classInd.txt"), {}
    if index.is_file():
        fields = [line.split() for line in read_text(index).split("\n") if line.strip()]
        numbers = {words[-1]: _parse_class_number(index, words[0]) for words in fields}
    class_order = tuple(sorted(numbers, key=numbers.__getitem__))
    return Listing(path, "UCF101 list", folder, tuple(rows), class_order)


def _converted_paths(name: str) -> tuple[str, ...]:
    """Return possible paths of CLASS/VIDEO: with or without the class folder, with the original extension or any."""
    names = (name, name.partition("/")[2])
    return (*names, *(str(Path(name).with_suffix("")) for name in names))


def _parse_class_number(path: Path, text: object) -> int:
    if not re.fullmatch(r"\d+", str(text)):
        raise ConfigurationError(f"{path}: {short(text)} should be a class number.")
    return int(str(text))


def is_hmdb51(path: Path) -> bool:
    """Return whether this is an official split file of HMDB51, or a folder of them."""
    return "_test_split" in path.name or (path.is_dir() and any(path.glob("*_test_split*.txt")))


def read_hmdb51(path: Path, folder: Path, split_number: str) -> Listing:
    """Read HMDB51's official lists, one file per class: `CLASS_test_splitN.txt` with lines `video.avi 1`.

    1 is training, 2 is test, 0 is neither.

    Args:
        path: one file, or a folder of them.
        folder: folder to which paths are relative.
        split_number: 1, 2 or 3; selects the files of a folder.

    Raises:
        ConfigurationError: there is no such split, or a line is malformed.
    """
    if split_number not in ("1", "2", "3"):
        raise ConfigurationError(f"--split {split_number}: HMDB51 has the splits 1, 2 and 3.")
    rows = []
    for file in sorted(path.glob(f"*_test_split{split_number}.txt")) if path.is_dir() else [path]:
        label = file.name.partition("_test_split")[0]
        for number, line in enumerate(read_text(file).split("\n"), 1):
            if not line.strip():
                continue
            match = re.fullmatch(r"(.+?)\s+([012])", line.strip())
            if match is None:
                raise line_error(
                    file, f"line {number}", f"{short(line)} is not a line of an HMDB51 list, VIDEO and 0, 1 or 2."
                )
            if match[2] != "0":
                split = {"1": "train", "2": "test"}[match[2]]
                paths = _converted_paths(f"{label}/{match[1]}")
                rows.append(ListRow(f"{file.name}, line {number}", paths, label, split))
    return Listing(path, f"HMDB51 lists, split {split_number}", folder, tuple(rows))


# ---- Kinetics, Something-Something v2, Diving48 --------------------------------------------------------------------
def kinetics_paths(path: Path, location: str, clip: str, start: str, end: str, label: str, split_name: str) -> tuple[str, ...]:
    """Return possible paths of a Kinetics clip: ID_000001_000011 or ID, at the top or in folders by label, split or both.

    Args:
        path, location: list and position in it, for the error message.
        clip: YouTube id.
        start, end: times in seconds, as text.
        label: class name; may be empty.
        split_name: split as the list calls it.

    Raises:
        ConfigurationError: a time is not a number.
    """
    try:
        times = f"_{int(float(start)):06d}_{int(float(end)):06d}"
    except (ValueError, OverflowError):
        raise line_error(path, location, f"time_start {start!r} and time_end {end!r} should be seconds.") from None
    classes = dict.fromkeys(name for name in (label, label.replace(" ", "_")) if name)
    splits = dict.fromkeys(name for name in (split_name, SPLIT_NAMES.get(split_name.lower(), split_name)) if name)
    folders = [
        "",
        *(f"{name}/" for name in (*classes, *splits)),
        *(f"{split}/{name}/" for split in splits for name in classes),
    ]
    stems = [f"{folder}{clip}{suffix}" for suffix in (times, "") for folder in folders]
    return (*(f"{stem}.mp4" for stem in stems), *stems)


def read_json(path: Path, folder: Path) -> Listing:
    """Read the JSON list of Kinetics, Something-Something v2 or Diving48.

    Raises:
        ConfigurationError: the file is not valid JSON, has another structure, or an entry is malformed.
    """
    try:
        data = json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise ConfigurationError(f"{path} is not valid JSON: {error}.") from None
    if isinstance(data, dict) and data and all(isinstance(entry, dict) for entry in data.values()):
        return Listing(path, "Kinetics JSON", folder, _parse_entries(path, data.items(), _kinetics_row))
    if isinstance(data, list):
        entries = [(f"entry {i}", entry) for i, entry in enumerate(data, 1)]
        if not data:
            return Listing(path, "an empty list", folder, ())
        first = data[0]
        if isinstance(first, dict) and "vid_name" in first:
            return Listing(path, "Diving48 JSON", folder, _parse_entries(path, entries, _diving48_row))
        if isinstance(first, dict) and "id" in first:
            return _something_list(path, folder, entries)
    raise ConfigurationError(
        f"{path} is not a list of videos; JSON must have the format of Something-Something v2 (id, template), Diving48 "
        "(vid_name, label) or Kinetics (annotations, subset)."
    )


def _parse_entries(
    path: Path, entries: Iterable[tuple[str, Any]], parse: Callable[[Path, str, Any], ListRow]
) -> tuple[ListRow, ...]:
    rows = []
    for location, entry in entries:
        try:
            rows.append(parse(path, location, entry))
        except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
            if isinstance(error, ConfigurationError):
                raise
            problem = f"has no {error}" if isinstance(error, KeyError) else "has another structure than expected"
            raise line_error(path, location, f"{short(entry)} {problem}.") from None
    return tuple(rows)


def _kinetics_row(path: Path, clip: str, entry: Any) -> ListRow:
    annotations = entry["annotations"]
    label, split_name, (start, end) = annotations.get("label", ""), entry["subset"], annotations["segment"]
    paths = kinetics_paths(path, clip, clip, str(start), str(end), label, split_name)
    return ListRow(clip, paths, label, SPLIT_NAMES.get(split_name.lower(), split_name))


def _diving48_row(_: Path, __: str, entry: Any) -> ListRow:
    name = entry["vid_name"]
    return ListRow(_entry_location(entry, "vid_name"), (name + ".mp4", name), str(entry["label"]).strip())


def _something_row(_: Path, __: str, entry: Any) -> ListRow:
    """The label is the template, `Putting [something] on [something]`, without brackets; a test list has none."""
    template = entry["template"] if {"template", "label"} & set(entry) else ""
    label = template.replace("[", "").replace("]", "").strip()
    return ListRow(_entry_location(entry, "id"), (f"{entry['id']}.webm", str(entry["id"])), label)


def _entry_location(entry: Any, key: str) -> str:
    return f"{key} {str(entry[key])[:40]}"


def _something_list(path: Path, folder: Path, entries: Iterable[tuple[str, Any]]) -> Listing:
    class_order = _something_class_order(path)
    rows = _parse_entries(path, entries, _something_row)
    unknown = next((row for row in rows if class_order and row.label and row.label not in class_order), None)
    if unknown is not None:
        raise line_error(path, unknown.location, f"the label {short(unknown.label)} is not in labels.json.")
    return Listing(path, "Something-Something v2 JSON", folder, rows, class_order)


def _something_class_order(path: Path) -> tuple[str, ...]:
    """Return the labels by number, from labels.json next to the list; empty if there is no such file."""
    for name in ("labels.json", "something-something-v2-labels.json"):
        if (file := path.with_name(name)).is_file():
            try:
                numbers = {
                    label: _parse_class_number(file, number) for label, number in dict(json.loads(read_text(file))).items()
                }
            except (ValueError, TypeError) as error:
                if isinstance(error, ConfigurationError):
                    raise
                raise ConfigurationError(f"{file} should be a JSON object of labels and their numbers.") from None
            return tuple(sorted(numbers, key=numbers.__getitem__))
    return ()
