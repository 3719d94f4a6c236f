"""Paths: the user's cache folder, `~`, and searching a folder tree for files."""

from __future__ import annotations

import os
import stat
import tempfile
from functools import lru_cache
from pathlib import Path

import platformdirs

from synvid.errors import ConfigurationError

__all__ = [
    "RECIPE_FILE",
    "cache_folder",
    "expand_user",
    "find_files",
    "find_pattern_character",
    "is_private",
    "temporary_cache",
    "user_cache",
]

#: File name of a dataset's recipe. A folder that holds one is output of `synvid render`, never input.
RECIPE_FILE = "synvid.yaml"


def cache_folder() -> Path:
    """The cache folder of synvid: `user_cache()`, or a temporary folder if the user has no home directory.

    Raises:
        OSError: no folder can be created.
    """
    return user_cache() or _temporary_folder()


def user_cache() -> Path | None:
    """The cache folder of synvid in the user's cache directory; None if the user has no home directory."""
    try:
        folder = platformdirs.user_cache_path("synvid", appauthor=False)
    except RuntimeError:  # recent versions of platformdirs
        return None
    return folder if folder.is_absolute() else None  # "~/.cache" was not expanded: HOME is not set, no such user id


def temporary_cache() -> Path:
    """A folder in the system's temporary directory that only this user can write to.

    The path is the same in every process, unless another user has created a folder of that name.
    """
    folder = Path(tempfile.gettempdir(), f"synvid-{os.getuid() if hasattr(os, 'getuid') else ''}")
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder if is_private(folder) else Path(tempfile.mkdtemp(prefix="synvid-"))


_temporary_folder = lru_cache(maxsize=1)(temporary_cache)


def is_private(folder: Path) -> bool:
    """Whether a path is a folder (not a link), owned by this user, and not writable by anybody else."""
    status = folder.lstat()
    is_ours = not hasattr(os, "getuid") or (status.st_uid == os.getuid() and not status.st_mode & 0o022)
    return stat.S_ISDIR(status.st_mode) and is_ours


def expand_user(name: str | Path) -> Path:
    """Replace a leading `~` with the home directory.

    Raises:
        ConfigurationError: there is no such user.
    """
    try:
        return Path(name).expanduser()
    except RuntimeError:
        raise ConfigurationError(f"{name}: no such user.") from None


def find_files(root: Path, suffixes: tuple[str, ...], without: str = "") -> list[str]:
    """Find files by suffix in a folder tree.

    Links to folders are followed, once each. Files named `._*` (metadata of macOS) are ignored.

    Args:
        root: the folder.
        suffixes: lower-case suffixes, compared without case.
        without: subfolders that hold a file of this name are skipped.

    Returns:
        Sorted paths relative to `root`, with `/` as separator.
    """
    paths: list[str] = []
    seen: set[str] = set()
    for folder, subfolders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen or (without in names and seen):  # a cycle of links, or a skipped folder
            subfolders.clear()
            continue
        seen.add(real)
        matching = (Path(folder, name) for name in names if name.lower().endswith(suffixes) and not name.startswith("._"))
        paths += [path.relative_to(root).as_posix() for path in matching if path.is_file()]
    return sorted(paths)


#: Characters in a path that `datasets` and webdataset do not read literally.
_PATTERN_CHARACTERS = ("[", "]", "{", "}", "*", "?", "#", "::")


def find_pattern_character(path: Path) -> str | None:
    """The first pattern or separator character in a path that loaders of datasets do not read literally; None if none."""
    return next((characters for characters in _PATTERN_CHARACTERS if characters in str(path)), None)
