"""Lock files that detect whether their owner is still running, also without flock and across machines.

The `filelock` package does not replace this module: on a file system without flock (Lustre, some network file systems) it
cannot tell whether the owner of a lock file is alive.

A lock file holds the host name and process id of its owner. The owner keeps an operating-system lock on it, which ends with
the process, and updates the file's modification time every ten seconds (the heartbeat).

On the same machine, a lock is stale if no process holds the operating-system lock; on a file system without such locks, it is
held if a process with the owner's id is running. In all other cases the heartbeat decides: a lock is stale if its modification
time does not change for 35 seconds (`hold_lock`), or is six hours old by the clock of the file system (clean-up, which does
not wait). If this cannot be decided, the lock is treated as held.
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


#: Interval of heartbeats, and age of the last one from which a lock is stale, seconds.
_HEARTBEAT, _STALE_AGE = 10.0, 6 * 3600.0
#: Number of heartbeat intervals to watch a lock file before taking it over.
_WATCH_HEARTBEATS = 3.5
#: Without operating-system locks, two processes may take over a stale lock together; they notice after this delay, seconds.
_TAKEOVER_DELAY = 0.3
#: Windows locks byte ranges, and nobody can read a locked byte: lock one beyond the end of any file.
_LOCKED_BYTE = 1 << 30

_HOST = socket.gethostname()


def _import_if_available(name: str) -> Any:
    """Import a module that only some operating systems have, else return None."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


_fcntl, _msvcrt = _import_if_available("fcntl"), _import_if_available("msvcrt")

_held: dict[Path, int] = {}
_heartbeat_thread: threading.Thread | None = None


@contextlib.contextmanager
def hold_lock(path: Path) -> Iterator[bool]:
    """Hold a lock file for the duration of the block; it is removed at the end.

    Args:
        path: the lock file.

    Yields:
        Whether the lock was acquired; False if another process, which may be alive, holds it.

    Raises:
        OSError: the file cannot be created or written.
    """
    descriptor = _acquire(path)
    if descriptor is None:
        yield False
        return
    _held[path] = descriptor
    _start_heartbeat()
    try:
        yield True
    finally:
        del _held[path]
        if _fcntl is None:  # Windows cannot remove an open file
            os.close(descriptor)
        if _fcntl is None or _is_same_file(descriptor, path):  # remove before unlocking: nobody can take it over in between
            with contextlib.suppress(OSError):
                path.unlink()
        if _fcntl is not None:
            os.close(descriptor)


def _acquire(path: Path) -> int | None:
    """Create and lock a lock file, or take over a stale one; return its file descriptor, or None if it is held."""
    token = json.dumps({"host": _HOST, "pid": os.getpid(), "token": secrets.token_hex(8)}).encode()
    while True:
        existed = path.exists()
        if existed and not is_stale(path, wait=True):
            return None
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_RDWR | (0 if existed else os.O_EXCL), 0o644)
        except FileExistsError:  # another process created it first
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
            time.sleep(_TAKEOVER_DELAY)
        if _is_same_file(descriptor, path) and (locked or _read(path) == token):
            return descriptor
        os.close(descriptor)  # its owner or a clean-up removed it, or another process took it over


def is_stale(path: Path, wait: bool = False) -> bool:
    """Return whether the owner of a lock file has ended; False if unknown, or if the file does not exist.

    Args:
        path: the lock file.
        wait: if the heartbeat decides, True watches for 35 s; False requires the last heartbeat to be 6 h old.
    """
    if path in _held:
        return False
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        owner = _owner(path)
        if owner.get("host", _HOST) == _HOST:  # an empty file: its owner is about to write it
            locked = _lock(descriptor)
            if locked is not None:
                return locked
            if _is_running(owner.get("pid")):
                return False
        return _has_no_heartbeat(path) if wait else _is_too_old(path)
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _has_no_heartbeat(path: Path) -> bool:
    """Watch a lock file for some heartbeat intervals; return whether its modification time did not change."""
    before, end = path.stat().st_mtime_ns, time.monotonic() + _WATCH_HEARTBEATS * _HEARTBEAT
    while time.monotonic() < end and not interrupted():
        time.sleep(0.1)
        if path.stat().st_mtime_ns != before:
            return False
    return not interrupted()


def _lock(descriptor: int) -> bool | None:
    """Lock an open file; return whether that succeeded, or None if the file system has no locks."""
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
    except ValueError:  # half written
        return {"host": "?"}
    return owner if isinstance(owner, dict) else {"host": "?"}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _is_same_file(descriptor: int, path: Path) -> bool:
    """Return whether `path` still names this open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def _is_running(pid: object) -> bool:
    """Return whether a process with this id runs on this machine; True if unknown."""
    if not isinstance(pid, int) or os.name == "nt":  # os.kill would end it there
        return isinstance(pid, int)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _is_too_old(path: Path) -> bool:
    """Return whether the last heartbeat is hours old by the clock of the file system."""
    probe = path.with_name(f"tmp-{secrets.token_hex(6)}.clock")
    try:
        probe.touch()
        return probe.stat().st_mtime - path.stat().st_mtime > _STALE_AGE
    finally:
        probe.unlink(missing_ok=True)


# ---- Heartbeat -----------------------------------------------------------------------------------------------------
def _start_heartbeat() -> None:
    global _heartbeat_thread  # noqa: PLW0603  # one per process
    if _heartbeat_thread is None:
        _heartbeat_thread = threading.Thread(target=_update_times, daemon=True, name="synvid locks")
        _heartbeat_thread.start()


def _update_times() -> None:
    while True:
        time.sleep(_HEARTBEAT)
        for path in list(_held):
            with contextlib.suppress(OSError):
                os.utime(path)


def _release_after_fork() -> None:
    """Close inherited lock files: otherwise a lock would last as long as any forked process."""
    global _heartbeat_thread  # noqa: PLW0603
    for descriptor in _held.values():
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _held.clear()
    _heartbeat_thread = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_release_after_fork)
