"""The files that describe a finished dataset: manifest, card and lists. All follow from the recipe and the shards' records."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from synvid.dataset.card import CARD_FILE, card_text, is_edited_card
from synvid.dataset.layout import MANIFEST_FILES, VIDEO_LIST, record_path
from synvid.dataset.recipe import DatasetRecipe
from synvid.dataset.record import ShardRecord, row_problem
from synvid.errors import DatasetError
from synvid.os_errors import wrap_os_errors
from synvid.storage.atomic_io import atomic_write
from synvid.storage.workspace import STATE_FOLDER, remove_stale_workspaces, workspace

__all__ = ["Manifest", "finish_dataset", "read_shard_records", "stale_files"]


#: What stands before the nine digits of a key in a row of each layout.
_HEADS = {"tar": '{"key": "', "files": '{"file_name": "videos/000000/'}
_DIGITS = 9
_NEWLINE = ord("\n")
_SCAN_BYTES = 1 << 23


def finish_dataset(recipe: DatasetRecipe, folder: Path, known: Mapping[int, ShardRecord] = MappingProxyType({})) -> bool:
    """Write the describing files if all shards are done, and remove what killed runs left.

    A card that somebody has edited stays as it is.

    Args:
        recipe: of the dataset.
        folder: of the dataset.
        known: records of shards that have just been found to be done.

    Returns:
        Whether the dataset is finished.

    Raises:
        DatasetError: the file system refuses, or a record is damaged.
    """
    remove_stale_workspaces(folder)
    records = read_shard_records(recipe, folder, known)
    if records is None or DatasetRecipe.load(folder).differences(recipe):  # another run has made it larger
        return False
    with wrap_os_errors(folder):
        for damaged in (folder / STATE_FOLDER).glob("*.damaged"):  # left where a run was killed after it had mended a shard
            damaged.unlink()
        stale = stale_files(recipe, folder, records)
        if stale:
            with workspace(folder) as room:
                for name in stale:
                    atomic_write(folder / name, _description(recipe, folder, records, name), room)
    return True


def read_shard_records(
    recipe: DatasetRecipe, folder: Path, known: Mapping[int, ShardRecord] = MappingProxyType({})
) -> list[ShardRecord] | None:
    """The heads of all records, those that are not known; None unless every shard is done.

    One that is missing is seen before any is read.
    """
    state = folder / STATE_FOLDER
    with wrap_os_errors(state):
        names = {entry.name for entry in os.scandir(state)} if state.is_dir() else set()
    if any(record_path(folder, shard).name not in names for shard in range(recipe.num_shards)):
        return None
    records = []
    for shard in range(recipe.num_shards):
        record = known.get(shard) or ShardRecord.read(recipe, folder, shard)
        if record is None or (shard not in known and not record.fits_files(folder)):
            return None
        records.append(record)
    return records


def stale_files(recipe: DatasetRecipe, folder: Path, records: list[ShardRecord]) -> list[str]:
    """Those of the describing files that are missing or not as they should be; an edited card is as it should be.

    Args:
        recipe: of the dataset.
        folder: of the dataset.
        records: of all shards, in order.
    """
    stale = [name for name, same in _compare_lines(recipe, folder, records).items() if not same]
    card = folder / CARD_FILE
    return stale if is_edited_card(card) or _equals(card, card_text(recipe, records).encode()) else [*stale, CARD_FILE]


def _compare_lines(recipe: DatasetRecipe, folder: Path, records: list[ShardRecord]) -> dict[str, bool]:
    """Whether manifest and list are the lines of the records, one record after the other."""
    same = {}
    with contextlib.ExitStack() as stack:
        files = {}
        for name in (MANIFEST_FILES[recipe.format], VIDEO_LIST):
            same[name] = (folder / name).is_file()
            if same[name]:
                files[name] = stack.enter_context((folder / name).open("rb"))
        for shard, record in enumerate(records):
            lines = record.read_lines(folder, shard, check=False) or (b"", b"")
            for name, file in files.items():
                some = lines[name == VIDEO_LIST]
                same[name] = same[name] and file.read(len(some)) == some
        for name, file in files.items():
            same[name] = same[name] and not file.read(1)
    return same


def _description(recipe: DatasetRecipe, folder: Path, records: list[ShardRecord], name: str) -> Iterator[bytes]:
    """A describing file, a shard at a time."""
    if name == CARD_FILE:
        yield card_text(recipe, records).encode()
        return
    for shard, record in enumerate(records):
        lines = record.read_lines(folder, shard)
        if lines is None:
            raise DatasetError(f"{record_path(folder, shard)}: is damaged; `synvid verify` and `synvid render` mend it.")
        yield lines[name == VIDEO_LIST]


def _equals(path: Path, text: bytes) -> bool:
    try:
        return path.read_bytes() == text
    except OSError:
        return False


# ---- The manifest, read back ---------------------------------------------------------------------------------------
class Manifest(Sequence[dict[str, Any]]):
    """The rows of a finished dataset, read from the file when they are asked for: a million take 8 MB.

    When it is opened, every line is seen to be there and to be of the clip whose place it has; all else is checked when a row
    is read.

    Raises:
        DatasetError: it is missing or damaged.
    """

    def __init__(self, recipe: DatasetRecipe, folder: Path) -> None:
        self.recipe, self.folder = recipe, folder
        self.path = folder / MANIFEST_FILES[recipe.format]
        if not self.path.is_file():
            raise DatasetError(
                f"{folder}: not finished ({self.path.name} is missing); `synvid status {folder}` says what is done."
            )
        with wrap_os_errors(self.path):
            self._starts = self._find_lines()

    def _find_lines(self) -> NDArray[np.int64]:
        """Where each line begins, and where the last one ends."""
        at = len(_HEADS[self.recipe.format])  # where the key's nine digits stand
        starts, found, rest = [np.zeros(1, np.int64)], 0, b""
        with self.path.open("rb") as file:
            position = 0
            while piece := file.read(_SCAN_BYTES):
                text = np.frombuffer(rest + piece, np.uint8)
                ends = np.flatnonzero(text == _NEWLINE) + 1
                begins = np.concatenate([np.zeros(1, np.int64), ends])[:-1]
                self._check_order(text, begins + at, ends, found)
                starts.append(position + ends)
                found += len(ends)
                kept = int(ends[-1]) if len(ends) else 0
                rest = text[kept:].tobytes()
                position += kept
        if rest:
            raise self._damaged(found)
        if found != self.recipe.n:
            raise DatasetError(
                f"{self.path}: has {found} rows, not {self.recipe.n}; `synvid merge {self.folder}` writes it anew."
            )
        return np.concatenate(starts)

    def _check_order(self, text: NDArray[np.uint8], keys: NDArray[np.int64], ends: NDArray[np.int64], first: int) -> None:
        """See that the line at each place has the key of that place."""
        places = np.minimum(keys[:, None] + np.arange(_DIGITS), len(text) - 1)
        numbers = (text[places].astype(np.int64) - ord("0")) @ 10 ** np.arange(_DIGITS - 1, -1, -1)
        wrong = (numbers != first + np.arange(len(keys))) | (keys + _DIGITS >= ends)
        if wrong.any():
            raise self._damaged(first + int(wrong.argmax()))

    def _damaged(self, index: int, problem: str = "") -> DatasetError:
        why = f" ({problem})" if problem else ""
        return DatasetError(f"{self.path}, line {index + 1}: is damaged{why}; `synvid merge {self.folder}` writes it anew.")

    def __len__(self) -> int:
        return self.recipe.n

    def __iter__(self) -> Iterator[dict[str, Any]]:
        with wrap_os_errors(self.path), self.path.open("rb") as file:
            for index, line in enumerate(file):
                yield self._parse(index, line)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Manifest) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    @overload
    def __getitem__(self, i: int) -> dict[str, Any]: ...

    @overload
    def __getitem__(self, i: slice) -> list[dict[str, Any]]: ...

    def __getitem__(self, i: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        """The row of clip i.

        Raises:
            DatasetError: it is damaged.
            IndexError: there is no such clip.
        """
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        index = range(len(self))[i]
        start, end = self._starts[index : index + 2]
        with wrap_os_errors(self.path), self.path.open("rb") as file:
            file.seek(start)
            line = file.read(end - start)
        return self._parse(index, line)

    def _parse(self, index: int, line: bytes) -> dict[str, Any]:
        try:
            row = json.loads(line)
            problem = row_problem(self.recipe, index, row)
        except ValueError:
            problem = "is no JSON"
        if problem:
            raise self._damaged(index, problem)
        return row  # type: ignore[no-any-return]
