"""Writing so that nobody ever sees half a file, whoever is killed or runs beside us."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from synvid.errors import DatasetError
from synvid.work.interrupt import postponed

try:
    import fcntl
except ImportError:  # no such locks here: leftovers are told by their age
    fcntl = None  # type: ignore[assignment]

__all__ = ["STATE", "clean_leftovers", "find_files", "named_errors", "take_names", "workspace", "write_first", "write_whole"]

#: Folder of a dataset in which synvid keeps its own records; hidden, so that loaders pass it over.
STATE = ".synvid"

_OLD = 86_400.0  # seconds
_HOST = socket.gethostname().encode()


@contextlib.contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Turn an error of the file system into a sentence that names the file.

    Raises:
        DatasetError: in place of OSError.
    """
    try:
        yield
    except OSError as error:
        name = error.filename if isinstance(error.filename, str) else path
        raise DatasetError(f"{name}: {error.strerror or error}.") from None


@contextlib.contextmanager
def workspace(folder: Path) -> Iterator[Path]:
    """A folder of our own inside a dataset, on its file system, removed at the end whatever happens.

    A lock that dies with us tells others that it is in use; `clean_leftovers` removes those whose owner is gone.
    """
    state = folder / STATE
    state.mkdir(parents=True, exist_ok=True)
    with postponed():
        room, descriptor = _open_room(state)
        try:
            yield room
        finally:
            shutil.rmtree(room, ignore_errors=True)
            room.with_suffix(".lock").unlink(missing_ok=True)
            os.close(descriptor)


def _open_room(state: Path) -> tuple[Path, int]:
    """Make an empty folder and lock the file beside it, or leave nothing."""
    while True:
        lock = state / f"tmp-{secrets.token_hex(6)}.lock"
        descriptor = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
        with contextlib.suppress(OSError):  # a full disk will say so when it matters
            os.write(descriptor, _HOST)
        if _lock(descriptor) and lock.exists():  # else a cleaner took it between the two calls
            break
        os.close(descriptor)
    try:
        lock.with_suffix("").mkdir()
    except OSError:
        lock.unlink(missing_ok=True)
        os.close(descriptor)
        raise
    return lock.with_suffix(""), descriptor


def clean_leftovers(folder: Path) -> None:
    """Remove workspaces of runs that were killed."""
    for lock in (folder / STATE).glob("tmp-*.lock"):
        with contextlib.suppress(OSError):
            descriptor = os.open(lock, os.O_RDWR)
            try:
                old = time.time() - lock.stat().st_mtime > _OLD
                ours = fcntl is not None and os.read(descriptor, 1000) in (_HOST, b"")
                if old or (ours and _lock(descriptor)):  # a lock may not be seen from another machine
                    shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
                    lock.unlink(missing_ok=True)
            finally:
                os.close(descriptor)


def _lock(descriptor: int) -> bool:
    if fcntl is None:
        return True  # type: ignore[unreachable]
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def write_first(path: Path, data: str, room: Path) -> bool:
    """Write a file unless it is there, whole; False if somebody else was first."""
    temporary = room / path.name
    temporary.write_text(data, encoding="utf-8")
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError:  # no hard links here: create it, which only one of us can, and write it in one call
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            return False
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            file.write(data.encode())
            os.fsync(file.fileno())
    return True


def write_whole(path: Path, data: bytes | str | Iterable[bytes], room: Path | None = None) -> None:
    """Write a file under another name, then rename it: readers see the old one or the new one.

    Args:
        path: of the file.
        data: its content, whole or piece by piece.
        room: a workspace in which the other name lies, so that it is swept if we are killed; else it lies beside `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = (room or path.parent) / f".{path.name}.{secrets.token_hex(6)}"
    try:
        with temporary.open("wb") as file:
            if isinstance(data, (bytes, str)):
                data = [data.encode() if isinstance(data, str) else data]
            file.writelines(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def find_files(root: Path, suffixes: tuple[str, ...]) -> list[str]:
    """Files with one of some suffixes anywhere below a folder, links to folders followed; relative paths, sorted."""
    found, seen = [], set()
    for folder, below, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link back
            below.clear()
            continue
        seen.add(real)
        some = (Path(folder, name) for name in names if name.lower().endswith(suffixes))
        found += [path.relative_to(root).as_posix() for path in some if path.is_file()]
    return sorted(found)


def take_names(path: Path) -> list[str]:
    """The lines of a file to which processes have added names, sorted, each once; the file is removed."""
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
        path.unlink()
    except OSError:  # there is none, or another run has just taken it
        return []
    return sorted(set(text.splitlines()))
