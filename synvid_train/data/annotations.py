"""Labelled videos: from the rows of a list to files that are there and the numbers of their classes."""

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
from synvid_train.data.video_lists import PARTS, Listing, ListRow, has_extension, read_rows

__all__ = ["VideoList", "class_names", "describe_missing", "locate_videos", "number_labels", "read_list"]


#: Share of the videos of a list that may be absent; others take their place.
_ABSENT = 0.1


@dataclass(frozen=True)
class VideoList:
    """Videos and what they show.

    Attributes:
        source: the file that lists them.
        paths: of the videos.
        labels: of each, a number below len(classes).
        classes: names of the labels.
        remarks: sentences that who uses the list should hear: what is missing, what was taken for what.
    """

    source: Path
    paths: tuple[Path, ...]
    labels: tuple[int, ...]
    classes: tuple[str, ...]
    remarks: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)


def read_list(
    path: Path, root: Path | None = None, classes: Sequence[str] = (), split: str = "train", column: str | None = None
) -> VideoList:
    """Read a list of labelled videos.

    It is one of: lines `path label` or `path frames label`, separated by a comma, a tab, a semicolon or a blank; a CSV whose
    header names path and label; a folder with CLASS/VIDEO or SPLIT/CLASS/VIDEO; UCF101's `trainlist01.txt` and
    `testlist01.txt`; HMDB51's folder of `*_test_split1.txt` files, or one of them; Kinetics' CSV or JSON; the JSON of
    Something-Something v2 and of Diving48.

    Args:
        path: of the list.
        root: folder to which paths are relative. None: the folder of the list.
        classes: names of the labels that are known; others are an error, but for numbers in place of names and names in place
            of numbers, see `number_labels`. None known: those of the list, as its dataset numbers them where a file beside it
            says so; else sorted, numbers by value.
        split: train, val or test: what is taken where a list has parts. One of val and test stands in for the other.
        column: of a CSV with a header, that says which rows are of which part; None takes all, of Kinetics those of its own
            column. Of HMDB51's files, the split: 1, 2, 3.

    Raises:
        ConfigurationError: the list is missing or empty, holds a line that is not understood, a label that is not known or
            none, or folders of frames, or more than a tenth of its videos are not there.
    """
    listing = read_rows(path, root, column)
    rows, remarks = _of_part(listing, split, column)
    blank = next((row for row in rows if not row.label), None)
    if blank is not None:
        raise ConfigurationError(
            f"{path}, {blank.place}: has no label, as the lists of a test do whose labels are kept secret; videos without "
            "labels can be neither trained nor tested on."
        )
    names = tuple(classes) or class_names(listing, rows)
    labels, remark = number_labels(listing, rows, names)
    found = locate_videos(listing, rows)
    missing = [i for i, file in enumerate(found) if file is None]
    paths = tuple(file or listing.folder / row.names[0] for file, row in zip(found, rows, strict=True))
    remarks += [remark] if remark else []
    pairs = Counter(file for file, _ in set(zip(paths, labels, strict=True)))
    torn = [file for file, count in pairs.items() if count > 1]
    if torn:
        remarks.append(f"{path}: {format_count(len(torn), 'video')} with more than one label, {min(torn)} for one.")
    if missing:
        sentence = describe_missing(path, [paths[i] for i in missing], len(paths))
        if len(missing) > _ABSENT * len(paths):
            hint = "its rows look like `folder frames label`, but folders of frames are not read" if listing.frames else (
                "--root names their folder" if len(missing) == len(paths) else
                "take them out of the list, or name the right folder by --root"
            )  # fmt: skip
            raise ConfigurationError(f"{sentence}; {hint}.")
        there = {labels[i] for i in range(len(paths)) if found[i] is not None}
        gone = sorted({names[labels[i]] for i in missing if labels[i] not in there})
        remarks.append(f"{sentence}; {f'none of {gone[0]} is there' if gone else 'of each class some are there'}.")
    return VideoList(path, paths, labels, names, tuple(remarks))


def describe_missing(path: Path, missing: Sequence[Path], count: int) -> str:
    """How many videos of a list are not there, and one of them; without a full stop."""
    example = str(missing[0])[:200]
    if len(missing) == count:
        return f"{path}: none of its {count:,} videos is there, {example} for one"
    return f"{path}: {len(missing):,} of {count:,} videos are missing, {example} for one"


# ---- Parts --------------------------------------------------------------------------------------------------------
def _of_part(listing: Listing, split: str, column: str | None) -> tuple[list[ListRow], list[str]]:
    """Rows of a part, and what is to be said of the choice."""
    path, rows, remarks = listing.source, listing.rows, []
    if not rows:
        raise ConfigurationError(f"{path}: lists no videos.")
    if listing.unused:
        remarks.append(f"{path}: all rows are taken; `--split {listing.unused}` takes those of one part.")
    there = list(dict.fromkeys(row.part for row in rows))
    wanted = {"train": ("train",), "val": ("val", "test"), "test": ("test", "val")}[split]
    part = next((part for part in wanted if part in there), None)
    if part is None and len(there) == 1 and column is None:  # a file of one part, named by who wants it
        part = there[0]
        if part:
            remarks.append(f"{path}: its rows are marked {part}; they are taken for {split}.")
    if part is None:
        where = f" in its column {column}" if column else ""
        raise ConfigurationError(f"{path}: lists no videos for {split}{where}; its rows are marked {', '.join(there)[:80]}.")
    if part != split and split == "test" and part == "val":
        remarks.append(f"{path}: no rows are marked test; those marked val are taken.")
    others = sorted(set(there) - set(PARTS.values()) - {""})
    if others:
        count = format_count(sum(row.part in others for row in rows), "row")
        remarks.append(f"{path}: {count} of no part that is known, marked {short(others[0])}, left out.")
    return [row for row in rows if row.part == part], remarks


# ---- Files --------------------------------------------------------------------------------------------------------
def locate_videos(listing: Listing, rows: Sequence[ListRow]) -> list[Path | None]:
    """The file of each row, None where it is not there.

    Paths that begin with / and are not there are looked for below the folder, too, and names without an extension with one.

    Raises:
        ConfigurationError: a row is a folder of frames, or rather a header than a video.
    """
    found = [_find_video(listing, row) for row in rows]
    first = rows[0]
    if listing.unsure and found[0] is None and any(found) and not any(row.label == first.label for row in rows[1:]):
        raise ConfigurationError(
            f"{listing.source}, {first.place}: {short(first.names[0])} with {short(first.label)} is neither a video that is "
            "there nor a header that is known; make it `path,label`, or take it out."
        )
    return found


def _find_video(listing: Listing, row: ListRow) -> Path | None:
    folder = str(listing.folder)
    for name in row.names:
        for start in (name, name.lstrip("/\\")) if name.startswith(("/", "\\")) else (name,):
            for end in ("",) if has_extension(name) else ("", *VIDEO_SUFFIXES):
                if os.path.isfile(file := os.path.join(folder, start + end)):
                    return Path(file)
    places = [os.path.join(folder, name) for name in (row.names[0], row.names[0].lstrip("/\\"))]
    frames = [place for place in places if os.path.isdir(place)]
    if frames:
        raise ConfigurationError(
            f"{listing.source}, {row.place}: {frames[0]} is a folder; folders of frames are not read. "
            f"`ffmpeg -framerate 25 -pattern_type glob -i '{frames[0]}/*.jpg' -qp 0 {frames[0]}.mp4` makes a video of one; "
            "list the videos as `path label`."
        )
    return None


# ---- Classes ------------------------------------------------------------------------------------------------------
def class_names(listing: Listing, rows: Sequence[ListRow]) -> tuple[str, ...]:
    """The labels as their dataset numbers them, or sorted, numbers by value; a subset of them leaves gaps."""
    names = sorted({row.label for row in rows})
    if set(names) <= set(listing.order):
        return tuple(sorted(names, key=listing.order.index))
    return tuple(sorted(names, key=int)) if _are_numbers(names) else tuple(names)


def number_labels(listing: Listing, rows: Sequence[ListRow], names: Sequence[str]) -> tuple[tuple[int, ...], str]:
    """The place of each label among the names, and what is to be said of it, if anything.

    Numbers stand for the names at their places, from 0, where the names are no numbers. Names stand for numbers in the order
    of their dataset, or sorted, where there are as many. Both may be wrong, so both are said.

    Raises:
        ConfigurationError: a label is none of the names, and stands for none.
    """
    path, number = listing.source, {name: i for i, name in enumerate(names)}
    unknown = next((row for row in rows if row.label not in number), None)
    if unknown is None:
        return tuple(number[row.label] for row in rows), ""
    labels, first = sorted({row.label for row in rows}), rows[0].label
    if _are_numbers(labels) and not _are_numbers(names):
        beyond = next((row for row in rows if int(row.label) >= len(names)), None)
        if beyond is not None:
            raise ConfigurationError(
                f"{path}, {beyond.place}: the label {beyond.label} is not one of 0 to {len(names) - 1}, as the model has "
                f"{len(names)} classes, {', '.join(names[:3])}, ..."
            )
        return tuple(int(row.label) for row in rows), (
            f"{path}: its labels are numbers, and the model has names: they are taken by position, {int(first)} for "
            f"{short(names[int(first)])}; if the list counts otherwise, the result is wrong."
        )
    if _are_numbers(names) and not _are_numbers(labels):
        known = set(labels) <= set(listing.order)
        order = list(listing.order) if known else labels
        if len(order) == len(names):
            number = {name: i for i, name in enumerate(order)}
            how = "in the order of their dataset" if known else "sorted"
            return tuple(number[row.label] for row in rows), (
                f"{path}: its labels are names, and the model has numbers: they are taken by position, {how}, {short(first)} "
                f"for {names[number[first]]}; if the model counts otherwise, the result is wrong."
            )
        raise ConfigurationError(
            f"{path}: its labels are {len(labels)} names, and the model has {len(names)} numbers, which cannot be matched; "
            f"write its labels as the model has them, {', '.join(names[:3])}, ..."
        )
    raise ConfigurationError(
        f"{path}, {unknown.place}: the label {short(unknown.label)} is not one of the {len(names)} that the model knows, "
        f"{', '.join(names[:3])[:80]}, ..."
    )


def _are_numbers(labels: Sequence[str]) -> bool:
    return all(label.isascii() and label.isdigit() for label in labels)
