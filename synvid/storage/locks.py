"""Files that say that something is in use, and by whom.

A lock file holds host and process of its owner, who keeps a lock of the operating system on it, which dies with the process,
and sets its date every ten seconds. So others can tell whether the owner lives: on the same machine by the lock; where locks
do not exist (Lustre without flock, some network file systems) or the owner is on another machine, by the date, compared with
the clock of the file system. What cannot be told counts as alive.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from synvid.runtime.signals import interrupted

__all__ = ["hold_lock", "is_stale"]


#: Owners set the date of their lock files so often, and one that has not for so long is gone: seconds.
_BEAT, _SILENCE = 10.0, 6 * 3600.0
#: So many beats are waited for where a lock file is to be taken over.
_LISTEN = 3.5
#: Two processes that take over a dead lock file at the same moment, without locks, see each other after so many seconds.
_SETTLE = 0.3
#: Windows locks bytes, and nobody may read them: one that no file reaches.
_LOCKED_BYTE = 1 << 30

_HOST = socket.gethostname()


def _module(name: str) -> Any:
    """A module that not every operating system has, or None."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


_fcntl, _msvcrt = _module("fcntl"), _module("msvcrt")

_held: dict[Path, int] = {}
_heart: threading.Thread | None = None


@contextlib.contextmanager
def hold_lock(path: Path) -> Iterator[bool]:
    """Hold a lock file as long as the block runs; it is removed at the end.

    Yields:
        Whether it is ours; False if another process that may be alive holds it.

    Raises:
        OSError: the file system refuses.
    """
    descriptor = _take(path)
    if descriptor is None:
        yield False
        return
    _held[path] = descriptor
    _start_heart()
    try:
        yield True
    finally:
        del _held[path]
        if _fcntl is None:  # Windows removes no open file
            os.close(descriptor)
        if _fcntl is None or _is_at(descriptor, path):  # elsewhere nobody else can take it before it is gone
            with contextlib.suppress(OSError):
                path.unlink()
        if _fcntl is not None:
            os.close(descriptor)


def _take(path: Path) -> int | None:
    """Create and lock a lock file, or take over one whose owner is gone; None if somebody else has it."""
    token = json.dumps({"host": _HOST, "pid": os.getpid(), "token": secrets.token_hex(8)}).encode()
    while True:
        existed = path.exists()
        if existed and not is_stale(path, wait=True):
            return None
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_RDWR | (0 if existed else os.O_EXCL), 0o644)
        except FileExistsError:  # another was quicker
            continue
        locked = _lock(descriptor)
        if locked is False:
            os.close(descriptor)
            return None
        try:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, token)
        except OSError:  # a full disk
            os.close(descriptor)
            path.unlink(missing_ok=True)
            raise
        if locked is None and existed:
            time.sleep(_SETTLE)
        if _is_at(descriptor, path) and (locked or _read(path) == token):
            return descriptor
        os.close(descriptor)  # its owner removed it, or a cleaner did, or another took it over


def is_stale(path: Path, wait: bool = False) -> bool:
    """Whether the owner of a lock file is known to be gone; a file that is not there has none.

    Args:
        path: of the file.
        wait: where only the heart of the owner tells, listen for it, half a minute; else it must be hours that it is silent.
    """
    if path in _held:
        return False
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        owner = _owner(path)
        if owner.get("host", _HOST) == _HOST:  # an empty one was just being made
            locked = _lock(descriptor)
            if locked is not None:
                return locked
            if _is_running(owner.get("pid")):
                return False
        return _has_stopped(path) if wait else _is_silent(path)
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _has_stopped(path: Path) -> bool:
    """Whether the date of a lock file stands still."""
    before, end = path.stat().st_mtime_ns, time.monotonic() + _LISTEN * _BEAT
    while time.monotonic() < end and not interrupted():
        time.sleep(0.1)
        if path.stat().st_mtime_ns != before:
            return False
    return not interrupted()


def _lock(descriptor: int) -> bool | None:
    """Lock an open file; None where that cannot be done at all."""
    if _msvcrt is not None:
        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        try:
            _msvcrt.locking(descriptor, _msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
        return True
    if _fcntl is None:
        return None
    try:
        _fcntl.flock(descriptor, _fcntl.LOCK_EX | _fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return None
    return True


def _owner(path: Path) -> dict[str, object]:
    try:
        owner = json.loads(_read(path) or b"{}")
    except ValueError:  # being written
        return {"host": "?"}
    return owner if isinstance(owner, dict) else {"host": "?"}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def _is_running(pid: object) -> bool:
    """Whether a process of that number is running on this machine; True where that cannot be asked."""
    if not isinstance(pid, int) or os.name == "nt":  # there, the question would end it
        return isinstance(pid, int)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _is_silent(path: Path) -> bool:
    """Whether the date of a lock file is old by the clock of its own file system."""
    probe = path.with_name(f"tmp-{secrets.token_hex(6)}.clock")
    try:
        probe.touch()
        return probe.stat().st_mtime - path.stat().st_mtime > _SILENCE
    finally:
        probe.unlink(missing_ok=True)


# ---- The heartbeat -------------------------------------------------------------------------------------------------
def _start_heart() -> None:
    global _heart  # noqa: PLW0603  # one a process
    if _heart is None:
        _heart = threading.Thread(target=_beat, daemon=True, name="synvid locks")
        _heart.start()


def _beat() -> None:
    while True:
        time.sleep(_BEAT)
        for path in list(_held):
            with contextlib.suppress(OSError):
                os.utime(path)


def _forget() -> None:
    """A forked process holds nothing: else a lock would live as long as the longest of them."""
    global _heart  # noqa: PLW0603
    for descriptor in _held.values():
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _held.clear()
    _heart = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
