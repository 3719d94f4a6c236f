"""Join parts of a dataset that were rendered into different folders."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from synvid.config.arguments import parse_path
from synvid.config.strict_yaml import short
from synvid.dataset.folder import claim_folder
from synvid.dataset.manifest import finish_dataset
from synvid.dataset.recipe import RECIPE_FILE, DatasetRecipe
from synvid.dataset.shard import copy_shard
from synvid.dataset.status import ShardState, read_shard_states, shard_state
from synvid.errors import ConfigurationError

__all__ = ["MergeResult", "merge_datasets"]


class MergeResult(NamedTuple):
    """What `merge_datasets` did.

    Attributes:
        copied: number of shards copied.
        missing: numbers of the shards that are still missing; empty if the dataset is finished.

    Examples:
        >>> import tempfile, synvid
        >>> preset = synvid.load_preset("moving_circles", {"video.width": 32, "video.height": 32, "objects.count": 5})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     result = synvid.render_dataset(preset, n=2, out=folder, workers=1)
        ...     synvid.merge_datasets(folder, [])
        MergeResult(copied=0, missing=[])
    """

    copied: int
    missing: list[int]


def merge_datasets(folder: str | Path, sources: Sequence[str | Path] = ()) -> MergeResult:
    """Copy finished shards from other folders of the same recipe, then write the index files if all shards are done.

    If the numbers of clips differ, the dataset grows to the largest. Without sources only the index files (manifest,
    video list and dataset card) are written.

    Args:
        folder: the dataset; created from the recipe of the first source if needed.
        sources: folders with parts of the same dataset.

    Raises:
        ConfigurationError: a source has another recipe, or an argument is of the wrong type.
        DatasetError: a folder holds no dataset, a source is damaged, or a file or folder cannot be read or written.

    Examples:
        >>> import tempfile, synvid
        >>> preset = synvid.load_preset("moving_circles", {"video.width": 32, "video.height": 32, "objects.count": 5})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     parts = [f"{folder}/part0", f"{folder}/part1"]
        ...     for i, part in enumerate(parts):
        ...         result = synvid.render_dataset(preset, n=2, out=part, shard_size=1, part=(i, 2), workers=1)
        ...     synvid.merge_datasets(parts[0], parts[1:])
        MergeResult(copied=1, missing=[])
    """
    folder, source_folders = parse_path("folder", folder), _parse_sources(sources)
    first = DatasetRecipe.load(folder if (folder / RECIPE_FILE).is_file() or not source_folders else source_folders[0])
    source_recipes = [DatasetRecipe.load(source) for source in source_folders]
    for source, other in zip(source_folders, source_recipes, strict=True):
        differences = first.differences(replace(other, n=first.n))
        if differences:
            raise ConfigurationError(f"{source}: has another configuration than {folder}: {'; '.join(differences[:3])}.")
    recipe = max([first, *source_recipes], key=lambda candidate: candidate.n)
    claim_folder(recipe, folder)
    states = read_shard_states(recipe, folder, range(recipe.num_shards))
    missing, copied = sorted([*states.missing, *states.damaged]), 0
    for source in source_folders:
        for shard in [shard for shard in missing if shard_state(recipe, source, shard) is ShardState.DONE]:
            copy_shard(recipe, source, folder, shard)
            missing.remove(shard)
            copied += 1
    # The records are read again: copying takes long, and other runs may work in the same folder.
    if finish_dataset(recipe, folder):
        return MergeResult(copied, [])
    states = read_shard_states(recipe, folder, range(recipe.num_shards))
    return MergeResult(copied, sorted([*states.missing, *states.damaged]))


def _parse_sources(sources: object) -> list[Path]:
    if isinstance(sources, str | bytes | os.PathLike) or not isinstance(sources, Iterable):  # text is a sequence, too
        advice = 'give a sequence of folders, such as ["part0", "part1"]'
        raise ConfigurationError(f"sources is {short(sources)} ({type(sources).__name__}); {advice}.")
    return [parse_path(f"sources[{i}]", source) for i, source in enumerate(sources)]
