"""What is there of a dataset, and whether it is what its records say."""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from synvid.dataset.layout import damaged_path, record_path
from synvid.dataset.manifest import read_shard_records, stale_files
from synvid.dataset.recipe import DatasetRecipe
from synvid.dataset.record import ShardRecord, read_rows
from synvid.dataset.shard import frames_sha256
from synvid.storage.atomic_io import file_sha256

__all__ = ["ShardState", "VerifyShard", "shard_state", "stale_descriptions"]


class ShardState(enum.Enum):
    """Of a shard."""

    DONE = "done"
    MISSING = "missing"
    DAMAGED = "damaged"


def shard_state(recipe: DatasetRecipe, folder: Path, shard: int) -> ShardState:
    """Whether a shard of this recipe is there, told from the head of its record and the sizes of its files."""
    record = ShardRecord.read(recipe, folder, shard)
    if record is None:
        broken = record_path(folder, shard).exists() or damaged_path(folder, shard).exists()
        return ShardState.DAMAGED if broken else ShardState.MISSING
    return ShardState.DONE if record.fits_files(folder) else ShardState.DAMAGED


@dataclass(frozen=True)
class VerifyShard:
    """Read a shard again and compare every hash; `deep` renders its clips again as well.

    A damaged shard loses its record, so that the next `render` makes it anew.
    """

    recipe: DatasetRecipe
    folder: Path
    deep: bool

    def __call__(self, shard: int, tick: Callable[[], None]) -> None:
        """Raises RuntimeError that says what is wrong."""
        problem = self._problem(shard, tick)
        if problem:
            with contextlib.suppress(OSError):  # there is none, or nothing may be written here
                record_path(self.folder, shard).replace(damaged_path(self.folder, shard))
            raise RuntimeError(problem)

    def _problem(self, shard: int, tick: Callable[[], None]) -> str:
        record = ShardRecord.read(self.recipe, self.folder, shard)
        if record is None:
            if shard_state(self.recipe, self.folder, shard) is ShardState.MISSING:
                return "not rendered yet"
            return "its record is damaged, or of another recipe"
        for file in record.files:
            path = self.folder / file["path"]
            if not path.is_file():
                return f"{file['path']} is missing"
            if path.stat().st_size != file["bytes"]:
                return f"{file['path']} has {path.stat().st_size} bytes, not {file['bytes']}"
            if file_sha256(path) != file["sha256"]:
                return f"{file['path']} has been altered"
        rows = read_rows(self.recipe, self.folder, shard)
        if rows is None:
            return "the rows in its record are damaged"
        for row in rows:
            if self.deep and frames_sha256(self.recipe, row["index"]) != row["sha256"]:
                return f"clip {row['index']} renders to other frames"
            tick()
        return ""


def stale_descriptions(recipe: DatasetRecipe, folder: Path) -> list[str]:
    """Describing files that are not as the records have them; empty if any shard has no record."""
    records = read_shard_records(recipe, folder)
    return [] if records is None else stale_files(recipe, folder, records)
