"""Lists of labelled videos: CSV or text, and the official split files of HMDB51 and UCF101."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from synvid.errors import ConfigurationError
from synvid.strict_yaml import short

__all__ = ["VideoList", "read_list"]


@dataclass(frozen=True)
class VideoList:
    """Videos and what they show.

    Attributes:
        source: the file that lists them.
        paths: of the videos.
        labels: of each, a number below len(classes).
        classes: names of the labels.
    """

    source: Path
    paths: tuple[Path, ...]
    labels: tuple[int, ...]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.paths)


def read_list(
    path: Path, root: Path | None = None, classes: Sequence[str] = (), split: str = "train", column: str | None = None
) -> VideoList:
    """Read a list of labelled videos.

    It is one of: lines `path label` or `path frames label`, separated by a comma, a tab or a blank, with or without a header,
    paths with blanks quoted or not; a CSV whose header has the columns path and label; UCF101's `trainlist01.txt` and
    `testlist01.txt`; HMDB51's folder of `*_test_split1.txt` files, or one of them.

    Args:
        path: of the list.
        root: folder to which paths are relative. None: the folder of the list.
        classes: names of the labels that are known; others are an error. None known: those of the list, sorted, numbers by
            value.
        split: train or test: what is taken where a list holds both.
        column: of a CSV with a header, that says which rows are which; None takes all. Of HMDB51's files, the split: 1, 2, 3.

    Raises:
        ConfigurationError: the list is missing or empty, holds a line that is none or a label that is not known, or more
            than a tenth of its videos are not there.
    """
    folder = root or (path if path.is_dir() else path.parent)
    rows = _read_rows(path, split, column)
    if not rows:
        raise ConfigurationError(f"{path}: lists no videos.")
    rows = _without_frames(rows, folder)
    labels = [label for _, label in rows]
    names = tuple(classes) or _class_names(labels)
    unknown = sorted(set(labels) - set(names))
    if unknown:
        raise ConfigurationError(
            f"{path}: the label {short(unknown[0])} is not one of the {len(names)} that the model knows{_hint(labels, names)}."
        )
    number = {name: i for i, name in enumerate(names)}
    paths = [folder / name for name, _ in rows]
    missing = [video for video in paths if not os.path.isfile(video)]  # noqa: PTH113  # no error for what cannot be a path
    example = str(missing[0])[:200] if missing else ""
    if len(missing) == len(paths):
        raise ConfigurationError(
            f"{path}: none of its {len(paths)} videos is there, {example} for one; --root names their folder."
        )
    if len(missing) > _ABSENT * len(paths):
        raise ConfigurationError(
            f"{path}: {len(missing)} of its {len(paths)} videos are not there, {example} for one; take them out of "
            "the list, or name the right folder by --root."
        )
    return VideoList(path, tuple(paths), tuple(number[label] for label in labels), names)


def _without_frames(rows: list[tuple[str, str]], folder: Path) -> list[tuple[str, str]]:
    """Rows of `path frames label` without the numbers of frames, where paths are files only so."""
    matches = [re.fullmatch(r"(.*[^\s,])[\s,]+\d+", name) for name, _ in rows]
    bare = [(match[1], label) for match, (_, label) in zip(matches, rows, strict=True) if match]
    found = [os.path.isfile(folder / name) for name, _ in (*rows, *bare)]  # noqa: PTH113
    return bare if len(bare) == len(rows) and not any(found[: len(rows)]) and any(found) else rows


def _class_names(labels: Sequence[str]) -> tuple[str, ...]:
    """The labels in order, numbers by value; a subset of some dataset's numbers leaves gaps."""
    names = sorted(set(labels))
    return tuple(sorted(names, key=int)) if _are_numbers(names) else tuple(names)


def _are_numbers(labels: Sequence[str]) -> bool:
    return all(label.isascii() and label.isdigit() for label in labels)


def _hint(labels: Sequence[str], names: Sequence[str]) -> str:
    """What is likely meant where a list has names and a model numbers, or the other way round: never guessed."""
    if _are_numbers(labels) == _are_numbers(names):
        return ""
    have, want = ("names", "numbers") if _are_numbers(names) else ("numbers", "names")
    return f", which has {want} where the list has {have}; write its labels as the model has them, {', '.join(names[:3])}, ..."


#: Share of the videos of a list that may be absent; others take their place.
_ABSENT = 0.1
#: Words that only the header of a list has; any other first line is a video.
_HEADINGS = {"path", "label", "file", "filename", "file_name", "video", "video_path", "name", "class", "target"}


def _read_rows(path: Path, split: str, column: str | None) -> list[tuple[str, str]]:
    """(path, label) of each line."""
    if path.is_dir() or "_test_split" in path.name:
        return _read_hmdb51(path, split, column or "1")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}: is no UTF-8 text.") from None
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        return []
    delimiter = _find_delimiter([line for _, line in lines])
    header = next(csv.reader([lines[0][1]], delimiter=delimiter))
    if delimiter != " " and {"path", "label"} <= set(header):
        if column is not None and column not in header:
            raise ConfigurationError(f"--split {column}: {path} has no such column; it has {', '.join(header)}.")
        table = csv.DictReader((line for _, line in lines), delimiter=delimiter)
        rows = [(row["path"], row["label"]) for row in table if column is None or row[column] == split]
        empty = next((row for row in rows if not all(row)), None)
        if empty:
            raise ConfigurationError(f"{path}: the row of {empty[0]!r} has no label.")
        return rows
    if column is not None:
        raise ConfigurationError(f"--split {column}: {path} has no header with path and label.")
    words = [field.strip() for field in header]
    if len(words) > 1 and _HEADINGS & {word.lower() for word in words}:
        if len(words) > 2:
            raise ConfigurationError(f"{path}: its columns are {', '.join(words)[:80]}; two of them must be path and label.")
        lines = lines[1:]
    return [_read_line(path, number, line.strip(), delimiter) for number, line in lines]


def _find_delimiter(lines: Sequence[str]) -> str:
    """What separates label from path: no comma that is in the folders of all paths, `fast,slow/a.mp4 run`."""
    for mark in (",", "\t"):
        ends = [line.rpartition(mark) for line in lines]
        if all(found for _, found, _ in ends) and not all(re.search(r"\.\w+ +\S+\s*$", end) for *_, end in ends):
            return mark
    return " "


def _read_line(path: Path, number: int, line: str, delimiter: str) -> tuple[str, str]:
    if _is_ucf101(path, line):  # testlist01.txt
        return line, Path(line).parent.name
    if line.startswith('"'):
        fields = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))
        name, label = fields[0], fields[-1] if len(fields) > 1 else ""
    else:
        name, _, label = line.rpartition(delimiter)  # blanks in the path stay
    name, label = name.strip(), label.strip()
    if not name or not label:
        raise ConfigurationError(f"{path}, line {number}: {line[:60]!r} is no path and label.")
    if _is_ucf101(path, name) and label.isdigit():
        label = Path(name).parent.name  # UCF101's trainlist01.txt: numbers from 1, which testlist01.txt lacks
    return name, label


def _is_ucf101(path: Path, name: str) -> bool:
    """Whether a line is of UCF101's official lists, Archery/v_Archery_g01_c02.avi in testlist01.txt."""
    named = re.fullmatch(r"(train|test)list\d+\.txt", path.name)
    return bool(named and re.fullmatch(r"(\w+)/v_\w+_g\d+_c\d+\.\w+", name))


def _read_hmdb51(path: Path, split: str, number: str) -> list[tuple[str, str]]:
    """HMDB51's lists: a file a class, `CLASS_test_splitN.txt`, lines `video.avi 1`; 1 is training, 2 test, 0 neither."""
    files = sorted(path.glob(f"*_test_split{number}.txt")) if path.is_dir() else [path]
    wanted = {"train": "1", "test": "2"}[split]
    rows = []
    for file in files:
        label = file.name.partition("_test_split")[0]
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise ConfigurationError(f"{file}: cannot be read: {error.strerror}.") from None
        for line in lines:
            name, _, mark = line.strip().rpartition(" ")
            if mark == wanted:
                rows.append((f"{label}/{name}", label))
    return rows
