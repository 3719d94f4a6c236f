"""What is there of a dataset, and whether it is what its records say."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from synvid.dataset.manifest import outdated
from synvid.dataset.recipe import Recipe
from synvid.dataset.shard import Marker, file_sha256, frames_sha256

__all__ = ["CheckShard", "State", "check_descriptions", "shard_state"]


class State(enum.Enum):
    """Of a shard."""

    DONE = "done"
    MISSING = "missing"
    DAMAGED = "damaged"


def shard_state(recipe: Recipe, folder: Path, shard: int) -> State:
    """Whether a shard is there, told from its record and the sizes of its files; no file is read."""
    marker = Marker.read(folder, shard)
    if marker is None:
        broken = Marker.path(folder, shard).exists() or Marker.damaged_path(folder, shard).exists()
        return State.DAMAGED if broken else State.MISSING
    if [row.get("index") for row in marker.rows] != list(recipe.indices(shard)):
        return State.DAMAGED
    for file in marker.files:
        try:
            if (folder / file["path"]).stat().st_size != file["bytes"]:
                return State.DAMAGED
        except OSError:
            return State.DAMAGED
    return State.DONE


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
            path = Marker.path(self.folder, shard)
            if path.exists():
                path.replace(Marker.damaged_path(self.folder, shard))
            raise RuntimeError(problem)

    def _problem(self, shard: int, tick: Callable[[], None]) -> str:
        state = shard_state(self.recipe, self.folder, shard)
        if state is State.MISSING:
            return "not rendered yet"
        marker = Marker.read(self.folder, shard)
        if marker is None:
            return "its record is damaged"
        for file in marker.files:
            path = self.folder / file["path"]
            if not path.is_file():
                return f"{file['path']} is missing"
            if path.stat().st_size != file["bytes"]:
                return f"{file['path']} has {path.stat().st_size} bytes, not {file['bytes']}"
            if file_sha256(path) != file["sha256"]:
                return f"{file['path']} has been altered"
        if state is State.DAMAGED:
            return "its record does not fit the recipe"
        for row in marker.rows:
            if self.deep and frames_sha256(self.recipe, row["index"]) != row["sha256"]:
                return f"clip {row['index']} renders to other frames"
            tick()
        return ""


def check_descriptions(recipe: Recipe, folder: Path) -> list[str]:
    """Describing files that are not as the records have them; empty if any shard has no record."""
    markers = [Marker.read(folder, shard) for shard in range(recipe.num_shards)]
    done = [marker for marker in markers if marker is not None]
    if len(done) < recipe.num_shards:
        return []
    return list(outdated(recipe, folder, done))
