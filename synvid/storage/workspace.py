"""Locked temporary folders inside a dataset."""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from synvid.runtime.signals import defer_signals
from synvid.storage.locks import hold_lock, is_stale

__all__ = ["STATE_FOLDER", "remove_stale_workspaces", "workspace"]


#: Folder of a dataset in which synvid keeps its own records; hidden, so that loaders pass it over.
STATE_FOLDER = ".synvid"


@contextlib.contextmanager
def workspace(folder: Path) -> Iterator[Path]:
    """A folder of our own inside a dataset, on its file system, removed at the end whatever happens.

    A lock beside it tells others that it is in use; `remove_stale_workspaces` removes those whose owner is gone.
    """
    state = folder / STATE_FOLDER
    state.mkdir(parents=True, exist_ok=True)
    with defer_signals(), contextlib.ExitStack() as stack:
        room, held = state, False
        while not held:  # a cleaner may take a lock file between its making and its locking
            room = state / f"tmp-{secrets.token_hex(6)}"
            held = stack.enter_context(hold_lock(room.with_suffix(".lock")))
        stack.callback(shutil.rmtree, room, ignore_errors=True)
        room.mkdir()
        yield room


def remove_stale_workspaces(folder: Path) -> None:
    """Remove workspaces of runs that were killed: those whose owner is known to be gone."""
    for lock in (folder / STATE_FOLDER).glob("tmp-*.lock"):
        if is_stale(lock):
            shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
            with contextlib.suppress(OSError):
                lock.unlink(missing_ok=True)
    for probe in (folder / STATE_FOLDER).glob("tmp-*.clock"):
        probe.unlink(missing_ok=True)
