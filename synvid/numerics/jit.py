"""The decorator of all compiled functions: strict floating point, without the GIL, cached on disk."""

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

#: Whether to use vector code; SYNVID_SIMD=0 selects the plain loops, which give the same pixels.
SIMD = os.environ.get("SYNVID_SIMD", "1") != "0"


#: The import of a module that has compiled functions.
_COMPILES = re.compile(rb"from synvid\.numerics\.jit import [^\n]*\b(?:jit|SIMD)\b")
#: The imports of a module: `from synvid.a.b import c, d`.
_IMPORTS = re.compile(rb"from synvid\.([\w.]+) import (\([^)]*\)|[^\n]*)")


def _source_stamp() -> str:
    """Hash of the source files that compiled functions depend on.

    These are all modules that import `jit` or `SIMD`, and the modules they import. Numba itself notices a change in the
    file of a function, but not in the files of the functions that it calls.
    """
    digest = hashlib.sha256(f"simd={SIMD} numba={numba.__version__} {sys.version}".encode())
    package = Path(__file__).parent.parent
    sources = {path: path.read_bytes() for path in package.rglob("*.py")}
    kernels = {path for path, source in sources.items() if _COMPILES.search(source)} | {Path(__file__)}
    imported = set()
    for module, names in (found for path in kernels for found in _IMPORTS.findall(sources[path])):
        module_path = package.joinpath(*module.decode().split("."))
        imported |= {module_path, *(module_path / name for name in re.findall(r"\w+", names.decode()))}
    for path in sorted(kernels | {path.with_suffix(".py") for path in imported} & sources.keys()):
        digest.update(f"{path} {hashlib.sha256(sources[path]).hexdigest()}".encode())
    return digest.hexdigest()[:16]


def _cache_folder() -> str:
    """The first private, writable folder of NUMBA_CACHE_DIR, the user's cache and a temporary folder; "" if there is none.

    Numba executes the files in it, so no other user may be able to write to it.
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
    with contextlib.suppress(OSError):  # its parent is shared with other users, so the folder itself is checked
        folder = temporary_cache() / stamp
        folder.mkdir(mode=0o700, exist_ok=True)
        if is_private(folder) and _is_writable(folder):
            return str(folder)
    return ""


def _is_writable(folder: Path) -> bool:
    with tempfile.TemporaryFile(dir=folder):
        return True


class _TolerantCache(FunctionCache):
    """Numba's on-disk cache of a function's machine code; errors cause a recompilation instead of a failure."""

    def load_overload(self, *args: Any) -> Any:
        """Load machine code; a file that cannot be read is deleted and counts as a cache miss."""
        try:
            return super().load_overload(*args)
        except Exception:  # noqa: BLE001  # a truncated pickle can raise anything
            with contextlib.suppress(Exception):
                self.flush()
            return None

    def save_overload(self, *args: Any) -> None:
        """Save machine code; errors, such as a full disk, are ignored."""
        with contextlib.suppress(Exception):
            super().save_overload(*args)


_CACHE_FOLDER = _cache_folder()


def is_cold() -> bool:
    """Whether the cache is empty: then the kernels have to be compiled, which takes some seconds."""
    return not _CACHE_FOLDER or not any(Path(_CACHE_FOLDER).rglob("*.nbi"))


def jit(function: Function) -> Function:
    """Compile a function on its first call.

    No fast-math and no contraction: the same IEEE operations in the same order give the same bits on every CPU.
    """
    compiled: Any = numba.njit(nogil=True, boundscheck=False, error_model="numpy")(function)
    if not _CACHE_FOLDER:
        return compiled  # type: ignore[no-any-return]
    config: Any = numba.config
    previous = config.CACHE_DIR
    config.CACHE_DIR = _CACHE_FOLDER  # Numba reads it when a cache is created; restored below for other code
    try:
        compiled._cache = _TolerantCache(function)  # noqa: SLF001  # as njit(cache=True) does with Numba's own
    except RuntimeError:  # Numba cannot locate the function's source
        pass
    finally:
        config.CACHE_DIR = previous
    return compiled  # type: ignore[no-any-return]
