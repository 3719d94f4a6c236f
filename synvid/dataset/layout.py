"""File names and paths inside a dataset folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synvid.dataset.recipe import DatasetRecipe
from synvid.storage.workspace import STATE_FOLDER

__all__ = [
    "MANIFEST_FILES",
    "VIDEO_LIST",
    "clip_key",
    "damaged_path",
    "record_path",
    "shard_files",
    "shard_name",
    "shard_path",
    "video_path",
]


#: Name of the manifest in each layout; in the files layout Hugging Face `datasets` wants it called metadata.
MANIFEST_FILES = {"tar": "manifest.jsonl", "files": "metadata.jsonl"}
#: The list of videos as VideoMAE's loaders read it.
VIDEO_LIST = "lists/videomae.csv"


def clip_key(index: int) -> str:
    """The name of a clip, nine digits."""
    return f"{index:09d}"


def shard_name(recipe: DatasetRecipe, shard: int) -> str:
    """Where a shard lies in the dataset: a tar file, or a folder of videos."""
    return f"train/shard-{shard:06d}.tar" if recipe.format == "tar" else f"videos/{shard:06d}"


def shard_path(recipe: DatasetRecipe, shard: int) -> Path:
    """The same as a path."""
    return Path(shard_name(recipe, shard))


def shard_files(recipe: DatasetRecipe, shard: int) -> list[str]:
    """The files of a shard, relative to the dataset."""
    place = shard_name(recipe, shard)
    return [place] if recipe.format == "tar" else [f"{place}/{clip_key(index)}.mp4" for index in recipe.indices(shard)]


def record_path(folder: Path, shard: int) -> Path:
    """Where the record of a shard lies."""
    return folder / STATE_FOLDER / f"shard-{shard:06d}.json"


def damaged_path(folder: Path, shard: int) -> Path:
    """Where `verify` puts the record of a shard that is not what it says."""
    return folder / STATE_FOLDER / f"shard-{shard:06d}.damaged"


def video_path(row: Mapping[str, Any]) -> str:
    """A path that FFmpeg opens, relative to the dataset."""
    if "file_name" in row:
        return str(row["file_name"])
    return f"subfile,,start,{row['offset']},end,{row['offset'] + row['size']},,:{row['shard']}"
