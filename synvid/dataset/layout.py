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


#: Name of the manifest in each layout; Hugging Face `datasets` requires the name of the second.
MANIFEST_FILES = {"tar": "manifest.jsonl", "files": "metadata.jsonl"}
#: The list of videos in the format of VideoMAE's data loaders.
VIDEO_LIST = "lists/videomae.csv"


def clip_key(index: int) -> str:
    """Return the name of a clip: its index as nine digits."""
    return f"{index:09d}"


def shard_name(recipe: DatasetRecipe, shard: int) -> str:
    """Return the path of a shard in the dataset, with `/`: a tar file, or a folder of videos."""
    return f"train/shard-{shard:06d}.tar" if recipe.format == "tar" else f"videos/{shard:06d}"


def shard_path(recipe: DatasetRecipe, shard: int) -> Path:
    """Return the path of a shard relative to the dataset."""
    return Path(shard_name(recipe, shard))


def shard_files(recipe: DatasetRecipe, shard: int) -> list[str]:
    """Return the files of a shard, relative to the dataset, with `/`."""
    name = shard_name(recipe, shard)
    return [name] if recipe.format == "tar" else [f"{name}/{clip_key(index)}.mp4" for index in recipe.indices(shard)]


def record_path(folder: Path, shard: int) -> Path:
    """Return the path of a shard's record: the first line is JSON, then follow JSON lines of the manifest and list lines."""
    return folder / STATE_FOLDER / f"shard-{shard:06d}.json"


def damaged_path(folder: Path, shard: int) -> Path:
    """Return the path to which `verify` renames the record of a damaged shard."""
    return folder / STATE_FOLDER / f"shard-{shard:06d}.damaged"


def video_path(row: Mapping[str, Any]) -> str:
    """Return a path, relative to the dataset, at which FFmpeg opens the video of a manifest row."""
    if "file_name" in row:
        return str(row["file_name"])
    return f"subfile,,start,{row['offset']},end,{row['offset'] + row['size']},,:{row['shard']}"
