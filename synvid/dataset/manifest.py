"""The files that describe a finished dataset: manifest, card and lists. All follow from the recipe and the shards' records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from synvid.dataset.recipe import RECIPE_FILE, Recipe
from synvid.dataset.shard import Marker
from synvid.errors import DatasetError
from synvid.work.disk import STATE, clean_leftovers, named_errors, workspace, write_whole

__all__ = ["MANIFESTS", "describe", "finish", "outdated", "read_rows"]

#: Name of the manifest in each layout; in the files layout Hugging Face `datasets` wants it called metadata.
MANIFESTS = {"tar": "manifest.jsonl", "files": "metadata.jsonl"}

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


def describe(recipe: Recipe, markers: list[Marker]) -> dict[str, str]:
    """The describing files of a finished dataset, path → text.

    Args:
        recipe: of the dataset.
        markers: of all shards, in order.
    """
    rows = [row for marker in markers for row in marker.rows]
    return {
        MANIFESTS[recipe.format]: "".join(json.dumps(row) + "\n" for row in rows),
        "README.md": _card(recipe, markers),
        "lists/videomae.csv": "".join(f"{_video_path(row)} 0 -1\n" for row in rows),
    }


def finish(recipe: Recipe, folder: Path) -> bool:
    """Write the describing files if all shards are done, and remove what killed runs left.

    Returns:
        Whether the dataset is finished.

    Raises:
        DatasetError: the file system refuses.
    """
    clean_leftovers(folder)
    markers = [Marker.read(folder, shard) for shard in range(recipe.num_shards)]
    done = [marker for marker in markers if marker is not None]
    if len(done) < recipe.num_shards:
        return False
    with named_errors(folder):
        for damaged in (folder / STATE).glob("*.damaged"):  # left where a run was killed after it had mended a shard
            damaged.unlink()
        stale = outdated(recipe, folder, done)
        if stale:
            with workspace(folder) as room:
                for name, text in stale.items():
                    write_whole(folder / name, text, room)
    return True


def outdated(recipe: Recipe, folder: Path, markers: list[Marker]) -> dict[str, str]:
    """Those of the describing files that are missing or not as they should be, path → text that they should have."""
    return {name: text for name, text in describe(recipe, markers).items() if not _equals(folder / name, text)}


def _equals(path: Path, text: str) -> bool:
    try:
        return path.read_bytes() == text.encode()
    except OSError:
        return False


def read_rows(recipe: Recipe, folder: Path) -> list[dict[str, Any]]:
    """The manifest of a finished dataset.

    Raises:
        DatasetError: it is missing or damaged.
    """
    path = folder / MANIFESTS[recipe.format]
    if not path.is_file():
        raise DatasetError(f"{folder}: not finished ({path.name} is missing); `synvid status {folder}` says what is done.")
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        try:
            row = json.loads(line)
            if not isinstance(row["index"], int) or not isinstance(row["size"], int) or not isinstance(row["sha256"], str):
                raise TypeError
        except (ValueError, KeyError, TypeError):
            raise DatasetError(f"{path}, line {number}: is damaged; `synvid merge {folder}` writes it anew.") from None
        rows.append(row)
    if len(rows) != recipe.n:
        raise DatasetError(f"{path}: has {len(rows)} rows, not {recipe.n}; `synvid merge {folder}` writes it anew.")
    return rows


def _video_path(row: dict[str, Any]) -> str:
    """A path that FFmpeg opens, relative to the dataset."""
    if "file_name" in row:
        return str(row["file_name"])
    return f"subfile,,start,{row['offset']},end,{row['offset'] + row['size']},,:{row['shard']}"


def _card(recipe: Recipe, markers: list[Marker]) -> str:
    video, shards = recipe.preset.video, recipe.num_shards
    tar = recipe.format == "tar"
    loading = _LOADING[recipe.format]
    return _CARD.format(
        name=recipe.preset.name,
        title=json.dumps(f"synvid {recipe.preset.name}, {recipe.n} clips, seed {recipe.seed}", ensure_ascii=False),
        description=recipe.preset.description or "Clips of a custom preset",
        n=recipe.n,
        seed=recipe.seed,
        layout="webdataset" if tar else "videofolder",
        path="train/*.tar" if tar else '["metadata.jsonl", "videos/**/*.mp4"]',
        size=next((name for limit, name in _SIZES if recipe.n < limit), "n>1M"),
        frames=sum(row["frames"] for marker in markers for row in marker.rows),
        bytes=sum(file["bytes"] for marker in markers for file in marker.files),
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
        loading=(loading % (shards - 1) if tar else loading).replace("{{", "{").replace("}}", "}"),
    )
