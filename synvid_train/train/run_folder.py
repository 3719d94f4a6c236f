"""The folder of a training run: its files and its lock."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from pathlib import Path

from synvid.errors import ConfigurationError, DatasetError
from synvid.os_errors import wrap_os_errors
from synvid.storage.locks import hold_lock
from synvid_train.distributed import DistributedContext

__all__ = ["lock_run_folder", "remove_run_files", "remove_unfinished_files"]


#: All files that a run writes into its folder.
_RUN_FILES = ("recipe.yaml", "last.pt", "last.safetensors", "log.jsonl", "curves.png", "tensorboard/events.out.tfevents.*")
#: Temporary files of atomic writes.
_UNFINISHED = re.compile(r"\.(recipe\.yaml|last\.pt|last\.safetensors|log\.jsonl|curves\.png)\.[0-9a-f]{12}")
_LOCK = "run.lock"
#: A network file system may show new files late on other machines: other processes wait this long, in seconds.
_VISIBILITY_TIMEOUT = 20.0


def remove_run_files(out: Path) -> None:
    """Remove the files that a run writes, and leave all others."""
    with wrap_os_errors(out):
        for path in [path for pattern in _RUN_FILES for path in out.glob(pattern)]:
            path.unlink()
        with contextlib.suppress(OSError):  # missing, or not empty
            (out / "tensorboard").rmdir()


def remove_unfinished_files(out: Path) -> None:
    """Remove temporary files left by a run that was killed during a write."""
    for path in out.glob(".*"):
        if _UNFINISHED.fullmatch(path.name):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def lock_run_folder(out: Path, distributed: DistributedContext) -> Iterator[None]:
    """Lock the folder against other runs, and check that all processes see the same folder.

    Creates the folder; removes it at the end if it is empty.

    Raises:
        ConfigurationError: another run holds the lock, or some processes see a different folder.
        DatasetError: the folder or the lock file cannot be written.
    """
    with contextlib.ExitStack() as stack:
        state, content = "", ""
        if distributed.is_main:
            try:
                stack.callback(_remove_empty_folders, [folder for folder in (out, *out.parents) if not folder.exists()])
                out.mkdir(parents=True, exist_ok=True)
                held = stack.enter_context(hold_lock(out / _LOCK))
                state, content = ("held", (out / _LOCK).read_text()) if held else ("busy", "")
            except OSError as error:
                state, content = "failed", f"{error.filename or out}: {error.strerror or error}."
        state, content = distributed.broadcast((state, content))
        if state == "failed":
            raise DatasetError(content)
        if state == "busy":
            raise ConfigurationError(f"{out}: another run is using this folder; stop it first, or choose another --out.")
        same_folder = _wait_for_content(out / _LOCK, content, distributed)
        others = distributed.gather([] if same_folder else [str(distributed.rank)])
        if others:
            raise ConfigurationError(
                f"{out}: is not the same folder for all processes (rank {', '.join(others)} sees another); "
                "choose a folder that all machines share as --out."
            )
        yield


def _remove_empty_folders(folders: list[Path]) -> None:
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()


def _wait_for_content(path: Path, content: str, distributed: DistributedContext) -> bool:
    """Whether the file has the content that the main process wrote; waits for it if processes run on several machines."""
    deadline = time.monotonic() + (0 if distributed.local_size == distributed.world_size else _VISIBILITY_TIMEOUT)
    while True:
        with contextlib.suppress(OSError):
            if path.read_text() == content:
                return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.5)
