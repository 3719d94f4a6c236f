"""A dataset in a folder: opened, rendered shard by shard, joined from parts."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from synvid.dataset.check import State, shard_state
from synvid.dataset.manifest import MANIFESTS, finish
from synvid.dataset.recipe import RECIPE_FILE, Recipe, check_sources
from synvid.dataset.shard import SKIPPED, copy_shard, key_of, render_shard, shard_path, warm_up
from synvid.errors import ConfigurationError
from synvid.work.disk import STATE, clean_leftovers, named_errors, take_names, workspace, write_first, write_whole
from synvid.work.interrupt import postponed
from synvid.work.pool import run_tasks
from synvid.work.progress import Progress

__all__ = ["Result", "check_folder", "merge_parts", "open_folder", "render_dataset", "todo"]


@dataclass
class Result:
    """What a run did.

    Attributes:
        clips: rendered now.
        skipped: clips that were there already.
        failed: shard → what went wrong.
        finished: whether the whole dataset is there.
        seconds: it took.
        unreadable: real videos that could not be decoded, and gave way to others.
    """

    clips: int = 0
    skipped: int = 0
    failed: dict[int, str] = field(default_factory=dict)
    finished: bool = False
    seconds: float = 0.0
    unreadable: list[str] = field(default_factory=list)


def check_folder(recipe: Recipe, folder: Path, overwrite: bool = False) -> bool:
    """Whether a folder holds this dataset already, or another that may be overwritten; changes nothing.

    Raises:
        ConfigurationError: it holds another dataset, or other things.
        DatasetError: the file system refuses.
    """
    with named_errors(folder):
        others = folder.exists() and any(path.name != STATE for path in _entries(folder))
        present = (folder / RECIPE_FILE).is_file()  # asked after `others`: a run beside this one may just be putting it there
        if others and not present:
            raise ConfigurationError(
                f"{folder}: is not empty and holds no dataset of synvid; choose an empty folder for --out."
            )
        differences = recipe.differences(Recipe.load(folder)) if present else []
    if differences and not overwrite:
        more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise ConfigurationError(
            f"{folder}: holds a dataset of another configuration (asked, there: {'; '.join(differences[:3])}{more}); "
            "choose another folder, or --overwrite it."
        )
    return present


def open_folder(recipe: Recipe, folder: Path, overwrite: bool = False) -> None:
    """Make a folder the home of a dataset, unless it is.

    Raises:
        ConfigurationError: it holds another dataset, or other things.
        DatasetError: the file system refuses.
    """
    present = check_folder(recipe, folder, overwrite)
    with named_errors(folder):
        if present and overwrite:
            _remove(Recipe.load(folder), folder)
            with workspace(folder) as room:
                write_whole(folder / RECIPE_FILE, recipe.to_yaml(), room)
        elif not present:
            with workspace(folder) as room:
                first = write_first(folder / RECIPE_FILE, recipe.to_yaml(), room)
            if not first:  # another run has just begun here: of the same recipe?
                check_folder(recipe, folder)


def _entries(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise ConfigurationError(f"{folder}: is a file; --out must be a folder.")
    return list(folder.iterdir())


def _remove(recipe: Recipe, folder: Path) -> None:
    """Remove a dataset but for its recipe, and nothing that synvid has not written."""
    import shutil

    names = [MANIFESTS[recipe.format], "README.md", "lists/videomae.csv"]
    for shard in range(recipe.num_shards):
        place = shard_path(recipe, shard)
        videos = [(place / f"{key_of(index)}.mp4").as_posix() for index in recipe.indices(shard)]
        names += [place.as_posix()] if recipe.format == "tar" else videos
    for name in names:
        (folder / name).unlink(missing_ok=True)
    for parent in sorted({parent for name in names for parent in Path(name).parents if parent != Path()}, reverse=True):
        with contextlib.suppress(OSError):  # not empty: somebody else's files
            (folder / parent).rmdir()
    if (folder / STATE).exists():
        shutil.rmtree(folder / STATE)


def todo(recipe: Recipe, folder: Path, part: tuple[int, int] = (0, 1)) -> tuple[list[int], int]:
    """Shards of a part that are still to be rendered, and how many clips of it are done."""
    mine = range(part[0], recipe.num_shards, part[1])
    missing = [shard for shard in mine if shard_state(recipe, folder, shard) is not State.DONE]
    done = sum(len(recipe.indices(shard)) for shard in mine) - sum(len(recipe.indices(shard)) for shard in missing)
    return missing, done


def render_dataset(
    recipe: Recipe,
    folder: Path,
    *,
    workers: int = 1,
    part: tuple[int, int] = (0, 1),
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Render what is missing of a dataset.

    Args:
        recipe: what to make.
        folder: where; created if need be. What is there of the same recipe is kept.
        workers: processes.
        part: (i, n): only shards i, i + n, i + 2 n, ...
        overwrite: remove a dataset that is there.
        progress: told of every clip.

    Returns:
        What was done. Shards that failed are listed in it; the others are in place.

    Raises:
        ConfigurationError: the folder holds something else, or the encoder refuses.
        DatasetError: the file system refuses.
    """
    begin = time.monotonic()
    check_folder(recipe, folder, overwrite)
    if overwrite or todo(recipe, folder, part)[0]:
        check_sources(recipe)
        warm_up(recipe)
    with postponed():
        open_folder(recipe, folder, overwrite)
        clean_leftovers(folder)
        missing, done = todo(recipe, folder, part)
        tasks = [(shard, len(recipe.indices(shard))) for shard in missing]
        failed = run_tasks(_Render(recipe, folder), tasks, workers, progress or Progress(), done)
        clips = sum(count for shard, count in tasks if shard not in failed)
        finished = finish(recipe, folder) and not todo(recipe, folder)[0]  # of any part
        unreadable = take_names(folder / STATE / SKIPPED)
    return Result(clips, done, failed, finished, time.monotonic() - begin, unreadable)


def merge_parts(folder: Path, sources: list[Path]) -> tuple[int, list[int]]:
    """Copy finished shards from other folders of the same recipe, and finish the dataset if it is whole.

    Returns:
        How many shards were copied, and which are still missing.

    Raises:
        ConfigurationError: a source is of another configuration.
        DatasetError: a folder holds no dataset, or the file system refuses.
    """
    recipe = Recipe.load(folder if (folder / RECIPE_FILE).is_file() or not sources else sources[0])
    open_folder(recipe, folder)
    copied = 0
    for source in sources:
        differences = recipe.differences(Recipe.load(source))
        if differences:
            raise ConfigurationError(f"{source}: is of another configuration than {folder}: {'; '.join(differences[:3])}.")
        for shard in todo(recipe, folder)[0]:
            if shard_state(recipe, source, shard) is State.DONE:
                copy_shard(recipe, source, folder, shard)
                copied += 1
    finish(recipe, folder)
    return copied, todo(recipe, folder)[0]


@dataclass(frozen=True)
class _Render:
    """Render one shard, unless somebody else just has."""

    recipe: Recipe
    folder: Path

    def __call__(self, shard: int, tick: Callable[[], None]) -> None:
        if shard_state(self.recipe, self.folder, shard) is not State.DONE:
            render_shard(self.recipe, self.folder, shard, tick)

    def name(self, shard: int) -> str:
        return shard_path(self.recipe, shard).as_posix()
