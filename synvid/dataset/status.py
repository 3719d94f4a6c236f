"""Which shards of a dataset are done, missing or damaged, from the first lines of records and the sizes of files."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from synvid.config.arguments import parse_path
from synvid.dataset.layout import MANIFEST_FILES, damaged_path, record_path
from synvid.dataset.recipe import DatasetRecipe
from synvid.dataset.record import ShardRecord

__all__ = ["DatasetStatus", "ShardState", "ShardStates", "dataset_status", "read_shard_states", "shard_state"]


class ShardState(enum.Enum):
    """State of a shard."""

    DONE = "done"
    MISSING = "missing"
    DAMAGED = "damaged"


@dataclass(frozen=True)
class ShardStates:
    """The states of some shards.

    Attributes:
        done: records of the finished shards, by shard number.
        missing: numbers of the shards that were never finished.
        damaged: numbers of the shards whose record or files are damaged.
    """

    done: dict[int, ShardRecord]
    missing: list[int]
    damaged: list[int]


@dataclass(frozen=True)
class DatasetStatus:
    """The state of a dataset.

    Attributes:
        n: number of clips of the whole dataset.
        shards: number of shards of the whole dataset.
        finished: all shards are done and the manifest is written.
        done: numbers of the finished shards.
        missing: numbers of the shards that were never finished.
        damaged: numbers of the shards whose record or files are damaged.

    Examples:
        >>> import tempfile, synvid
        >>> preset = synvid.load_preset("moving_circles", {"video.width": 32, "video.height": 32, "objects.count": 5})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     result = synvid.render_dataset(preset, n=2, out=folder, workers=1)
        ...     synvid.dataset_status(folder).done
        [0]
    """

    n: int
    shards: int
    finished: bool
    done: list[int]
    missing: list[int]
    damaged: list[int]


def shard_state(recipe: DatasetRecipe, folder: Path, shard: int) -> ShardState:
    """Return the state of one shard."""
    return _read_state(recipe, folder, shard)[0]


def read_shard_states(recipe: DatasetRecipe, folder: Path, shards: Iterable[int]) -> ShardStates:
    """Read the records of some shards.

    Args:
        recipe: the recipe of the dataset.
        folder: the dataset.
        shards: shard numbers, ascending.
    """
    states = ShardStates({}, [], [])
    for shard in shards:
        state, record = _read_state(recipe, folder, shard)
        if state is ShardState.DONE and record is not None:
            states.done[shard] = record
        else:
            (states.missing if state is ShardState.MISSING else states.damaged).append(shard)
    return states


def _read_state(recipe: DatasetRecipe, folder: Path, shard: int) -> tuple[ShardState, ShardRecord | None]:
    record = ShardRecord.read(recipe, folder, shard)
    if record is None:
        is_damaged = record_path(folder, shard).exists() or damaged_path(folder, shard).exists()
        return (ShardState.DAMAGED if is_damaged else ShardState.MISSING), None
    return (ShardState.DONE if record.fits_files(folder) else ShardState.DAMAGED), record


def dataset_status(folder: str | Path) -> DatasetStatus:
    """Return which shards of a dataset are done, missing or damaged. Reads no video; `verify_dataset` does.

    Args:
        folder: the dataset.

    Raises:
        DatasetError: the folder holds no dataset.
        ConfigurationError: the recipe is damaged, or has another output version.

    Examples:
        >>> import tempfile, synvid
        >>> preset = synvid.load_preset("moving_circles", {"video.width": 32, "video.height": 32, "objects.count": 5})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     result = synvid.render_dataset(preset, n=2, out=folder, shard_size=1, part=(0, 2), workers=1)
        ...     synvid.dataset_status(folder)
        DatasetStatus(n=2, shards=2, finished=False, done=[0], missing=[1], damaged=[])
    """
    folder = parse_path("folder", folder)
    recipe = DatasetRecipe.load(folder)
    states = read_shard_states(recipe, folder, range(recipe.num_shards))
    finished = len(states.done) == recipe.num_shards and (folder / MANIFEST_FILES[recipe.format]).is_file()
    return DatasetStatus(recipe.n, recipe.num_shards, finished, list(states.done), states.missing, states.damaged)
