"""The folder of a training run: its lock and its files."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from pathlib import Path

from synvid.errors import ConfigurationError, DatasetError
from synvid.storage.locks import hold_lock
from synvid_train.distributed import DistributedContext

__all__ = ["RUN_FILES"]


#: All that a run writes into its folder.
RUN_FILES = ("recipe.yaml", "last.pt", "last.safetensors", "log.jsonl", "curves.png", "tensorboard/events.out.tfevents.*")
UNFINISHED = re.compile(r"\.(recipe\.yaml|last\.pt|last\.safetensors|log\.jsonl|curves\.png)\.[0-9a-f]{12}")
_LOCK = "run.lock"
#: Where a network file system shows new files late, other machines are given so many seconds.
_VISIBLE = 20.0


@contextlib.contextmanager
def lock_run_folder(out: Path, world: DistributedContext) -> Iterator[None]:
    """Keep other trainings out of a folder, and see that all processes mean the same folder.

    Raises:
        ConfigurationError: another run works in it, or not all processes see it.
        DatasetError: the file system refuses.
    """
    with contextlib.ExitStack() as stack:
        answer: tuple[str, str] = ("", "")
        if world.first:
            try:
                stack.callback(_remove_empty, [folder for folder in (out, *out.parents) if not folder.exists()])
                out.mkdir(parents=True, exist_ok=True)
                held = stack.enter_context(hold_lock(out / _LOCK))
                answer = ("held", (out / _LOCK).read_text()) if held else ("busy", "")
            except OSError as error:
                answer = ("refused", f"{error.filename or out}: {error.strerror or error}.")
        state, word = world.from_first(answer)
        if state == "refused":
            raise DatasetError(word)
        if state == "busy":
            raise ConfigurationError(f"{out}: another run is working here; end it first, or give another --out.")
        blind = world.gather([] if _sees(out / _LOCK, word, world) else [str(world.rank)])
        if blind:
            raise ConfigurationError(
                f"{out}: is not the same folder for all processes (rank {', '.join(blind)} sees another); "
                "give a folder that all machines share as --out."
            )
        yield


def _remove_empty(folders: list[Path]) -> None:
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()


def _sees(path: Path, word: str, world: DistributedContext) -> bool:
    """Whether a lock file of the first process is there for this one, too."""
    end = time.monotonic() + (0 if world.on_this_machine == world.size else _VISIBLE)
    while True:
        with contextlib.suppress(OSError):
            if path.read_text() == word:
                return True
        if time.monotonic() >= end:
            return False
        time.sleep(0.5)
