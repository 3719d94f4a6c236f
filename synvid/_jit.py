"""One decorator for every compiled function: strict floating point, no GIL, cached on disk."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba

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
    """The user's folder for caches."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()


def _cache_folder() -> str:
    """The first folder we may write to: NUMBA_CACHE_DIR, the user's cache, a temporary one."""
    chosen = os.environ.get("NUMBA_CACHE_DIR") or str(cache_home() / "synvid" / "numba")
    stamp = _source_stamp()
    for base in (chosen, str(Path(tempfile.gettempdir()) / f"synvid-{os.getuid() if hasattr(os, 'getuid') else ''}")):
        folder = Path(base) / stamp
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            ours = not hasattr(os, "getuid") or folder.stat().st_uid == os.getuid()
            with tempfile.TemporaryFile(dir=folder):
                if ours:  # Numba runs what lies here: nobody else may have put it there
                    return str(folder)
        except OSError:
            continue
    return ""


_CACHE_FOLDER = _cache_folder()


def is_cold() -> bool:
    """Whether the kernels have yet to be compiled on this machine, which takes some seconds."""
    return not _CACHE_FOLDER or not any(Path(_CACHE_FOLDER).rglob("renderer.*.nbi"))


def jit(function: Function) -> Function:
    """Compile `function` on first use, in the same way on every machine.

    No fast-math and no contraction: the same IEEE operations in the same order give the same bits on every CPU.
    """
    config: Any = numba.config
    previous = config.CACHE_DIR
    config.CACHE_DIR = _CACHE_FOLDER  # read when the cache is enabled, so other people's caches stay put
    try:
        compiled: Any = numba.njit(cache=bool(_CACHE_FOLDER), nogil=True, boundscheck=False, error_model="numpy")(function)
        return compiled  # type: ignore[no-any-return]
    finally:
        config.CACHE_DIR = previous
