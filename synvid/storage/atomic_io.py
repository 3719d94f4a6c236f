"""Writing so that nobody ever sees half a file, whoever is killed or runs beside us."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

__all__ = ["atomic_write", "create_exclusive", "file_sha256", "pop_lines", "read_at", "write_at"]


def create_exclusive(path: Path, data: str, room: Path) -> bool:
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


def atomic_write(path: Path, data: bytes | str | Iterable[bytes], room: Path | None = None) -> None:
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


def pop_lines(path: Path) -> list[str]:
    """The lines of a file to which processes have added names, sorted, each once; the file is removed."""
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
        path.unlink()
    except OSError:  # there is none, or another run has just taken it
        return []
    return sorted(set(text.splitlines()))


def file_sha256(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()
