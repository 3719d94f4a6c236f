"""The record of a finished shard: written last, it means done. It is bound to the recipe of its dataset.

A record is a file of lines. The first is its head, JSON; then come the shard's lines of the manifest and of the list of
videos, so that both files are the records' lines one after the other. Most work needs the heads only.
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

__all__ = ["ShardRecord", "read_rows", "row_problem", "write_record"]


Row = dict[str, Any]


# ---- Records -------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class ShardRecord:
    """The head of a record.

    Attributes:
        frames: of all clips.
        files: path in the dataset, bytes and SHA-256 of every file.
        lines: bytes of the shard's lines of the manifest, and of the list of videos.
        sha256: of these lines.
        start: where they begin in the record, bytes.
    """

    frames: int
    files: list[Row]
    lines: tuple[int, int]
    sha256: str
    start: int

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file["bytes"] for file in self.files)

    @classmethod
    def read(cls, recipe: DatasetRecipe, folder: Path, shard: int) -> ShardRecord | None:
        """The head of a shard's record; None unless it is whole and of this recipe."""
        try:
            with open(f"{folder}/{STATE_FOLDER}/shard-{shard:06d}.json", "rb") as file:  # noqa: PTH123  # a million times
                first = file.readline()
                size = os.fstat(file.fileno()).st_size
            head = json.loads(first)
            record = cls(head["frames"], head["files"], (head["manifest"], head["list"]), head["sha256"], len(first))
            names = [item["path"] for item in record.files]
            numbers = (record.frames, *record.lines, *(item["bytes"] for item in record.files))
            hashes = (record.sha256, *(item["sha256"] for item in record.files))
            whole = (
                head["recipe"] == recipe.digest
                and head["clips"] == len(recipe.indices(shard))
                and names == shard_files(recipe, shard)
                and all(type(number) is int and number > 0 for number in numbers)
                and all(isinstance(text, str) and len(text) == 64 for text in hashes)
                and size == len(first) + sum(record.lines)
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return record if whole else None

    def fits_files(self, folder: Path) -> bool:
        """Whether the shard's files are there and have the sizes that the record says."""
        try:
            return all(os.stat(f"{folder}/{file['path']}").st_size == file["bytes"] for file in self.files)  # noqa: PTH116
        except OSError:
            return False

    def read_lines(self, folder: Path, shard: int, check: bool = True) -> tuple[bytes, bytes] | None:
        """The shard's lines of the manifest and of the list of videos; None if they are not as they were written.

        Args:
            folder: of the dataset.
            shard: its number.
            check: compare them with their hash; else their number of bytes must do.
        """
        try:
            with open(f"{folder}/{STATE_FOLDER}/shard-{shard:06d}.json", "rb") as file:  # noqa: PTH123  # a million times
                file.seek(self.start)
                data = file.read()
        except OSError:
            return None
        if len(data) != sum(self.lines) or (check and hashlib.sha256(data).hexdigest() != self.sha256):
            return None
        return data[: self.lines[0]], data[self.lines[0] :]


def write_record(recipe: DatasetRecipe, folder: Path, shard: int, files: list[Row], rows: list[Row], room: Path) -> None:
    """Declare a shard done, by way of a workspace."""
    manifest = "".join(json.dumps(row) + "\n" for row in rows).encode()
    listed = _list_lines(rows)
    head = {
        "recipe": recipe.digest,
        "clips": len(rows),
        "frames": sum(row["frames"] for row in rows),
        "files": files,
        "manifest": len(manifest),
        "list": len(listed),
        "sha256": hashlib.sha256(manifest + listed).hexdigest(),
    }
    atomic_write(record_path(folder, shard), json.dumps(head).encode() + b"\n" + manifest + listed, room)
    damaged_path(folder, shard).unlink(missing_ok=True)


def read_rows(recipe: DatasetRecipe, folder: Path, shard: int) -> list[Row] | None:
    """The rows of a finished shard; None unless record and rows are whole, and of this recipe."""
    record = ShardRecord.read(recipe, folder, shard)
    lines = record.read_lines(folder, shard) if record else None
    if record is None or lines is None:
        return None
    try:
        rows = [json.loads(line) for line in lines[0].splitlines()]
    except ValueError:
        return None
    indices = recipe.indices(shard)
    sound = len(rows) == len(indices) and not any(map(row_problem, [recipe] * len(rows), indices, rows))
    sound = sound and _list_lines(rows) == lines[1] and sum(row["frames"] for row in rows) == record.frames
    return rows if sound and _fits_files(rows, record.files) else None


def _list_lines(rows: Iterable[Row]) -> bytes:
    return "".join(f"{video_path(row)} 0 -1\n" for row in rows).encode()


def _fits_files(rows: list[Row], files: list[Row]) -> bool:
    """Whether every clip lies inside its file."""
    if "file_name" in rows[0]:
        return [row["size"] for row in rows] == [file["bytes"] for file in files]
    return all(row["offset"] + row["size"] <= files[0]["bytes"] for row in rows)


# ---- Rows ----------------------------------------------------------------------------------------------------------
def row_problem(recipe: DatasetRecipe, index: int, row: Any) -> str:
    """What is wrong with a row of the manifest; empty if nothing is.

    Args:
        recipe: of the dataset.
        index: of the clip that it should describe.
        row: as it was read.
    """
    if not isinstance(row, dict):
        return "is no JSON object"
    expected = _known(recipe, index)
    for key, value in expected.items():
        if type(row.get(key)) is not type(value) or row[key] != value:
            return f"{key} is {row.get(key)!r}, not {value!r}"
    free = {"frames": 1, "objects": 0, "size": 1, **({"offset": 512} if recipe.format == "tar" else {})}
    for key, low in free.items():
        if type(row.get(key)) is not int or row[key] < low:
            return f"{key} is {row.get(key)!r}, not a whole number from {low}"
    texts = {"sha256", *(("file",) if recipe.real is not None else ())}
    for key in texts:
        if not isinstance(row.get(key), str):
            return f"{key} is {row.get(key)!r}, not text"
    if len(row["sha256"]) != 64 or not set(row["sha256"]) <= set("0123456789abcdef"):
        return f"sha256 is {row['sha256']!r}, not 64 hexadecimal digits"
    foreign = row.keys() - expected.keys() - free.keys() - texts
    return f"has the key {min(foreign)!r}, which no row has" if foreign else ""


def _known(recipe: DatasetRecipe, index: int) -> Row:
    """What the recipe alone says of a clip."""
    video, chosen = recipe.preset.video, recipe.preset.preset_for_clip(index)
    place = shard_name(recipe, index // recipe.shard_size)
    where = {"shard": place} if recipe.format == "tar" else {"file_name": f"{place}/{clip_key(index)}.mp4"}
    return {
        "key": clip_key(index),
        "index": index,
        "preset": REAL if chosen is None else chosen.name,
        "seed": recipe.seed,
        "fps": float(video.fps),
        "width": video.width,
        "height": video.height,
        "recipe": recipe.digest,
        **where,
    }
