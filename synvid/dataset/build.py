"""A dataset in a folder: opened, rendered shard by shard, joined from parts."""

from __future__ import annotations

import contextlib
import enum
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from synvid.dataset.card import CARD_FILE, is_edited_card
from synvid.dataset.layout import MANIFEST_FILES, VIDEO_LIST, damaged_path, record_path, shard_files, shard_path
from synvid.dataset.locate import locate_inputs
from synvid.dataset.manifest import finish_dataset
from synvid.dataset.recipe import RECIPE_FILE, DatasetRecipe
from synvid.dataset.record import ShardRecord
from synvid.dataset.shard import SKIPPED, copy_shard, render_shard, warm_up_kernels
from synvid.dataset.verify import ShardState, shard_state
from synvid.errors import ConfigurationError
from synvid.os_errors import wrap_os_errors
from synvid.runtime.local_executor import run_tasks
from synvid.runtime.progress import Progress
from synvid.runtime.signals import defer_signals
from synvid.storage.atomic_io import atomic_write, create_exclusive, pop_lines
from synvid.storage.workspace import STATE_FOLDER, remove_stale_workspaces, workspace

__all__ = ["FolderState", "RenderResult", "check_folder", "merge_datasets", "pending_shards", "render_dataset"]


@dataclass
class RenderResult:
    """What a run did.

    Attributes:
        clips: rendered now.
        skipped: clips that were there already.
        failed: shard → what went wrong.
        finished: whether the whole dataset is there.
        seconds: it took.
        bytes: of the files of the part that is there.
        unreadable: real videos that could not be decoded, and gave way to others.
    """

    clips: int = 0
    skipped: int = 0
    failed: dict[int, str] = field(default_factory=dict)
    finished: bool = False
    seconds: float = 0.0
    bytes: int = 0
    unreadable: list[str] = field(default_factory=list)


class FolderState(enum.Enum):
    """What a folder is to a dataset."""

    EMPTY = "empty"
    OURS = "holds this dataset, or a part of it"
    SHORTER = "holds the beginning of this dataset, which has more clips now"
    OTHER = "holds another dataset, which is to be overwritten"


def check_folder(recipe: DatasetRecipe, folder: Path, overwrite: bool = False) -> FolderState:
    """What a folder is to a dataset; changes nothing.

    Args:
        recipe: of the dataset.
        folder: in which it shall be.
        overwrite: whether another dataset may be removed.

    Raises:
        ConfigurationError: it holds another dataset, or other things.
        DatasetError: the file system refuses.
    """
    with wrap_os_errors(folder):
        others = os.path.lexists(folder) and any(path.name not in _IGNORED for path in _entries(folder))
        present = (folder / RECIPE_FILE).is_file()  # asked after `others`: a run beside this one may just be putting it there
        if others and not present:
            raise ConfigurationError(
                f"{folder}: is not empty and holds no dataset of synvid; choose an empty folder for --out."
            )
        if not present:
            return FolderState.EMPTY
        there = DatasetRecipe.load(folder)
        differences = recipe.differences(there)
    if recipe.n != there.n and len(differences) == 1:  # clips do not depend on how many there are
        if recipe.n > there.n:
            return FolderState.SHORTER
        if not overwrite:
            raise ConfigurationError(
                f"{folder}: holds {there.n} clips of this dataset, {recipe.n} are asked for; it can grow, but not shrink: "
                f"--n {there.n} or more goes on with it, --overwrite removes what is too much."
            )
    if differences and not overwrite:
        more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise ConfigurationError(
            f"{folder}: holds a dataset of another configuration (asked, there: {'; '.join(differences[:3])}{more}); "
            "choose another folder, or --overwrite it."
        )
    return FolderState.OTHER if differences else FolderState.OURS


def _open_folder(recipe: DatasetRecipe, folder: Path, overwrite: bool = False) -> None:
    """Make a folder the home of a dataset, unless it is; removes another dataset only when told to.

    Raises:
        ConfigurationError: it holds another dataset, or other things.
        DatasetError: the file system refuses.
    """
    home = check_folder(recipe, folder, overwrite)
    with wrap_os_errors(folder):
        if home is FolderState.OTHER:
            _replace(DatasetRecipe.load(folder), recipe, folder)
        elif home is FolderState.SHORTER:
            _grow(recipe, folder)
        elif home is FolderState.EMPTY:
            with workspace(folder) as room:
                first = create_exclusive(folder / RECIPE_FILE, recipe.to_yaml(), room)
            if not first:  # another run has just begun here: of the same recipe?
                check_folder(recipe, folder)
        _remove_replaced(recipe, folder)


#: Where the recipe of a dataset is kept while its files are removed.
_REPLACED = Path(STATE_FOLDER, "replaced.yaml")
#: Left by operating systems in any folder, or kept by us.
_IGNORED = {STATE_FOLDER, ".DS_Store", "Thumbs.db", "desktop.ini", "lost+found"}


def _entries(folder: Path) -> list[Path]:
    if not folder.is_dir():
        what = "a link to nothing" if folder.is_symlink() and not folder.exists() else "a file"
        raise ConfigurationError(f"{folder}: is {what}; --out must be a folder.")
    return list(folder.iterdir())


def _replace(old: DatasetRecipe, new: DatasetRecipe, folder: Path) -> None:
    """Make the home of one dataset that of another, whose recipe is put in place before the old shards are removed.

    From then on no shard of the old one is installed, and none counts. What is to be removed is noted first, so that the
    next run goes on with it if this one is killed.
    """
    remove_stale_workspaces(folder)
    if any((folder / STATE_FOLDER).glob("tmp-*.lock")):
        raise ConfigurationError(f"{folder}: another run is working here; --overwrite it when it has ended.")
    with workspace(folder) as room:
        atomic_write(folder / _REPLACED, old.to_yaml(), room)
        atomic_write(folder / RECIPE_FILE, new.to_yaml(), room)


def _grow(recipe: DatasetRecipe, folder: Path) -> None:
    """Make the home of a dataset that of the same one with more clips; full shards stay, and another run may be working."""
    last = DatasetRecipe.load(folder).num_shards - 1
    with workspace(folder) as room:
        atomic_write(folder / RECIPE_FILE, recipe.to_yaml(), room)
    for name in (MANIFEST_FILES[recipe.format], VIDEO_LIST):  # of a finished dataset, which it is no longer
        (folder / name).unlink(missing_ok=True)
    if ShardRecord.read(recipe, folder, last) is None:  # it was not full, and no other run has made it so
        record_path(folder, last).unlink(missing_ok=True)


def _remove_replaced(recipe: DatasetRecipe, folder: Path) -> None:
    """Remove a dataset that has been replaced, and nothing that synvid has not written."""
    noted = folder / _REPLACED
    if not noted.is_file():
        return
    old = DatasetRecipe.read(noted)
    if old.differences(recipe):  # else the run that noted it was killed before it put its own recipe in place
        if is_edited_card(folder / CARD_FILE):  # what it says is of the old dataset
            (folder / CARD_FILE).replace(_free_name(folder / "README.old.md"))
        done = [shard for shard in range(recipe.num_shards) if ShardRecord.read(recipe, folder, shard)]  # they fit it, too
        kept = {name for shard in done for name in shard_files(recipe, shard)}
        names = [MANIFEST_FILES[old.format], CARD_FILE, VIDEO_LIST]
        for shard in range(old.num_shards):
            names += shard_files(old, shard)
            if shard not in done:
                record_path(folder, shard).unlink(missing_ok=True)
                damaged_path(folder, shard).unlink(missing_ok=True)
        for name in names:
            if name not in kept:
                (folder / name).unlink(missing_ok=True)
        (folder / STATE_FOLDER / SKIPPED).unlink(missing_ok=True)
        for parent in sorted({parent for name in names for parent in Path(name).parents if parent != Path()}, reverse=True):
            with contextlib.suppress(OSError):  # not empty: somebody else's files
                (folder / parent).rmdir()
    noted.unlink(missing_ok=True)


def _free_name(path: Path) -> Path:
    """The path, or with a number in it one where nothing is."""
    number, free = 1, path
    while os.path.lexists(free):
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return free


def pending_shards(
    recipe: DatasetRecipe, folder: Path, part: tuple[int, int] = (0, 1)
) -> tuple[list[int], dict[int, ShardRecord]]:
    """Shards of a part that are still to be rendered, and the records of the others."""
    done = {}
    shards = range(part[0], recipe.num_shards, part[1])
    for shard in shards:
        record = ShardRecord.read(recipe, folder, shard)
        if record is not None and record.fits_files(folder):
            done[shard] = record
    return [shard for shard in shards if shard not in done], done


def render_dataset(
    recipe: DatasetRecipe,
    folder: Path,
    *,
    workers: int = 1,
    part: tuple[int, int] = (0, 1),
    overwrite: bool = False,
    progress: Progress | None = None,
) -> RenderResult:
    """Render what is missing of a dataset.

    Args:
        recipe: what to make.
        folder: where; created if need be. What is there of the same recipe is kept.
        workers: processes.
        part: (i, n): only shards i, i + n, i + 2 n, ...
        overwrite: remove another dataset that is there; the same one is gone on with.
        progress: told of every clip.

    Returns:
        What was done. Shards that failed are listed in it; the others are in place.

    Raises:
        ConfigurationError: the folder holds something else, or the encoder refuses.
        DatasetError: the file system refuses.
    """
    begin = time.monotonic()
    check_folder(recipe, folder, overwrite)
    missing, records = pending_shards(recipe, folder, part)
    done = sum(len(recipe.indices(shard)) for shard in records)
    if missing:
        recipe = locate_inputs(recipe)
        warm_up_kernels(recipe)
    with defer_signals():
        _open_folder(recipe, folder, overwrite)
        remove_stale_workspaces(folder)
        tasks = [(shard, len(recipe.indices(shard))) for shard in missing]
        failed = run_tasks(_RenderShard(recipe, folder), tasks, workers, progress or Progress(), done)
        clips = sum(count for shard, count in tasks if shard not in failed)
        finished = not failed and finish_dataset(recipe, folder, {} if missing else records)
        unreadable = pop_lines(folder / STATE_FOLDER / SKIPPED)
    records |= {shard: record for shard in missing if (record := ShardRecord.read(recipe, folder, shard)) is not None}
    size = sum(record.size for record in records.values())
    return RenderResult(clips, done, failed, finished, time.monotonic() - begin, size, unreadable)


def merge_datasets(folder: Path, sources: list[Path]) -> tuple[int, list[int]]:
    """Copy finished shards from other folders of the same recipe, and finish the dataset if it is whole.

    Where they have different numbers of clips, the dataset grows to the largest.

    Returns:
        How many shards were copied, and which are still missing.

    Raises:
        ConfigurationError: a source is of another configuration.
        DatasetError: a folder holds no dataset, or the file system refuses.
    """
    first = DatasetRecipe.load(folder if (folder / RECIPE_FILE).is_file() or not sources else sources[0])
    recipes = [first, *(DatasetRecipe.load(source) for source in sources)]
    recipe = max(recipes, key=lambda one: one.n)
    for source, other in zip(sources, recipes[1:], strict=True):
        differences = first.differences(replace(other, n=first.n))
        if differences:
            raise ConfigurationError(f"{source}: is of another configuration than {folder}: {'; '.join(differences[:3])}.")
    _open_folder(recipe, folder)
    copied = 0
    for source in sources:
        for shard in pending_shards(recipe, folder)[0]:
            if shard_state(recipe, source, shard) is ShardState.DONE:
                copy_shard(recipe, source, folder, shard)
                copied += 1
    return copied, [] if finish_dataset(recipe, folder) else pending_shards(recipe, folder)[0]


@dataclass(frozen=True)
class _RenderShard:
    """Render one shard, unless somebody else just has."""

    recipe: DatasetRecipe
    folder: Path

    def __call__(self, shard: int, tick: Callable[[], None]) -> None:
        if shard_state(self.recipe, self.folder, shard) is not ShardState.DONE:
            render_shard(self.recipe, self.folder, shard, tick)

    def name(self, shard: int) -> str:
        return shard_path(self.recipe, shard).as_posix()
