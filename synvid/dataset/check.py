"""What is there of a dataset, and whether it is what its records say."""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from synvid.dataset.manifest import outdated, read_records
from synvid.dataset.recipe import Recipe
from synvid.dataset.record import Record, damaged_path, read_rows, record_path
from synvid.dataset.shard import file_sha256, frames_sha256

__all__ = ["CheckShard", "State", "check_descriptions", "shard_state"]


class State(enum.Enum):
    """Of a shard."""

    DONE = "done"
    MISSING = "missing"
    DAMAGED = "damaged"


def shard_state(recipe: Recipe, folder: Path, shard: int) -> State:
    """Whether a shard of this recipe is there, told from the head of its record and the sizes of its files."""
    record = Record.read(recipe, folder, shard)
    if record is None:
        broken = record_path(folder, shard).exists() or damaged_path(folder, shard).exists()
        return State.DAMAGED if broken else State.MISSING
    return State.DONE if record.fits_files(folder) else State.DAMAGED


@dataclass(frozen=True)
class CheckShard:
    """Read a shard again and compare every hash; `deep` renders its clips again as well.

    A damaged shard loses its record, so that the next `render` makes it anew.
    """

    recipe: Recipe
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
        record = Record.read(self.recipe, self.folder, shard)
        if record is None:
            if shard_state(self.recipe, self.folder, shard) is State.MISSING:
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


def check_descriptions(recipe: Recipe, folder: Path) -> list[str]:
    """Describing files that are not as the records have them; empty if any shard has no record."""
    records = read_records(recipe, folder)
    return [] if records is None else outdated(recipe, folder, records)
