"""The dataset card (README.md)."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from synvid.dataset.layout import MANIFEST_FILES
from synvid.dataset.recipe import RECIPE_FILE, DatasetRecipe
from synvid.dataset.record import ShardRecord

__all__ = ["CARD_FILE", "is_edited_card"]


#: The dataset card, for people and for Hugging Face.
CARD_FILE = "README.md"

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


# ---- The card ------------------------------------------------------------------------------------------------------
def is_edited_card(card: Path) -> bool:
    """Whether a card is there and is not as synvid wrote it, told from the hash in its last line."""
    try:
        text = card.read_bytes()
    except OSError:
        return False
    start = text.rfind(_SEAL.encode().partition(b"%")[0])
    return start < 0 or text[start:] != _seal(text[:start])


def _seal(text: bytes) -> bytes:
    return (_SEAL % hashlib.sha256(text).hexdigest()).encode()


def card_text(recipe: DatasetRecipe, records: list[ShardRecord]) -> str:
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
        manifest=MANIFEST_FILES[recipe.format],
        recipe=RECIPE_FILE,
        loading=(loading % (shards - 1, shards) if tar else loading).replace("{{", "{").replace("}}", "}"),
    )
    return text + _seal(text.encode()).decode()
