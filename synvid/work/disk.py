"""Writing so that nobody ever sees half a file, whoever is killed or runs beside us."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from synvid.errors import DatasetError
from synvid.work.interrupt import postponed
from synvid.work.locks import hold, is_dead

__all__ = [
    "RECIPE_FILE",
    "STATE",
    "clean_leftovers",
    "find_files",
    "in_words",
    "named_errors",
    "raise_file_limit",
    "read_at",
    "take_names",
    "workspace",
    "write_at",
    "write_first",
    "write_whole",
]

#: Folder of a dataset in which synvid keeps its own records; hidden, so that loaders pass it over.
STATE = ".synvid"
#: The recipe of a dataset: a folder that has one is output, and no input of another run.
RECIPE_FILE = "synvid.yaml"


@contextlib.contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Turn an error of the file system into a sentence that names the file.

    Raises:
        DatasetError: in place of OSError.
    """
    try:
        yield
    except OSError as error:
        raise DatasetError(in_words(error, path)) from None


def in_words(error: OSError, path: Path | None = None) -> str:
    """An error of the operating system as a sentence: the file, or `path`, or the limit that it met, and what is wrong."""
    if error.errno == errno.EMFILE:
        return f"too many open files: a process may have {raise_file_limit()}; raise `ulimit -n`, or take fewer --workers."
    if error.errno == errno.EAGAIN and error.filename is None:
        return "no more processes can be started (`ulimit -u`, or a limit of the container); take fewer --workers."
    name = error.filename if isinstance(error.filename, str) else path
    return f"{name}: {error.strerror or error}." if name else f"{error.strerror or error}."


def raise_file_limit() -> int:
    """How many files this process may have open, after the limit has been raised as far as we may."""
    try:
        import resource
    except ImportError:  # Windows
        return 1 << 20
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 20 if soft == resource.RLIM_INFINITY else soft


@contextlib.contextmanager
def workspace(folder: Path) -> Iterator[Path]:
    """A folder of our own inside a dataset, on its file system, removed at the end whatever happens.

    A lock beside it tells others that it is in use; `clean_leftovers` removes those whose owner is gone.
    """
    state = folder / STATE
    state.mkdir(parents=True, exist_ok=True)
    with postponed(), contextlib.ExitStack() as stack:
        room, held = state, False
        while not held:  # a cleaner may take a lock file between its making and its locking
            room = state / f"tmp-{secrets.token_hex(6)}"
            held = stack.enter_context(hold(room.with_suffix(".lock")))
        stack.callback(shutil.rmtree, room, ignore_errors=True)
        room.mkdir()
        yield room


def clean_leftovers(folder: Path) -> None:
    """Remove workspaces of runs that were killed: those whose owner is known to be gone."""
    for lock in (folder / STATE).glob("tmp-*.lock"):
        if is_dead(lock):
            shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
            with contextlib.suppress(OSError):
                lock.unlink(missing_ok=True)
    for probe in (folder / STATE).glob("tmp-*.clock"):
        probe.unlink(missing_ok=True)


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


def read_at(descriptor: int, count: int, at: int) -> bytes:
    """Bytes of an open file from a place on; fewer where it ends."""
    if hasattr(os, "pread"):
        return os.pread(descriptor, count, at)
    os.lseek(descriptor, at, os.SEEK_SET)  # Windows; nobody else uses the descriptor
    return os.read(descriptor, count)


def write_at(descriptor: int, data: memoryview, at: int) -> None:
    """Write all of the data from a place on: a single call may write less."""
    data = data.cast("B") if data.ndim != 1 or data.format != "B" else data
    while data:
        if hasattr(os, "pwrite"):
            written = os.pwrite(descriptor, data, at)
        else:
            os.lseek(descriptor, at, os.SEEK_SET)
            written = os.write(descriptor, data)
        data, at = data[written:], at + written


def find_files(root: Path, suffixes: tuple[str, ...], without: str = "") -> list[str]:
    """Files with one of some suffixes anywhere below a folder, links to folders followed; relative paths, sorted.

    Files whose names begin with `._` are passed over: macOS keeps there what other file systems cannot hold of their twins.
    Folders below it in which a file called `without` is are passed over.
    """
    found: list[str] = []
    seen: set[str] = set()
    for folder, below, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen or (without in names and seen):  # a link back, or not wanted
            below.clear()
            continue
        seen.add(real)
        some = (Path(folder, name) for name in names if name.lower().endswith(suffixes) and not name.startswith("._"))
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
