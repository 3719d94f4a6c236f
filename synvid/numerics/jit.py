"""One decorator for every compiled function: strict floating point, no GIL, cached on disk."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core.caching import FunctionCache

from synvid.paths import is_private, temporary_cache, user_cache

__all__ = ["SIMD", "is_cold", "jit"]


Function = TypeVar("Function", bound=Callable[..., Any])

#: Vector stores are used unless SYNVID_SIMD=0 asks for the plain path. Both give the same pixels.
SIMD = os.environ.get("SYNVID_SIMD", "1") != "0"


#: The modules that a module imports: `from synvid.a.b import`.
_IMPORTED = re.compile(rb"from synvid\.([\w.]+) import")


def _source_stamp() -> str:
    """Hash of the source files that compiled functions depend on.

    These are all modules that import this one, and the modules they import. Numba itself notices a change in a function's own
    file, but not in the files of the functions that it calls.
    """
    digest = hashlib.sha256(f"simd={SIMD} numba={numba.__version__} {sys.version}".encode())
    package = Path(__file__).parent.parent
    sources = {path: path.read_bytes() for path in package.rglob("*.py")}
    kernels = {path for path, source in sources.items() if b"synvid.numerics.jit" in source}
    imported = {package.joinpath(*name.decode().split(".")) for path in kernels for name in _IMPORTED.findall(sources[path])}
    for path in sorted(kernels | {path.with_suffix(".py") for path in imported} & sources.keys()):
        digest.update(f"{path} {hashlib.sha256(sources[path]).hexdigest()}".encode())
    return digest.hexdigest()[:16]


def _cache_folder() -> str:
    """The first folder we may write to: NUMBA_CACHE_DIR, the user's cache, a temporary one; empty if there is none.

    Numba runs what lies there, so nobody else may be able to put anything into it.
    """
    stamp = _source_stamp()
    named = os.environ.get("NUMBA_CACHE_DIR")
    home = Path(named) if named else user_cache()
    with contextlib.suppress(OSError):
        if home is not None:
            folder = (home if named else home / "numba") / stamp
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if is_private(folder) and _is_writable(folder):
                return str(folder)
    with contextlib.suppress(OSError):  # others may write to what lies above: our folder is checked before we look into it
        folder = temporary_cache() / stamp
        folder.mkdir(mode=0o700, exist_ok=True)
        if is_private(folder) and _is_writable(folder):
            return str(folder)
    return ""


def _is_writable(folder: Path) -> bool:
    with tempfile.TemporaryFile(dir=folder):
        return True


class _ForgivingCache(FunctionCache):
    """Numba's cache of a function's machine code, whose faults cost time and nothing else."""

    def load_overload(self, *args: Any) -> Any:
        """What was compiled before; None if it cannot be read, and then it is dropped."""
        try:
            return super().load_overload(*args)
        except Exception:  # noqa: BLE001  # whatever a truncated pickle raises
            with contextlib.suppress(Exception):
                self.flush()
            return None

    def save_overload(self, *args: Any) -> None:
        """Keep what was compiled, if there is room."""
        with contextlib.suppress(Exception):
            super().save_overload(*args)


_CACHE_FOLDER = _cache_folder()


def is_cold() -> bool:
    """Whether the kernels have yet to be compiled on this machine, which takes some seconds."""
    return not _CACHE_FOLDER or not any(Path(_CACHE_FOLDER).rglob("*.nbi"))


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
        compiled._cache = _ForgivingCache(function)  # noqa: SLF001  # as njit(cache=True) does with Numba's own
    except RuntimeError:  # Numba finds no place for it
        pass
    finally:
        config.CACHE_DIR = previous
    return compiled  # type: ignore[no-any-return]
