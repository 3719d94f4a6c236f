"""Atomic writes, positioned reads and writes, and file hashes."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

__all__ = ["atomic_path", "atomic_write", "create_exclusive", "file_sha256", "read_and_delete_lines", "read_at", "write_at"]


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path for code that writes a file by name; the file then replaces `path` atomically.

    The file has the permissions of any new file, whatever the code inside gives it. If the block raises, `path` is unchanged
    and the temporary file is removed.

    Args:
        path: the file to write. Its folder is created if needed.

    Yields:
        A path in the same folder.
    """
    with _temporary_name(path, path.parent) as temporary:
        temporary.touch()
        mode = stat.S_IMODE(temporary.stat().st_mode)
        yield temporary
        temporary.chmod(mode)
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        temporary.replace(path)


def atomic_write(path: Path, data: bytes | str | Iterable[bytes], tmp_dir: Path | None = None) -> None:
    """Write a file atomically: a reader sees the old content or the new content, never a part.

    Args:
        path: the file. Its folder is created if needed.
        data: the content, whole or in chunks.
        tmp_dir: folder of the temporary file, on the same file system; a workspace is cleaned up if this process is killed.
            By default it is the folder of `path`.
    """
    chunks = [data.encode() if isinstance(data, str) else data] if isinstance(data, (bytes, str)) else data
    with _temporary_name(path, tmp_dir or path.parent) as temporary:
        with temporary.open("wb") as file:
            file.writelines(chunks)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)


@contextlib.contextmanager
def _temporary_name(path: Path, tmp_dir: Path) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = tmp_dir / f".{path.name}.{secrets.token_hex(6)}"
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def create_exclusive(path: Path, text: str, tmp_dir: Path) -> bool:
    """Create a file with its whole content, unless it exists.

    Returns:
        False if the file exists already.
    """
    temporary = tmp_dir / path.name
    temporary.write_text(text, encoding="utf-8")
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError:  # no hard links on this file system: create the file and write it in a single call
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            return False
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            file.write(text.encode())
            os.fsync(file.fileno())
    return True


def read_at(descriptor: int, count: int, offset: int) -> bytes:
    """Read up to `count` bytes of an open file from an offset; fewer at the end of the file."""
    if hasattr(os, "pread"):
        return os.pread(descriptor, count, offset)
    os.lseek(descriptor, offset, os.SEEK_SET)  # Windows; no other thread uses the descriptor
    return os.read(descriptor, count)


def write_at(descriptor: int, data: memoryview, offset: int) -> None:
    """Write all data to an open file at an offset; a single system call may write less."""
    data = data.cast("B") if data.ndim != 1 or data.format != "B" else data
    while data:
        if hasattr(os, "pwrite"):
            written = os.pwrite(descriptor, data, offset)
        else:
            os.lseek(descriptor, offset, os.SEEK_SET)
            written = os.write(descriptor, data)
        data, offset = data[written:], offset + written


def read_and_delete_lines(path: Path) -> list[str]:
    """Read the distinct lines of a file, sorted, and delete the file; an empty list if there is none."""
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
        path.unlink()
    except OSError:  # missing, or another run has just removed it
        return []
    return sorted(set(text.splitlines()))


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content, 64 hexadecimal digits.

    Raises:
        OSError: the file cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
