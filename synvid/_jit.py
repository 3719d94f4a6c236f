"""One decorator for every compiled function: strict floating point, no GIL, cached on disk."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import sys
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core.caching import FunctionCache

__all__ = ["SIMD", "cache_home", "is_cold", "jit"]

Function = TypeVar("Function", bound=Callable[..., Any])

#: Vector stores are used unless SYNVID_SIMD=0 asks for the plain path. Both give the same pixels.
SIMD = os.environ.get("SYNVID_SIMD", "1") != "0"


def _source_stamp() -> str:
    """Hash of the names, sizes and dates of all sources.

    Numba notices a change in a function's own file, but not in the files it calls into.
    """
    digest = hashlib.sha256(f"simd={SIMD} numba={numba.__version__} {sys.version}".encode())
    root = Path(__file__).parent
    for path in sorted(
        path for folder in (".", "measure", "raster", "texture", "video") for path in root.glob(f"{folder}/*.py")
    ):
        status = path.stat()
        digest.update(f"{path} {status.st_size} {status.st_mtime_ns}".encode())
    return digest.hexdigest()[:16]


def cache_home() -> Path:
    """The user's folder for caches; a temporary one of a user who has no home.

    Raises:
        OSError: there is none of either.
    """
    return _user_cache() or _temporary_home()


def _user_cache() -> Path | None:
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    except RuntimeError:  # no HOME, and nobody of this number in the list of users
        return None


def _temporary_cache() -> Path:
    """A folder that nobody else may write to; the same one next time, unless somebody has taken its name."""
    folder = Path(tempfile.gettempdir(), f"synvid-{os.getuid() if hasattr(os, 'getuid') else ''}")
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder if _is_private(folder) else Path(tempfile.mkdtemp(prefix="synvid-"))


#: The same one as long as the process lives.
_temporary_home = lru_cache(maxsize=1)(_temporary_cache)


def _cache_folder() -> str:
    """The first folder we may write to: NUMBA_CACHE_DIR, the user's cache, a temporary one; empty if there is none.

    Numba runs what lies there, so nobody else may be able to put anything into it.
    """
    stamp = _source_stamp()
    named = os.environ.get("NUMBA_CACHE_DIR")
    home = Path(named) if named else _user_cache()
    with contextlib.suppress(OSError):
        if home is not None:
            folder = (home if named else home / "synvid" / "numba") / stamp
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if _is_private(folder) and _is_writable(folder):
                return str(folder)
    with contextlib.suppress(OSError):  # others may write to what lies above: our folder is checked before we look into it
        folder = _temporary_cache() / stamp
        folder.mkdir(mode=0o700, exist_ok=True)
        if _is_private(folder) and _is_writable(folder):
            return str(folder)
    return ""


def _is_private(folder: Path) -> bool:
    """Whether a folder is no link, is ours, and nobody else may write to it."""
    status = folder.lstat()
    ours = not hasattr(os, "getuid") or (status.st_uid == os.getuid() and not status.st_mode & 0o022)
    return stat.S_ISDIR(status.st_mode) and ours


def _is_writable(folder: Path) -> bool:
    with tempfile.TemporaryFile(dir=folder):
        return True


class _ForgivingCache(FunctionCache):
    """Numba's cache of a function's machine code, whose faults cost time and nothing else."""

    def load_overload(self, *args: Any) -> Any:
        """What was compiled before; None if it cannot be read, and then it is dropped."""
        try:
            return super().load_overload(*args)  # type: ignore[no-untyped-call]
        except Exception:  # noqa: BLE001  # whatever a truncated pickle raises
            with contextlib.suppress(Exception):
                self.flush()  # type: ignore[no-untyped-call]
            return None

    def save_overload(self, *args: Any) -> None:
        """Keep what was compiled, if there is room."""
        with contextlib.suppress(Exception):
            super().save_overload(*args)  # type: ignore[no-untyped-call]


_CACHE_FOLDER = _cache_folder()


def is_cold() -> bool:
    """Whether the kernels have yet to be compiled on this machine, which takes some seconds."""
    return not _CACHE_FOLDER or not any(Path(_CACHE_FOLDER).rglob("renderer.*.nbi"))


def jit(function: Function) -> Function:
    """Compile `function` on first use, in the same way on every machine.

    No fast-math and no contraction: the same IEEE operations in the same order give the same bits on every CPU.
    """
    compiled: Any = numba.njit(nogil=True, boundscheck=False, error_model="numpy")(function)
    if not _CACHE_FOLDER:
        return compiled  # type: ignore[no-any-return]
    config: Any = numba.config
    previous = config.CACHE_DIR
    config.CACHE_DIR = _CACHE_FOLDER  # read when a cache is made, so other people's caches stay put
    try:
        compiled._cache = _ForgivingCache(function)  # type: ignore[no-untyped-call]  # noqa: SLF001  # as njit(cache=True) does with Numba's own
    except RuntimeError:  # Numba finds no place for it
        pass
    finally:
        config.CACHE_DIR = previous
    return compiled  # type: ignore[no-any-return]
