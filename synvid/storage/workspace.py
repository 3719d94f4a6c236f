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


#: Folder of a dataset with synvid's own records; hidden, so that loaders skip it.
STATE_FOLDER = ".synvid"


@contextlib.contextmanager
def workspace(folder: Path) -> Iterator[Path]:
    """Create a temporary folder inside a dataset, on the same file system, and remove it at the end.

    A lock file beside it marks it as in use, see `remove_stale_workspaces`.

    Args:
        folder: the dataset; created if needed.

    Yields:
        The path of the temporary folder.
    """
    state = folder / STATE_FOLDER
    state.mkdir(parents=True, exist_ok=True)
    with defer_signals(), contextlib.ExitStack() as stack:
        tmp_dir, is_held = state, False
        while not is_held:  # another run's clean-up may remove a lock file after its creation and before it is locked
            tmp_dir = state / f"tmp-{secrets.token_hex(6)}"
            is_held = stack.enter_context(hold_lock(tmp_dir.with_suffix(".lock")))
        stack.callback(shutil.rmtree, tmp_dir, ignore_errors=True)
        tmp_dir.mkdir()
        yield tmp_dir


def remove_stale_workspaces(folder: Path) -> None:
    """Remove the workspaces of killed runs, that is those with a stale lock file."""
    for lock in (folder / STATE_FOLDER).glob("tmp-*.lock"):
        if is_stale(lock):
            shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
            with contextlib.suppress(OSError):
                lock.unlink(missing_ok=True)
    for probe in (folder / STATE_FOLDER).glob("tmp-*.clock"):
        probe.unlink(missing_ok=True)
