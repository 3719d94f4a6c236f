"""The record of a finished shard. It is written last: a shard with a valid record is done.

A record holds the digest of its dataset's recipe. Its first line is a JSON object; then follow the shard's lines of the
manifest and of the list of videos, so that both files are concatenations of the records' lines. Most operations read only the
first lines.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synvid.dataset.layout import clip_key, damaged_path, record_path, shard_files, shard_name, video_path
from synvid.dataset.recipe import DatasetRecipe
from synvid.preset import REAL
from synvid.storage.atomic_io import atomic_write
from synvid.storage.workspace import STATE_FOLDER

__all__ = ["FileEntry", "ManifestRow", "ShardRecord", "read_rows", "row_problem", "write_record"]


#: A row of the manifest; `row_problem` lists its keys.
ManifestRow = dict[str, Any]
#: A file of a shard: path in the dataset, bytes and sha256.
FileEntry = dict[str, Any]


# ---- Records -------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class ShardRecord:
    """First line of a shard's record, without the manifest lines.

    Attributes:
        frames: number of frames of all clips.
        files: path in the dataset, bytes and SHA-256 of every file of the shard.
        lines: number of bytes of the shard's lines of the manifest, and of the list of videos.
        sha256: SHA-256 of these lines.
        start: offset of these lines in the record, bytes.
    """

    frames: int
    files: list[FileEntry]
    lines: tuple[int, int]
    sha256: str
    start: int

    @property
    def size(self) -> int:
        """Number of bytes of all files."""
        return sum(file["bytes"] for file in self.files)

    @classmethod
    def read(cls, recipe: DatasetRecipe, folder: Path, shard: int) -> ShardRecord | None:
        """Read the first line of a shard's record.

        Args:
            recipe: the recipe of the dataset.
            folder: the dataset.
            shard: number of the shard.

        Returns:
            None if the record is missing, damaged or of another recipe.
        """
        try:
            # open() of a string: Path objects take noticeable time for a million clips
            with open(f"{folder}/{STATE_FOLDER}/shard-{shard:06d}.json", "rb") as file:  # noqa: PTH123
                first = file.readline()
                size = os.fstat(file.fileno()).st_size
            head = json.loads(first)
            record = cls(head["frames"], head["files"], (head["manifest"], head["list"]), head["sha256"], len(first))
            names = [item["path"] for item in record.files]
            numbers = (record.frames, *record.lines, *(item["bytes"] for item in record.files))
            hashes = (record.sha256, *(item["sha256"] for item in record.files))
            is_valid = (
                head["recipe"] == recipe.digest
                and head["clips"] == len(recipe.indices(shard))
                and names == shard_files(recipe, shard)
                and all(type(number) is int and number > 0 for number in numbers)
                and all(isinstance(text, str) and len(text) == 64 for text in hashes)
                and size == len(first) + sum(record.lines)
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return record if is_valid else None

    def fits_files(self, folder: Path) -> bool:
        """Return whether all files of the shard exist with the recorded sizes."""
        try:
            return all(os.stat(f"{folder}/{file['path']}").st_size == file["bytes"] for file in self.files)  # noqa: PTH116
        except OSError:
            return False

    def read_lines(self, folder: Path, shard: int, check: bool = True) -> tuple[bytes, bytes] | None:
        """Read the shard's lines of the manifest and of the list of videos.

        Args:
            folder: the dataset.
            shard: number of the shard.
            check: compare the lines with their hash; else only with their number of bytes.

        Returns:
            None if the lines are not as recorded.
        """
        try:
            with open(f"{folder}/{STATE_FOLDER}/shard-{shard:06d}.json", "rb") as file:  # noqa: PTH123  # see `read`
                file.seek(self.start)
                data = file.read()
        except OSError:
            return None
        if len(data) != sum(self.lines) or (check and hashlib.sha256(data).hexdigest() != self.sha256):
            return None
        return data[: self.lines[0]], data[self.lines[0] :]


def write_record(
    recipe: DatasetRecipe, folder: Path, shard: int, files: list[FileEntry], rows: list[ManifestRow], tmp_dir: Path
) -> None:
    """Write the record of a shard atomically, which declares the shard done.

    Args:
        recipe: the recipe of the dataset.
        folder: the dataset.
        shard: number of the shard.
        files: path in the dataset, bytes and SHA-256 of every file of the shard.
        rows: the rows of the manifest.
        tmp_dir: folder for the temporary file.
    """
    manifest = "".join(json.dumps(row) + "\n" for row in rows).encode()
    video_list = _video_list(rows)
    head = {
        "recipe": recipe.digest,
        "clips": len(rows),
        "frames": sum(row["frames"] for row in rows),
        "files": files,
        "manifest": len(manifest),
        "list": len(video_list),
        "sha256": hashlib.sha256(manifest + video_list).hexdigest(),
    }
    atomic_write(record_path(folder, shard), json.dumps(head).encode() + b"\n" + manifest + video_list, tmp_dir)
    damaged_path(folder, shard).unlink(missing_ok=True)


def read_rows(recipe: DatasetRecipe, folder: Path, shard: int) -> list[ManifestRow] | None:
    """Read and check the manifest rows of a finished shard; None if its record or a row is damaged or of another recipe."""
    record = ShardRecord.read(recipe, folder, shard)
    lines = record.read_lines(folder, shard) if record else None
    if record is None or lines is None:
        return None
    try:
        rows = [json.loads(line) for line in lines[0].splitlines()]
    except ValueError:
        return None
    indices = recipe.indices(shard)
    is_valid = len(rows) == len(indices) and not any(map(row_problem, [recipe] * len(rows), indices, rows))
    is_valid = is_valid and _video_list(rows) == lines[1] and sum(row["frames"] for row in rows) == record.frames
    return rows if is_valid and _fits_files(rows, record.files) else None


def _video_list(rows: Iterable[ManifestRow]) -> bytes:
    return "".join(f"{video_path(row)} 0 -1\n" for row in rows).encode()


def _fits_files(rows: list[ManifestRow], files: list[FileEntry]) -> bool:
    """Return whether every clip lies inside its file."""
    if "file_name" in rows[0]:
        return [row["size"] for row in rows] == [file["bytes"] for file in files]
    return all(row["offset"] + row["size"] <= files[0]["bytes"] for row in rows)


# ---- Rows ----------------------------------------------------------------------------------------------------------
def row_problem(recipe: DatasetRecipe, index: int, row: Any) -> str:
    """Check a row of the manifest.

    Args:
        recipe: the recipe of the dataset.
        index: index of the clip that the row should describe.
        row: the row, parsed from JSON.

    Returns:
        What is wrong, or an empty string.
    """
    if not isinstance(row, dict):
        return "is no JSON object"
    expected = _expected_values(recipe, index)
    for key, value in expected.items():
        if type(row.get(key)) is not type(value) or row[key] != value:
            return f"{key} is {row.get(key)!r}, not {value!r}"
    minimums = {"frames": 1, "objects": 0, "size": 1, **({"offset": 512} if recipe.format == "tar" else {})}
    for key, minimum in minimums.items():
        if type(row.get(key)) is not int or row[key] < minimum:
            return f"{key} is {row.get(key)!r}, not a whole number from {minimum}"
    texts = {"sha256", *(("file",) if recipe.real is not None else ())}
    for key in texts:
        if not isinstance(row.get(key), str):
            return f"{key} is {row.get(key)!r}, not text"
    if len(row["sha256"]) != 64 or not set(row["sha256"]) <= set("0123456789abcdef"):
        return f"sha256 is {row['sha256']!r}, not 64 hexadecimal digits"
    unexpected = row.keys() - expected.keys() - minimums.keys() - texts
    return f"has the unexpected key {min(unexpected)!r}" if unexpected else ""


def _expected_values(recipe: DatasetRecipe, index: int) -> ManifestRow:
    """Return the values of a row that follow from the recipe."""
    video, preset = recipe.preset.video, recipe.preset.preset_for_clip(index)
    name = shard_name(recipe, index // recipe.shard_size)
    location = {"shard": name} if recipe.format == "tar" else {"file_name": f"{name}/{clip_key(index)}.mp4"}
    return {
        "key": clip_key(index),
        "index": index,
        "preset": REAL if preset is None else preset.name,
        "seed": recipe.seed,
        "fps": float(video.fps),
        "width": video.width,
        "height": video.height,
        "recipe": recipe.digest,
        **location,
    }
