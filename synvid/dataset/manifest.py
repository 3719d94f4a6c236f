"""The files that describe a finished dataset: manifest, card and lists. All follow from the recipe and the shards' records."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from synvid.dataset.recipe import RECIPE_FILE, Recipe
from synvid.dataset.record import LIST, MANIFESTS, Record, record_path, row_problem
from synvid.errors import DatasetError
from synvid.work.disk import STATE, clean_leftovers, named_errors, workspace, write_whole

__all__ = ["CARD", "Manifest", "finish", "is_edited", "outdated", "read_records"]

#: The dataset card, for people and for Hugging Face.
CARD = "README.md"

#: What stands before the nine digits of a key in a row of each layout.
_HEADS = {"tar": '{"key": "', "files": '{"file_name": "videos/000000/'}
_DIGITS = 9
_NEWLINE = ord("\n")
_SCAN_BYTES = 1 << 23

#: Last line of a card: a card that it does not fit has been edited, and is never written over.
_SEAL = "\n<!-- Written by synvid, SHA-256 %s: a card that is edited stays as it is. -->\n"

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))

_CARD = """---
pretty_name: {title}
tags: [video, synthetic, pre-training, {layout}]
size_categories: ["{size}"]
configs:
- config_name: default
  data_files:
  - split: train
    path: {path}
---
# {name}: {n} synthetic clips

{description}. Made by synvid after Yu, Chen and Gandelsman, *Learning Video
Representations without Natural Videos* (2024).

| | |
|---|---|
| clips | {n} |
| frames | {frames}, {width}x{height} at {fps:g} per second |
| bytes | {bytes} in {shards} |
| seed | {seed} |
| encoding | {encoding} |
{textures}
Every clip follows from the preset, the seed and its index, and `{manifest}` holds the SHA-256 of its frames before
encoding. `{recipe}` rebuilds the set:

```
synvid render --recipe {recipe} --out COPY
synvid verify COPY
```

## Loading

{loading}
"""

_LOADING = {
    "tar": """```python
import webdataset
for sample in webdataset.WebDataset("train/shard-{{000000..%06d}}.tar", shardshuffle=False):
    sample["mp4"], sample["json"]             # bytes

import datasets
datasets.load_dataset(".", split="train", streaming=True)

import synvid
dataset = synvid.open_dataset(".")
dataset.decode(0, frames=range(0, 64, 4))     # from the video
dataset.render(0, frames=range(0, 64, 4))     # the same frames, rendered: exact, and several times faster
```

`offset` and `size` in the manifest open one clip inside its shard:
`subfile,,start,OFFSET,end,OFFSET+SIZE,,:train/shard-000000.tar` is a path for FFmpeg and for all that is built on it.
`lists/videomae.csv` has such paths, relative to this folder.

webdataset and `datasets` give each loader process whole shards, so that at most %d can share the work.
""",
    "files": """```python
import datasets
datasets.load_dataset(".", split="train")

import synvid
dataset = synvid.open_dataset(".")
dataset.decode(0, frames=range(0, 64, 4))     # from the video
dataset.render(0, frames=range(0, 64, 4))     # the same frames, rendered: exact, and several times faster
```

`lists/videomae.csv` lists the files, relative to this folder, as VideoMAE's loaders read them.
""",
}


def finish(recipe: Recipe, folder: Path, known: Mapping[int, Record] = MappingProxyType({})) -> bool:
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
    clean_leftovers(folder)
    records = read_records(recipe, folder, known)
    if records is None or Recipe.load(folder).differences(recipe):  # another run has made it larger
        return False
    with named_errors(folder):
        for damaged in (folder / STATE).glob("*.damaged"):  # left where a run was killed after it had mended a shard
            damaged.unlink()
        stale = outdated(recipe, folder, records)
        if stale:
            with workspace(folder) as room:
                for name in stale:
                    write_whole(folder / name, _description(recipe, folder, records, name), room)
    return True


def read_records(recipe: Recipe, folder: Path, known: Mapping[int, Record] = MappingProxyType({})) -> list[Record] | None:
    """The heads of all records, those that are not known; None unless every shard is done.

    One that is missing is seen before any is read.
    """
    state = folder / STATE
    with named_errors(state):
        names = {entry.name for entry in os.scandir(state)} if state.is_dir() else set()
    if any(record_path(folder, shard).name not in names for shard in range(recipe.num_shards)):
        return None
    records = []
    for shard in range(recipe.num_shards):
        record = known.get(shard) or Record.read(recipe, folder, shard)
        if record is None or (shard not in known and not record.fits_files(folder)):
            return None
        records.append(record)
    return records


def outdated(recipe: Recipe, folder: Path, records: list[Record]) -> list[str]:
    """Those of the describing files that are missing or not as they should be; an edited card is as it should be.

    Args:
        recipe: of the dataset.
        folder: of the dataset.
        records: of all shards, in order.
    """
    stale = [name for name, same in _compare_lines(recipe, folder, records).items() if not same]
    card = folder / CARD
    return stale if is_edited(card) or _equals(card, _card(recipe, records).encode()) else [*stale, CARD]


def _compare_lines(recipe: Recipe, folder: Path, records: list[Record]) -> dict[str, bool]:
    """Whether manifest and list are the lines of the records, one record after the other."""
    same = {}
    with contextlib.ExitStack() as stack:
        files = {}
        for name in (MANIFESTS[recipe.format], LIST):
            same[name] = (folder / name).is_file()
            if same[name]:
                files[name] = stack.enter_context((folder / name).open("rb"))
        for shard, record in enumerate(records):
            lines = record.read_lines(folder, shard, check=False) or (b"", b"")
            for name, file in files.items():
                some = lines[name == LIST]
                same[name] = same[name] and file.read(len(some)) == some
        for name, file in files.items():
            same[name] = same[name] and not file.read(1)
    return same


def _description(recipe: Recipe, folder: Path, records: list[Record], name: str) -> Iterator[bytes]:
    """A describing file, a shard at a time."""
    if name == CARD:
        yield _card(recipe, records).encode()
        return
    for shard, record in enumerate(records):
        lines = record.read_lines(folder, shard)
        if lines is None:
            raise DatasetError(f"{record_path(folder, shard)}: is damaged; `synvid verify` and `synvid render` mend it.")
        yield lines[name == LIST]


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

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        self.recipe, self.folder = recipe, folder
        self.path = folder / MANIFESTS[recipe.format]
        if not self.path.is_file():
            raise DatasetError(
                f"{folder}: not finished ({self.path.name} is missing); `synvid status {folder}` says what is done."
            )
        with named_errors(self.path):
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
        with named_errors(self.path), self.path.open("rb") as file:
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
        with named_errors(self.path), self.path.open("rb") as file:
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


# ---- The card ------------------------------------------------------------------------------------------------------
def is_edited(card: Path) -> bool:
    """Whether a card is there and is not as synvid wrote it, told from the hash in its last line."""
    try:
        text = card.read_bytes()
    except OSError:
        return False
    start = text.rfind(_SEAL.encode().partition(b"%")[0])
    return start < 0 or text[start:] != _seal(text[:start])


def _seal(text: bytes) -> bytes:
    return (_SEAL % hashlib.sha256(text).hexdigest()).encode()


def _card(recipe: Recipe, records: list[Record]) -> str:
    video, shards = recipe.preset.video, recipe.num_shards
    tar = recipe.format == "tar"
    loading = _LOADING[recipe.format]
    text = _CARD.format(
        name=recipe.preset.name,
        title=json.dumps(f"synvid {recipe.preset.name}, {recipe.n} clips, seed {recipe.seed}", ensure_ascii=False),
        description=recipe.preset.description or "Clips of a custom preset",
        n=recipe.n,
        seed=recipe.seed,
        layout="webdataset" if tar else "videofolder",
        path="train/*.tar" if tar else '["metadata.jsonl", "videos/**/*.mp4"]',
        size=next((name for limit, name in _SIZES if recipe.n < limit), "n>1M"),
        frames=sum(record.frames for record in records),
        bytes=sum(record.size for record in records),
        shards=f"{shards} {'shard' if tar else 'folder'}{'s' if shards > 1 else ''}",
        width=video.width,
        height=video.height,
        fps=video.fps,
        encoding=f"{recipe.encoding} ({recipe.make_encoder().encoding.description})",
        textures="".join(
            f"| textures | {facts.n:,} of kind {facts.kind}, digest `{facts.digest}` |\n" for facts in recipe.banks.values()
        ),
        manifest=MANIFESTS[recipe.format],
        recipe=RECIPE_FILE,
        loading=(loading % (shards - 1, shards) if tar else loading).replace("{{", "{").replace("}}", "}"),
    )
    return text + _seal(text.encode()).decode()
