"""Numbered tasks in a pool of processes, robust against their death."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np

from synvid.errors import ConfigurationError, DatasetError
from synvid.work.disk import named_errors
from synvid.work.interrupt import interrupted, postponed
from synvid.work.progress import Progress

__all__ = ["default_workers", "run_tasks"]

_ATTEMPTS = 3
_POLL = 0.1  # seconds


def default_workers() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Cancelled(BaseException):
    """Raised between two clips when the run has been interrupted."""


class _Shared:
    """What the processes of a run have in common, without a lock that could die with its holder.

    Attributes:
        counts: units done of each task; only who does the task writes its count.
        stop: whether to come to an end.
    """

    def __init__(self, context: Any, tasks: int) -> None:
        self.counts = context.RawArray("q", tasks)
        self.stop = context.RawValue("b", 0)

    def done(self) -> int:
        """Units done of all tasks."""
        return int(np.frombuffer(self.counts, np.int64).sum())


_shared: _Shared | None = None


def _begin_worker(shared: _Shared, parent: int) -> None:
    """Between tasks: leave Ctrl-C to the parent, end when terminated, and die with the parent."""
    global _shared  # noqa: PLW0603  # a worker's one link to its parent
    _shared = shared
    signal.signal(signal.SIGINT, lambda *_: None)  # not SIG_IGN, see `postponed`
    signal.signal(signal.SIGTERM, lambda number, _: os._exit(128 + number))

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _work(call: Any, place: int, task: int) -> str | None:
    """Do one task in a worker; None, or what went wrong."""
    shared = _shared
    assert shared is not None  # set by _begin_worker
    shared.counts[place] = 0

    def tick() -> None:
        if shared.stop.value or interrupted():
            raise _Cancelled
        shared.counts[place] += 1

    with postponed():
        return _attempt(call, task, tick)


def _attempt(call: Any, task: int, tick: Callable[[], None]) -> str | None:
    """Do one task; None, or what went wrong, unless it is something that must end the run."""
    try:
        call(task, tick)
    except _Cancelled:
        return "interrupted"
    except (ConfigurationError, DatasetError):
        raise
    except Exception as error:  # noqa: BLE001  # one bad shard must not cost the others
        return f"{type(error).__name__}: {error}"
    return None


def run_tasks(
    call: Any, tasks: Iterable[tuple[int, int]], workers: int, progress: Progress, done: int = 0, unit: str = "clip"
) -> dict[int, str]:
    """Do numbered tasks in processes.

    Args:
        call: call(task, tick) does one; it must be picklable, and calls `tick` after each of the task's units.
        tasks: number and units of each.
        workers: processes; with one, or one task, the work is done in this one.
        progress: told of every unit.
        done: units that were done before.
        unit: what they are called.

    Returns:
        Task → what went wrong, for those that failed.
    """
    units = dict(tasks)
    progress.start(done + sum(units.values()), done, unit)
    try:
        with postponed():
            if min(workers, len(units)) <= 1:
                return _run_here(call, list(units), progress, done)
            return _run_pool(call, list(units), workers, progress, done)
    finally:
        progress.finish()


def _run_here(call: Any, tasks: list[int], progress: Progress, done: int) -> dict[int, str]:
    failed, count = {}, done

    def tick() -> None:
        nonlocal count
        if interrupted():
            raise _Cancelled
        count += 1
        progress.update(count)

    for task in tasks:
        try:
            problem = "interrupted" if interrupted() else _attempt(call, task, tick)
        except (ConfigurationError, DatasetError):
            if not interrupted():  # an encoder's process may have been hit by the same signal
                raise
            problem = "interrupted"
        if problem is not None:
            failed[task] = problem
    return failed


def _run_pool(call: Any, tasks: list[int], workers: int, progress: Progress, done: int) -> dict[int, str]:
    """Run in a pool; when a worker dies, start a new pool for what is left."""
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    left, failed = dict(enumerate(tasks)), dict[int, str]()
    with named_errors(Path(tempfile.gettempdir())):
        shared = _Shared(context, len(tasks))
    for _ in range(_ATTEMPTS):
        with (
            named_errors(Path(tempfile.gettempdir())),
            ProcessPoolExecutor(min(workers, len(left)), context, _begin_worker, (shared, os.getpid())) as pool,
        ):
            waiting: dict[Future[str | None], int] = {}
            try:
                for place, task in left.items():
                    waiting[pool.submit(_work, call, place, task)] = place
                while waiting and not interrupted():
                    over, _ = wait(waiting, timeout=_POLL, return_when=FIRST_COMPLETED)
                    progress.update(done + shared.done())
                    for future in over:
                        problem, place = future.result(), waiting.pop(future)
                        task = left.pop(place)
                        if problem is not None:
                            failed[task] = problem
            except BrokenProcessPool:
                pass
            finally:
                shared.stop.value = bool(waiting)
                pool.shutdown(wait=True, cancel_futures=True)
        if not left or interrupted():
            break
        shared.stop.value = 0
    why = "interrupted" if interrupted() else f"its worker died {_ATTEMPTS} times, of too little memory perhaps"
    return failed | dict.fromkeys(left.values(), why)
