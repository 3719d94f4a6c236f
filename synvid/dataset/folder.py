"""The folder of a dataset: checking that a recipe may be rendered here, and writing it there."""

from __future__ import annotations

import contextlib
import enum
import os
from pathlib import Path

from synvid.dataset.card import CARD_FILE, is_edited_card
from synvid.dataset.layout import MANIFEST_FILES, VIDEO_LIST, damaged_path, record_path, shard_files
from synvid.dataset.recipe import RECIPE_FILE, DatasetRecipe
from synvid.dataset.record import ShardRecord
from synvid.dataset.shard import UNREADABLE_VIDEOS
from synvid.errors import ConfigurationError
from synvid.os_errors import wrap_os_errors
from synvid.storage.atomic_io import atomic_write, create_exclusive
from synvid.storage.workspace import STATE_FOLDER, remove_stale_workspaces, workspace

__all__ = ["FolderState", "claim_folder", "compare_with_folder", "read_folder"]


#: The recipe of a dataset that is being overwritten, kept until its files are removed.
_REPLACED = Path(STATE_FOLDER, "replaced.yaml")
#: Names that are ignored when checking whether a folder is empty: the state folder, and files of operating systems.
_IGNORED = {STATE_FOLDER, ".DS_Store", "Thumbs.db", "desktop.ini", "lost+found"}


class FolderState(enum.Enum):
    """How the content of a folder relates to a recipe."""

    EMPTY = "holds no dataset"
    SAME = "holds this dataset, or a part of it"
    SMALLER = "holds this dataset with fewer clips"
    OTHER = "holds another dataset, which is to be overwritten"


def read_folder(folder: Path) -> DatasetRecipe | None:
    """Read the recipe in a folder; None if the folder is missing or empty.

    Raises:
        ConfigurationError: it is no folder, or holds other files and no dataset.
        DatasetError: a file or folder cannot be read or written.
    """
    with wrap_os_errors(folder):
        has_entries = os.path.lexists(folder) and any(path.name not in _IGNORED for path in _entries(folder))
        # Look for the recipe after the listing: another run may be creating it right now.
        if (folder / RECIPE_FILE).is_file():
            return DatasetRecipe.load(folder)
    if has_entries:
        raise ConfigurationError(f"{folder}: is not empty and holds no dataset of synvid; choose an empty folder.")
    return None


def _entries(folder: Path) -> list[Path]:
    if not folder.is_dir():
        kind = "a broken link" if folder.is_symlink() and not folder.exists() else "a file"
        raise ConfigurationError(f"{folder}: is {kind}; it must be a folder.")
    return list(folder.iterdir())


def compare_with_folder(
    recipe: DatasetRecipe, existing: DatasetRecipe | None, folder: Path, overwrite: bool = False
) -> FolderState:
    """Compare a recipe with the one in a folder.

    Args:
        recipe: the recipe to render.
        existing: the recipe in the folder, from `read_folder`.
        folder: the folder, for error messages.
        overwrite: whether another dataset may be removed.

    Raises:
        ConfigurationError: the folder holds another dataset, and `overwrite` is False.
    """
    if existing is None:
        return FolderState.EMPTY
    differences = recipe.differences(existing)
    if recipe.n != existing.n and len(differences) == 1:  # clips do not depend on their number
        if recipe.n > existing.n:
            return FolderState.SMALLER
        if not overwrite:
            raise ConfigurationError(
                f"{folder}: holds {existing.n} clips of this dataset, {recipe.n} were requested; it can grow, but not shrink: "
                f"--n {existing.n} or more (n=) continues it, --overwrite (overwrite=True) removes the surplus."
            )
    if differences and not overwrite:
        more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise ConfigurationError(
            f"{folder}: holds a dataset of another configuration (requested, existing: {'; '.join(differences[:3])}{more}); "
            "choose another folder, or overwrite it (--overwrite, or overwrite=True)."
        )
    return FolderState.OTHER if differences else FolderState.SAME


def claim_folder(recipe: DatasetRecipe, folder: Path, overwrite: bool = False) -> None:
    """Check that a recipe may be rendered in a folder, and write it there; remove another dataset if `overwrite` is True.

    Args:
        recipe: the recipe to render.
        folder: the folder; created if needed.
        overwrite: whether another dataset may be removed.

    Raises:
        ConfigurationError: the folder holds another dataset, or other files.
        DatasetError: a file or folder cannot be read or written.
    """
    # The plan may be minutes old, since kernels are compiled and textures built after it. Look again: another run may have
    # created, enlarged or overwritten a dataset here, and only this reading decides what is changed.
    existing = read_folder(folder)
    state = compare_with_folder(recipe, existing, folder, overwrite)
    with wrap_os_errors(folder):
        if state is FolderState.EMPTY:
            with workspace(folder) as tmp_dir:
                is_first = create_exclusive(folder / RECIPE_FILE, recipe.to_yaml(), tmp_dir)
            if not is_first:  # another run created its recipe after the reading above: is it the same one?
                compare_with_folder(recipe, read_folder(folder), folder)
        elif existing is not None and state is FolderState.OTHER:
            _replace(existing, recipe, folder)
        elif existing is not None and state is FolderState.SMALLER:
            _grow(existing, recipe, folder)
        _remove_replaced(recipe, folder)


def _grow(existing: DatasetRecipe, recipe: DatasetRecipe, folder: Path) -> None:
    """Replace the recipe by one with more clips. Full shards stay valid; another run may be rendering at the same time."""
    with workspace(folder) as tmp_dir:
        atomic_write(folder / RECIPE_FILE, recipe.to_yaml(), tmp_dir)
    for name in (MANIFEST_FILES[recipe.format], VIDEO_LIST):  # the larger dataset is not finished
        (folder / name).unlink(missing_ok=True)
    last = existing.num_shards - 1
    if ShardRecord.read(recipe, folder, last) is None:  # it has too few clips, and no other run has rendered it again
        record_path(folder, last).unlink(missing_ok=True)


def _replace(existing: DatasetRecipe, recipe: DatasetRecipe, folder: Path) -> None:
    """Replace the recipe of another dataset, before the files of that dataset are removed.

    From then on no shard of the old dataset is committed or counted. The old recipe is written to a file first, so that the
    next run continues the removal if this one is killed.
    """
    remove_stale_workspaces(folder)
    if any((folder / STATE_FOLDER).glob("tmp-*.lock")):
        raise ConfigurationError(f"{folder}: another run is working here; overwrite the dataset when it has ended.")
    with workspace(folder) as tmp_dir:
        atomic_write(folder / _REPLACED, existing.to_yaml(), tmp_dir)
        atomic_write(folder / RECIPE_FILE, recipe.to_yaml(), tmp_dir)


def _remove_replaced(recipe: DatasetRecipe, folder: Path) -> None:
    """Remove the files of a replaced dataset, and nothing that synvid has not written."""
    replaced = folder / _REPLACED
    if not replaced.is_file():
        return
    old = DatasetRecipe.read(replaced)
    if old.differences(recipe):  # else a run was killed between the two writes of `_replace`
        if is_edited_card(folder / CARD_FILE):
            (folder / CARD_FILE).replace(_unused_name(folder / "README.old.md"))
        _remove_files(old, recipe, folder)
    replaced.unlink(missing_ok=True)


def _remove_files(old: DatasetRecipe, recipe: DatasetRecipe, folder: Path) -> None:
    """Remove the files of a dataset, except shards that are valid in the new one, and folders that become empty."""
    done = [shard for shard in range(recipe.num_shards) if ShardRecord.read(recipe, folder, shard)]
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
    (folder / STATE_FOLDER / UNREADABLE_VIDEOS).unlink(missing_ok=True)
    for parent in sorted({parent for name in names for parent in Path(name).parents if parent != Path()}, reverse=True):
        with contextlib.suppress(OSError):  # not empty: it holds files of the user
            (folder / parent).rmdir()


def _unused_name(path: Path) -> Path:
    """Return the path, with a number added if it exists."""
    number, unused = 1, path
    while os.path.lexists(unused):
        number += 1
        unused = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return unused
