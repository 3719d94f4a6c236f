"""Report the contents of a list of labelled videos, missing files, and files that cannot be decoded."""

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
from synvid_train.data.list_reader import read_rows
from synvid_train.data.list_rows import ListRow
from synvid_train.data.video_list import class_names, labels_to_class_numbers, locate_videos

__all__ = ["ListReport", "SplitReport", "check_list"]


#: Files named in the text report; the JSON has all.
_MAX_EXAMPLES = 3


@dataclass(frozen=True)
class SplitReport:
    """Contents of one split of a list.

    Attributes:
        split: train, val, test or another name; empty if the list has no splits.
        videos: number of rows.
        classes: number of videos of each class that occurs, the largest first.
        unlabelled: number of rows without a label.
        missing: files that do not exist.
        repeated: files that are listed more than once.
        undecodable: error messages of files that cannot be decoded; None if decoding was not requested.
    """

    split: str
    videos: int
    classes: dict[str, int]
    unlabelled: int
    missing: tuple[str, ...]
    repeated: tuple[str, ...]
    undecodable: tuple[str, ...] | None

    def format_lines(self) -> list[str]:
        """Return the report as text lines."""
        names = list(self.classes)
        lines = [
            f"{self.split or 'all'}: {format_count(self.videos, 'video')} in {len(names):,} class{'es' * (len(names) != 1)}"
        ]
        if names:
            smallest, largest = (f"{self.classes[name]:,} ({name})" for name in (names[-1], names[0]))
            lines[0] += f", {smallest} to {largest} each"
        if self.unlabelled:
            lines.append(f"  without a label: {self.unlabelled:,}")
        for what, files in (
            ("missing", self.missing),
            ("listed more than once", self.repeated),
            ("undecodable", self.undecodable),
        ):
            if files:
                lines.append(f"  {what}: {len(files):,} of {self.videos:,}, {_format_examples(files)}")
        if self.undecodable == ():
            lines.append("  undecodable: none of the existing files")
        return lines


@dataclass(frozen=True)
class ListReport:
    """Contents of a list.

    Attributes:
        source: the file or folder.
        format: description of the list's format.
        folder: folder to which its paths are relative.
        splits: report of each split.
        shared: files that are in more than one split.
        remarks: messages for the user.
    """

    source: str
    format: str
    folder: str
    splits: tuple[SplitReport, ...]
    shared: tuple[str, ...]
    remarks: tuple[str, ...]

    @property
    def problem(self) -> str:
        """Error message if files are missing or cannot be decoded, else an empty string."""
        missing = sum(len(report.missing) for report in self.splits)
        undecodable = sum(len(report.undecodable or ()) for report in self.splits)
        videos = sum(report.videos for report in self.splits)
        counts = [f"{count:,} {what}" for count, what in ((missing, "missing"), (undecodable, "undecodable")) if count]
        return f"{self.source}: of {format_count(videos, 'video')}, {' and '.join(counts)}." if counts else ""

    def format_lines(self) -> list[str]:
        """Return the report as text lines."""
        lines = [f"{self.source}: {self.format}; paths relative to {self.folder}", *self.remarks]
        lines += [line for report in self.splits for line in report.format_lines()]
        if self.shared:
            lines.append(f"in more than one split: {len(self.shared):,}, {_format_examples(self.shared)}")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Return the report for JSON, with `is_complete`: no file is missing or undecodable."""
        return {**asdict(self), "is_complete": not self.problem}


def check_list(
    path: Path,
    root: Path | None = None,
    classes: Sequence[str] = (),
    split_option: str | None = None,
    decode: bool = False,
    workers: int = 1,
    progress: Progress | None = None,
) -> ListReport:
    """Report on a list, in all its splits.

    Args:
        path: a list in any format that `read_list` reads.
        root: folder to which paths are relative. None: the folder of the list.
        classes: class names of the model that labels must match; empty: any labels.
        split_option: column that holds the split, or HMDB51's split number, as for `read_list`.
        decode: decode every existing video from the first frame to the last.
        workers: number of processes that decode.
        progress: called for each decoded video.

    Raises:
        ConfigurationError: the list cannot be read or is empty, or the model does not have one of its labels.
    """
    listing = read_rows(path, root, split_option)
    if not listing.rows:
        raise ConfigurationError(f"{path}: lists no videos.")
    labelled = [row for row in listing.rows if row.label]
    _, remark = (
        labels_to_class_numbers(listing, labelled, tuple(classes) or class_names(listing, labelled)) if labelled else ((), "")
    )
    located = locate_videos(listing, listing.rows)
    files = [str(file or listing.folder / row.paths[0]) for file, row in zip(located, listing.rows, strict=True)]
    errors = _find_undecodable(sorted({str(file) for file in located if file}), workers, progress) if decode else None
    splits = dict.fromkeys(row.split for row in listing.rows)
    entries = list(zip(listing.rows, files, located, strict=True))
    reports = tuple(_report_split(split, [entry for entry in entries if entry[0].split == split], errors) for split in splits)
    split_counts = Counter(file for _, file in dict.fromkeys((row.split, file) for row, file, _ in entries))
    shared = tuple(file for file, count in split_counts.items() if count > 1)
    column_hint = f"--split {listing.unused_split_column} separates its splits." if listing.unused_split_column else ""
    remarks = tuple(message for message in (column_hint, remark) if message)
    return ListReport(str(path), listing.format, str(listing.folder), reports, shared, remarks)


def _report_split(
    split: str, entries: Sequence[tuple[ListRow, str, Path | None]], errors: dict[str, str] | None
) -> SplitReport:
    classes = Counter(row.label for row, *_ in entries if row.label)
    file_counts = Counter(file for _, file, _ in entries)
    return SplitReport(
        split,
        len(entries),
        dict(classes.most_common()),
        sum(not row.label for row, *_ in entries),
        tuple(file for _, file, located in entries if located is None),
        tuple(file for file, count in file_counts.items() if count > 1),
        None if errors is None else tuple(errors[file] for file in file_counts if file in errors),
    )


def _find_undecodable(files: Sequence[str], workers: int, progress: Progress | None) -> dict[str, str]:
    """Return an error message for each file that cannot be decoded."""
    tasks = ((i, 1) for i in range(len(files)))
    failed = run_tasks(_VideoDecoder(files), tasks, workers, progress or Progress(), unit="video")
    return {files[i]: message for i, message in sorted(failed.items())}


@dataclass(frozen=True)
class _VideoDecoder:
    """Task that decodes one of `files`; picklable, for worker processes."""

    files: Sequence[str]

    def __call__(self, index: int, on_progress: Callable[[], None]) -> None:
        """Decode all frames and discard them. Raises RuntimeError, which does not end the other tasks."""
        try:
            with VideoFile(self.files[index]) as video:
                for _ in video.stream(range(video.num_frames)):
                    pass
        except DatasetError as error:
            raise RuntimeError(str(error)) from None
        finally:
            on_progress()


def _format_examples(files: Sequence[str]) -> str:
    more = f" and {len(files) - _MAX_EXAMPLES:,} more" if len(files) > _MAX_EXAMPLES else ""
    return ", ".join(file[:200] for file in files[:_MAX_EXAMPLES]) + more
