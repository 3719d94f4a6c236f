"""The index files (manifest, video list and dataset card) of a finished dataset, which follow from its recipe and records."""

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


#: The text of a manifest line before the nine digits of the clip's key, in each layout.
_LINE_STARTS = {"tar": '{"key": "', "files": '{"file_name": "videos/000000/'}
_KEY_DIGITS = 9
_NEWLINE = ord("\n")
_SCAN_BYTES = 1 << 23


# ---- Writing -------------------------------------------------------------------------------------------------------
def finish_dataset(
    recipe: DatasetRecipe, folder: Path, known: Mapping[int, ShardRecord] = MappingProxyType({})
) -> list[ShardRecord] | None:
    """Write the index files if all shards are done, and remove the temporary files of killed runs.

    A card that somebody has edited is kept.

    Args:
        recipe: the recipe of the dataset.
        folder: the dataset.
        known: records that were read just before; they are not read again.

    Returns:
        The records of all shards, or None if the dataset is not finished.

    Raises:
        DatasetError: a file or folder cannot be read or written, or a record is damaged.
    """
    remove_stale_workspaces(folder)
    records = read_shard_records(recipe, folder, known)
    # Read the recipe again: another run may have made the dataset larger since this run began.
    if records is None or DatasetRecipe.load(folder).differences(recipe):
        return None
    with wrap_os_errors(folder):
        for damaged in (folder / STATE_FOLDER).glob("*.damaged"):  # of a run that was killed just after it repaired a shard
            damaged.unlink()
        stale = stale_files(recipe, folder, records)
        if stale:
            with workspace(folder) as tmp_dir:
                for name in stale:
                    atomic_write(folder / name, _content(recipe, folder, records, name), tmp_dir)
    return records


def read_shard_records(
    recipe: DatasetRecipe, folder: Path, known: Mapping[int, ShardRecord] = MappingProxyType({})
) -> list[ShardRecord] | None:
    """Read the records of all shards, in order; None unless all shards are done.

    Args:
        recipe: the recipe of the dataset.
        folder: the dataset.
        known: records that need not be read.
    """
    state = folder / STATE_FOLDER
    with wrap_os_errors(state):
        names = {entry.name for entry in os.scandir(state)} if state.is_dir() else set()
    if any(record_path(folder, shard).name not in names for shard in range(recipe.num_shards)):
        return None  # without reading any: this is the usual case when parts run in parallel
    records = []
    for shard in range(recipe.num_shards):
        record = known.get(shard) or ShardRecord.read(recipe, folder, shard)
        if record is None or (shard not in known and not record.fits_files(folder)):
            return None
        records.append(record)
    return records


def stale_files(recipe: DatasetRecipe, folder: Path, records: list[ShardRecord]) -> list[str]:
    """Return the names of the index files that are missing or differ from the records; an edited card is not stale.

    Args:
        recipe: the recipe of the dataset.
        folder: the dataset.
        records: the records of all shards, in order.
    """
    stale = [name for name, is_same in _compare_lines(recipe, folder, records).items() if not is_same]
    card = folder / CARD_FILE
    return stale if is_edited_card(card) or _equals(card, card_text(recipe, records).encode()) else [*stale, CARD_FILE]


def _compare_lines(recipe: DatasetRecipe, folder: Path, records: list[ShardRecord]) -> dict[str, bool]:
    """Return for the manifest and the list of videos whether they are the concatenated lines of the records."""
    is_same = {name: (folder / name).is_file() for name in (MANIFEST_FILES[recipe.format], VIDEO_LIST)}
    with contextlib.ExitStack() as stack:
        files = {name: stack.enter_context((folder / name).open("rb")) for name in is_same if is_same[name]}
        for shard, record in enumerate(records if files else []):
            lines = record.read_lines(folder, shard, check=False) or (b"", b"")
            for name, file in files.items():
                expected = lines[name == VIDEO_LIST]
                is_same[name] = is_same[name] and file.read(len(expected)) == expected
        for name, file in files.items():
            is_same[name] = is_same[name] and not file.read(1)
    return is_same


def _content(recipe: DatasetRecipe, folder: Path, records: list[ShardRecord], name: str) -> Iterator[bytes]:
    """Yield the content of an index file, one shard at a time."""
    if name == CARD_FILE:
        yield card_text(recipe, records).encode()
        return
    for shard, record in enumerate(records):
        lines = record.read_lines(folder, shard)
        if lines is None:
            raise DatasetError(f"{record_path(folder, shard)}: is damaged; `synvid verify` and `synvid render` repair it.")
        yield lines[name == VIDEO_LIST]


def _equals(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except OSError:
        return False


# ---- Reading -------------------------------------------------------------------------------------------------------
class Manifest(Sequence[dict[str, Any]]):
    """The manifest rows of a finished dataset, read from the file on access; a million rows take 8 MB of memory.

    Opening checks the number of lines and the key of each; everything else is checked when a row is read.

    Args:
        recipe: the recipe of the dataset.
        folder: the dataset.

    Raises:
        DatasetError: the manifest is missing or damaged.
    """

    def __init__(self, recipe: DatasetRecipe, folder: Path) -> None:
        self.recipe, self.folder = recipe, folder
        self.path = folder / MANIFEST_FILES[recipe.format]
        if not self.path.is_file():
            raise DatasetError(
                f"{folder}: not finished ({self.path.name} is missing); `synvid status {folder}` lists what is done."
            )
        with wrap_os_errors(self.path):
            self._starts = self._find_lines()

    def _find_lines(self) -> NDArray[np.int64]:
        """Return the offset of each line, and of the end of the last: int64 (n + 1,)."""
        key_start = len(_LINE_STARTS[self.recipe.format])
        offsets, count, rest = [np.zeros(1, np.int64)], 0, b""
        with self.path.open("rb") as file:
            position = 0
            while chunk := file.read(_SCAN_BYTES):
                text = np.frombuffer(rest + chunk, np.uint8)
                ends = np.flatnonzero(text == _NEWLINE) + 1
                starts = np.concatenate([np.zeros(1, np.int64), ends])[:-1]
                self._check_order(text, starts + key_start, ends, count)
                offsets.append(position + ends)
                count += len(ends)
                used = int(ends[-1]) if len(ends) else 0
                rest = text[used:].tobytes()
                position += used
        if rest:
            raise self._damaged(count)
        if count != self.recipe.n:
            raise DatasetError(
                f"{self.path}: has {count} rows, not {self.recipe.n}; `synvid merge {self.folder}` writes it again."
            )
        return np.concatenate(offsets)

    def _check_order(self, text: NDArray[np.uint8], keys: NDArray[np.int64], ends: NDArray[np.int64], first: int) -> None:
        """Check that each line has the key of its position.

        Args:
            text: uint8 (bytes,).
            keys, ends: offsets in `text` of the keys and of the ends of the lines.
            first: position of the first of these lines in the manifest.
        """
        digits = np.minimum(keys[:, None] + np.arange(_KEY_DIGITS), len(text) - 1)
        numbers = (text[digits].astype(np.int64) - ord("0")) @ 10 ** np.arange(_KEY_DIGITS - 1, -1, -1)
        wrong = (numbers != first + np.arange(len(keys))) | (keys + _KEY_DIGITS >= ends)
        if wrong.any():
            raise self._damaged(first + int(wrong.argmax()))

    def _damaged(self, index: int, problem: str = "") -> DatasetError:
        details = f" ({problem})" if problem else ""
        return DatasetError(
            f"{self.path}, line {index + 1}: is damaged{details}; `synvid merge {self.folder}` writes it again."
        )

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
        """Return the row of clip i, or the rows of a slice.

        Raises:
            DatasetError: a row is damaged.
            IndexError: there is no clip i.
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
