"""What a list of labelled videos holds, what of it is missing, and what cannot be decoded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from synvid.errors import ConfigurationError, DatasetError
from synvid.formatting import format_count
from synvid.runtime.local_executor import run_tasks
from synvid.runtime.progress import Progress
from synvid.video.decode import VideoFile
from synvid_train.data.annotations import class_names, locate_videos, number_labels
from synvid_train.data.video_lists import ListRow, read_rows

__all__ = ["ListReport", "PartReport", "check_list"]


#: Files that are named in words; the JSON has all.
_NAMED = 3


@dataclass(frozen=True)
class PartReport:
    """What a part of a list holds.

    Attributes:
        part: train, val, test, or another word of the list; empty where it has no parts.
        videos: rows.
        classes: videos of each class that occurs, the most first.
        unlabelled: rows without a label.
        missing: files that are not there.
        repeated: files that are listed more than once.
        undecodable: sentences on files that cannot be decoded; None where nobody asked.
    """

    part: str
    videos: int
    classes: dict[str, int]
    unlabelled: int
    missing: tuple[str, ...]
    repeated: tuple[str, ...]
    undecodable: tuple[str, ...] | None

    def lines(self) -> list[str]:
        """The same in words."""
        names = list(self.classes)
        lines = [
            f"{self.part or 'all'}: {format_count(self.videos, 'video')} of {len(names):,} class{'es' * (len(names) != 1)}"
        ]
        if names:
            fewest, most = (f"{self.classes[name]:,} ({name})" for name in (names[-1], names[0]))
            lines[0] += f", {fewest} to {most} each"
        if self.unlabelled:
            lines.append(f"  without a label: {self.unlabelled:,}")
        for what, files in (("missing", self.missing), ("listed twice", self.repeated), ("undecodable", self.undecodable)):
            if files:
                lines.append(f"  {what}: {len(files):,} of {self.videos:,}, {_some(files)}")
        if self.undecodable == ():
            lines.append("  undecodable: none of those that are there")
        return lines


@dataclass(frozen=True)
class ListReport:
    """What a list holds.

    Attributes:
        source: the file or folder.
        format: what kind of list it is.
        folder: to which its paths are relative.
        parts: of it.
        shared: files that are in more than one part.
        remarks: what else is to be said.
    """

    source: str
    format: str
    folder: str
    parts: tuple[PartReport, ...]
    shared: tuple[str, ...]
    remarks: tuple[str, ...]

    @property
    def problem(self) -> str:
        """What is missing or cannot be decoded, in a sentence; empty if nothing is."""
        missing = sum(len(part.missing) for part in self.parts)
        broken = sum(len(part.undecodable or ()) for part in self.parts)
        videos = sum(part.videos for part in self.parts)
        both = [f"{count:,} {what}" for count, what in ((missing, "missing"), (broken, "undecodable")) if count]
        return f"{self.source}: of {format_count(videos, 'video')} {' and '.join(both)}." if both else ""

    def lines(self) -> list[str]:
        """The same in words."""
        lines = [f"{self.source}: {self.format}; videos below {self.folder}", *self.remarks]
        lines += [line for part in self.parts for line in part.lines()]
        if self.shared:
            lines.append(f"in more than one part: {len(self.shared):,}, {_some(self.shared)}")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON has it, with `is_whole`: nothing is missing or broken."""
        return {**asdict(self), "is_whole": not self.problem}


def check_list(
    path: Path,
    root: Path | None = None,
    classes: Sequence[str] = (),
    column: str | None = None,
    is_decoded: bool = False,
    workers: int = 1,
    progress: Progress | None = None,
) -> ListReport:
    """See what a list holds, in all its parts.

    Args:
        path: of the list, of any format that `read_list` knows.
        root: folder to which paths are relative. None: the folder of the list.
        classes: names of the labels that a model knows.
        column: as of `read_list`.
        is_decoded: decode all videos that are there, from their first frame to their last.
        workers: processes that decode.
        progress: told of videos that are decoded.

    Raises:
        ConfigurationError: the list cannot be read, is empty, or has labels that the model does not know.
    """
    listing = read_rows(path, root, column)
    if not listing.rows:
        raise ConfigurationError(f"{path}: lists no videos.")
    labelled = [row for row in listing.rows if row.label]
    _, remark = number_labels(listing, labelled, tuple(classes) or class_names(listing, labelled)) if labelled else ((), "")
    found = locate_videos(listing, listing.rows)
    files = [str(file or listing.folder / row.names[0]) for file, row in zip(found, listing.rows, strict=True)]
    broken = _undecodable(sorted({str(file) for file in found if file}), workers, progress) if is_decoded else None
    there = dict.fromkeys(row.part for row in listing.rows)
    triples = list(zip(listing.rows, files, found, strict=True))
    parts = tuple(_part(part, [triple for triple in triples if triple[0].part == part], broken) for part in there)
    several = Counter(file for _, file in dict.fromkeys((row.part, file) for row, file, _ in triples))
    shared = tuple(file for file, count in several.items() if count > 1)
    unused = f"--split {listing.unused} tells its parts apart." if listing.unused else ""
    remarks = tuple(sentence for sentence in (unused, remark) if sentence)
    return ListReport(str(path), listing.format, str(listing.folder), parts, shared, remarks)


def _part(part: str, rows: Sequence[tuple[ListRow, str, Path | None]], broken: dict[str, str] | None) -> PartReport:
    classes = Counter(row.label for row, *_ in rows if row.label)
    times = Counter(file for _, file, _ in rows)
    return PartReport(
        part,
        len(rows),
        dict(classes.most_common()),
        sum(not row.label for row, *_ in rows),
        tuple(file for _, file, found in rows if found is None),
        tuple(file for file, count in times.items() if count > 1),
        None if broken is None else tuple(broken[file] for file in times if file in broken),
    )


def _undecodable(files: Sequence[str], workers: int, progress: Progress | None) -> dict[str, str]:
    """Sentences on the files that cannot be decoded."""
    failed = run_tasks(_Decode(files), ((i, 1) for i in range(len(files))), workers, progress or Progress(), unit="video")
    return {files[i]: sentence for i, sentence in sorted(failed.items())}


@dataclass(frozen=True)
class _Decode:
    """Decodes a file of some to its end."""

    files: Sequence[str]

    def __call__(self, i: int, tick: Callable[[], None]) -> None:
        """No frame is kept; RuntimeError, for which the others need not end, if it fails."""
        try:
            with VideoFile(self.files[i]) as film:
                for _ in film.stream(range(film.num_frames)):
                    pass
        except DatasetError as error:
            raise RuntimeError(str(error)) from None
        finally:
            tick()


def _some(files: Sequence[str]) -> str:
    more = f" and {len(files) - _NAMED:,} more" if len(files) > _NAMED else ""
    return ", ".join(file[:200] for file in files[:_NAMED]) + more
