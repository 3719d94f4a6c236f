"""Labelled videos: find the files of a list's rows, and map labels to class numbers."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from synvid.config.strict_yaml import short
from synvid.errors import ConfigurationError
from synvid.file_formats import VIDEO_SUFFIXES
from synvid.formatting import format_count
from synvid_train.data.list_reader import read_rows
from synvid_train.data.list_rows import SPLIT_NAMES, Listing, ListRow, has_video_suffix, line_error

__all__ = ["VideoList", "class_names", "labels_to_class_numbers", "locate_videos", "read_list"]


#: Maximum fraction of a list's videos that may be missing; training replaces these by other videos.
_MAX_MISSING = 0.1


@dataclass(frozen=True)
class VideoList:
    """Video files and their labels.

    Attributes:
        source: the list.
        paths: video files.
        labels: class number of each video, 0 to len(classes) - 1.
        classes: class names.
        remarks: messages for the user: missing videos, how labels were matched, which rows were used.
    """

    source: Path
    paths: tuple[Path, ...]
    labels: tuple[int, ...]
    classes: tuple[str, ...]
    remarks: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)


def read_list(
    path: Path, root: Path | None = None, classes: Sequence[str] = (), split: str = "train", split_option: str | None = None
) -> VideoList:
    """Read a list of labelled videos.

    Formats: lines `path label` or `path frames label`, separated by a comma, a tab, a semicolon or spaces; CSV whose header
    names path and label; a folder CLASS/VIDEO or SPLIT/CLASS/VIDEO; UCF101's `trainlist01.txt` and `testlist01.txt`;
    HMDB51's folder of `*_test_split1.txt` files, or one of them; Kinetics' CSV or JSON; the JSON of Something-Something v2
    and of Diving48.

    Args:
        path: the list.
        root: folder to which paths are relative. None: the folder of the list.
        classes: class names of the model. Other labels are an error, except that numbers and names may be matched by
            position (`labels_to_class_numbers`). Empty: the labels of the list, in the dataset's numbering if a file next to
            the list defines it; else sorted, numbers by value.
        split: train, val or test: rows to use if the list has splits. If the list has no val rows, test rows are used, and
            vice versa.
        split_option: column that holds the split, in a CSV with a header; for HMDB51 the split number. None uses all rows,
            except that Kinetics has a column of its own.

    Raises:
        ConfigurationError: the list is missing or empty, a line is malformed, a label is missing or unknown, rows name folders
            of frames, or more than a tenth of the videos are missing.
    """
    listing = read_rows(path, root, split_option)
    rows, remarks = _select_split(listing, split, split_option)
    unlabelled = next((row for row in rows if not row.label), None)
    if unlabelled is not None:
        raise line_error(
            path, unlabelled.location, "has no label; a test list that withholds labels can be used neither for training nor "
            "for testing.",
        )  # fmt: skip
    names = tuple(classes) or class_names(listing, rows)
    labels, remark = labels_to_class_numbers(listing, rows, names)
    files = locate_videos(listing, rows)
    paths = tuple(file or listing.folder / row.paths[0] for file, row in zip(files, rows, strict=True))
    remarks += [remark] if remark else []
    label_counts = Counter(file for file, _ in set(zip(paths, labels, strict=True)))
    ambiguous = [file for file, count in label_counts.items() if count > 1]
    if ambiguous:
        remarks.append(f"{path}: {format_count(len(ambiguous), 'video')} with more than one label, e.g. {min(ambiguous)}.")
    missing = [i for i, file in enumerate(files) if file is None]
    if missing:
        remarks.append(_describe_missing(listing, paths, missing, [names[label] for label in labels]))
    return VideoList(path, paths, labels, names, tuple(remarks))


def _describe_missing(listing: Listing, paths: Sequence[Path], missing: Sequence[int], labels: Sequence[str]) -> str:
    """Return a message on missing videos.

    Args:
        listing: the list.
        paths: files of the rows.
        missing: indices of the rows whose file does not exist.
        labels: class name of each row.

    Raises:
        ConfigurationError: too many are missing.
    """
    example = str(paths[missing[0]])[:200]
    message = f"{listing.source}: {len(missing):,} of {len(paths):,} videos are missing, e.g. {example}"
    if len(missing) == len(paths):
        message = f"{listing.source}: none of its {len(paths):,} videos exist, e.g. {example}"
    if len(missing) > _MAX_MISSING * len(paths):
        if listing.lists_frame_folders:
            advice = "its rows look like `folder frames label`, but folders of frames cannot be read"
        elif len(missing) == len(paths):
            advice = "name their folder with --root"
        else:
            advice = "remove them from the list, or name the right folder with --root"
        raise ConfigurationError(f"{message}; {advice}.")
    absent = set(missing)
    present = {label for i, label in enumerate(labels) if i not in absent}
    lost = sorted({labels[i] for i in missing} - present)
    return f"{message}; {f'all videos of class {lost[0]} are missing' if lost else 'every class still has videos'}."


# ---- Splits -------------------------------------------------------------------------------------------------------
def _select_split(listing: Listing, split: str, split_option: str | None) -> tuple[list[ListRow], list[str]]:
    """Return the rows of a split, and messages about the choice."""
    path, rows, remarks = listing.source, listing.rows, []
    if not rows:
        raise ConfigurationError(f"{path}: lists no videos.")
    if listing.unused_split_column:
        remarks.append(f"{path}: all rows are used; `--split {listing.unused_split_column}` selects those of one split.")
    splits = list(dict.fromkeys(row.split for row in rows))
    accepted = {"train": ("train",), "val": ("val", "test"), "test": ("test", "val")}[split]
    selected = next((name for name in accepted if name in splits), None)
    if selected is None and len(splits) == 1 and split_option is None:  # a file of one split, which the user has chosen
        selected = splits[0]
        if selected:
            remarks.append(f"{path}: its rows are marked {selected}; they are used as {split}.")
    if selected is None:
        where = f" in its column {split_option}" if split_option else ""
        raise ConfigurationError(f"{path}: lists no videos for {split}{where}; its rows are marked {', '.join(splits)[:80]}.")
    if selected != split and split == "test" and selected == "val":
        remarks.append(f"{path}: no rows are marked test; those marked val are used.")
    unknown = sorted(set(splits) - set(SPLIT_NAMES.values()) - {""})
    if unknown:
        count = format_count(sum(row.split in unknown for row in rows), "row")
        remarks.append(f"{path}: {count} left out, whose split {short(unknown[0])} is unknown.")
    return [row for row in rows if row.split == selected], remarks


# ---- Files --------------------------------------------------------------------------------------------------------
def locate_videos(listing: Listing, rows: Sequence[ListRow]) -> list[Path | None]:
    """Return the file of each row, None if it does not exist.

    An absolute path that does not exist is also tried relative to the folder, a path without an extension with all of them.

    Raises:
        ConfigurationError: a row names a folder of frames, or the first row is probably a header.
    """
    files = [_find_video(listing, row) for row in rows]
    first = rows[0]
    if listing.may_have_header and files[0] is None and any(files) and not any(row.label == first.label for row in rows[1:]):
        raise line_error(
            listing.source, first.location, f"{short(first.paths[0])} with {short(first.label)} is neither an existing video "
            "nor a known header; write the header as `path,label`, or remove the line.",
        )  # fmt: skip
    return files


def _find_video(listing: Listing, row: ListRow) -> Path | None:
    folder = str(listing.folder)
    for name in row.paths:
        for relative in (name, name.lstrip("/\\")) if name.startswith(("/", "\\")) else (name,):
            for suffix in ("",) if has_video_suffix(name) else ("", *VIDEO_SUFFIXES):
                if os.path.isfile(file := os.path.join(folder, relative + suffix)):
                    return Path(file)
    candidates = [os.path.join(folder, name) for name in (row.paths[0], row.paths[0].lstrip("/\\"))]
    frames = next((candidate for candidate in candidates if os.path.isdir(candidate)), None)
    if frames is not None:
        raise line_error(
            listing.source, row.location, f"{frames} is a folder; folders of frames cannot be read. Make a video of each, "
            f"`ffmpeg -framerate 25 -pattern_type glob -i '{frames}/*.jpg' -qp 0 {frames}.mp4`, and list the videos as "
            "`path label`.",
        )  # fmt: skip
    return None


# ---- Classes ------------------------------------------------------------------------------------------------------
def class_names(listing: Listing, rows: Sequence[ListRow]) -> tuple[str, ...]:
    """Return the labels that occur, in the dataset's numbering if it is known; else sorted, numbers by value."""
    names = sorted({row.label for row in rows})
    if set(names) <= set(listing.class_order):
        return tuple(sorted(names, key=listing.class_order.index))
    return tuple(sorted(names, key=int)) if _are_numbers(names) else tuple(names)


def labels_to_class_numbers(listing: Listing, rows: Sequence[ListRow], names: Sequence[str]) -> tuple[tuple[int, ...], str]:
    """Return the class number of each row, and a message if labels and class names were matched by position.

    Numeric labels are positions in `names`, from 0, if the names are not numbers. Labels that are names are matched to
    numeric class names in the dataset's numbering, or sorted, if there are equally many. Both
    matches may be wrong, so the message says which were made.

    Args:
        listing: the list.
        rows: rows with labels.
        names: class names.

    Raises:
        ConfigurationError: a label is unknown and cannot be matched by position.
    """
    path, numbers = listing.source, {name: i for i, name in enumerate(names)}
    unknown = next((row for row in rows if row.label not in numbers), None)
    if unknown is None:
        return tuple(numbers[row.label] for row in rows), ""
    labels = sorted({row.label for row in rows})
    examples = f"{', '.join(names[:3])[:80]}, ..."
    if _are_numbers(labels) and not _are_numbers(names):
        return _match_numbers(path, rows, names, examples)
    if _are_numbers(names) and not _are_numbers(labels):
        in_order = set(labels) <= set(listing.class_order)
        ordered = list(listing.class_order) if in_order else labels
        if len(ordered) == len(names):
            numbers = {name: i for i, name in enumerate(ordered)}
            first = rows[0].label
            return tuple(numbers[row.label] for row in rows), (
                f"{path}: its labels are names, but the model's classes are numbers; they are matched by position, "
                f"{'in the order of the dataset' if in_order else 'sorted'}, {short(first)} with {names[numbers[first]]}. If "
                "the model numbers classes differently, the result is wrong."
            )
        raise ConfigurationError(
            f"{path}: its labels are {len(labels)} names, but the model's classes are {len(names)} numbers, which cannot be "
            f"matched; use the model's labels, {examples}"
        )
    raise line_error(
        path, unknown.location, f"the label {short(unknown.label)} is not one of the model's {len(names)} classes, {examples}"
    )


def _match_numbers(path: Path, rows: Sequence[ListRow], names: Sequence[str], examples: str) -> tuple[tuple[int, ...], str]:
    """Use numeric labels as positions in the class names."""
    too_large = next((row for row in rows if int(row.label) >= len(names)), None)
    if too_large is not None:
        raise line_error(
            path, too_large.location, f"the label {too_large.label} is not one of 0 to {len(names) - 1}; the model has "
            f"{len(names)} classes, {examples}",
        )  # fmt: skip
    first = int(rows[0].label)
    return tuple(int(row.label) for row in rows), (
        f"{path}: its labels are numbers, but the model's classes are names; they are matched by position, {first} with "
        f"{short(names[first])}. If the list numbers classes differently, the result is wrong."
    )


def _are_numbers(labels: Sequence[str]) -> bool:
    return all(label.isascii() and label.isdigit() for label in labels)
