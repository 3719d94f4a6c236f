"""Numbered tasks in a pool of processes, robust against their death."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synvid.errors import ConfigurationError, DatasetError
from synvid.os_errors import wrap_os_errors
from synvid.runtime.progress import Progress
from synvid.runtime.signals import Cancelled, add_interrupt_check, defer_signals, interrupted, raise_if_interrupted

__all__ = ["default_workers", "exit_with_parent", "run_tasks"]


_ATTEMPTS = 3
_DEATHS = f"its worker died {_ATTEMPTS} times, of too little memory perhaps"
#: What went wrong with a task that was not begun, or not ended, since the run was interrupted.
INTERRUPTED = "interrupted"
_POLL = 0.1  # seconds
#: Tasks a worker that are handed over before they are needed: waiting costs in proportion to them.
_AHEAD = 4


def default_workers() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _shared_memory() -> Path:
    """Where locks and memory lie that processes share: an error of theirs names no file."""
    return path if (path := Path("/dev/shm")).is_dir() else Path(tempfile.gettempdir())  # noqa: S108


class _Shared:
    """What the processes of a run have in common, without a lock that could die with its holder.

    Attributes:
        counts: units done of each task; only who does the task writes its count.
        busy: whether a task has been begun and not ended.
        stop: whether to come to an end.
    """

    def __init__(self, context: Any, tasks: int) -> None:
        self.counts = context.RawArray("q", tasks)
        self.busy = context.RawArray("b", tasks)
        self.stop = context.RawValue("b", 0)

    def done(self) -> int:
        """Units done of all tasks."""
        return int(np.frombuffer(self.counts, np.int64).sum())


_shared: _Shared | None = None
_call: Any = None


def exit_with_parent() -> None:
    """End this process when the one that started it has ended, whichever way it was started, also by a server of forks."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # a process of multiprocessing's

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _begin_worker(shared: _Shared, call: Any) -> None:
    """Between tasks: leave Ctrl-C to the parent, end when terminated, and die with the parent."""
    global _shared, _call  # a worker's one link to its parent; the work is sent once, not with each task
    _shared, _call = shared, call
    add_interrupt_check(lambda: bool(shared.stop.value))
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as it is in the background
        signal.signal(signal.SIGINT, lambda *_: None)  # not SIG_IGN, see `defer_signals`
    signal.signal(signal.SIGTERM, lambda number, _: os._exit(128 + number))
    exit_with_parent()


def _work(place: int, task: int) -> str | None:
    """Do one task in a worker; None, or what went wrong."""
    shared = _shared
    assert shared is not None  # set by _begin_worker
    shared.counts[place], shared.busy[place] = 0, 1

    def tick() -> None:
        raise_if_interrupted()
        shared.counts[place] += 1

    with defer_signals():
        problem = _attempt(_call, task, tick)
    shared.busy[place] = 0
    return problem


def _attempt(call: Any, task: int, tick: Callable[[], None]) -> str | None:
    """Do one task; None, or what went wrong, unless it is something that must end the run."""
    try:
        call(task, tick)
    except Cancelled:
        return INTERRUPTED
    except (ConfigurationError, DatasetError):
        raise
    except Exception as error:  # noqa: BLE001  # one bad shard must not cost the others
        return str(error) if type(error) is RuntimeError else f"{type(error).__name__}: {error}"
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
        with defer_signals():
            if min(workers, len(units)) <= 1:
                return _run_here(call, list(units), progress, done)
            return _run_pool(call, list(units), workers, progress, done)
    finally:
        progress.finish()


def _run_here(call: Any, tasks: list[int], progress: Progress, done: int) -> dict[int, str]:
    failed, count = {}, done

    def tick() -> None:
        nonlocal count
        raise_if_interrupted()
        count += 1
        progress.update(count)

    for task in tasks:
        try:
            problem = INTERRUPTED if interrupted() else _attempt(call, task, tick)
        except (ConfigurationError, DatasetError):
            if not interrupted():  # an encoder's process may have been hit by the same signal
                raise
            problem = INTERRUPTED
        if problem is not None:
            failed[task] = problem
    return failed


def _run_pool(call: Any, tasks: list[int], workers: int, progress: Progress, done: int) -> dict[int, str]:
    """Run in a pool; when a worker dies, start a new pool for what is left.

    Which of the tasks that were being done is to blame cannot be told, since the pool ends the other workers, too. So these
    come last, each alone in a pool of one worker, and one whose worker dies three times then fails.
    """
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with wrap_os_errors(_shared_memory()):
        run = _Run(call, context, _Shared(context, len(tasks)), progress, done, {})
    left, suspects = deque(enumerate(tasks)), deque[tuple[int, int]]()
    barren = 0  # pools in a row that died before a task was begun
    while left and not interrupted() and barren < _ATTEMPTS:
        before = len(left)
        suspects += run.drain(left, workers)
        barren = barren + 1 if len(left) == before else 0
    deaths = Counter[int]()
    while suspects and not interrupted():
        alone = deque([suspects.popleft()])
        for place, task in (*run.drain(alone, 1), *alone):
            deaths[task] += 1
            if deaths[task] < _ATTEMPTS or interrupted():
                suspects.append((place, task))
            else:
                run.failed[task] = _DEATHS
    unfinished = (task for _, task in (*left, *suspects))
    return run.failed | dict.fromkeys(unfinished, INTERRUPTED if interrupted() else _DEATHS)


@dataclass
class _Run:
    """What does not change from pool to pool, and the tasks that failed."""

    call: Any
    context: Any
    shared: _Shared
    progress: Progress
    done: int
    failed: dict[int, str]
    told: float = 0.0

    def drain(self, left: deque[tuple[int, int]], workers: int) -> list[tuple[int, int]]:
        """Do tasks, (place, number), until none is left, a worker dies or the run is interrupted.

        Args:
            left: what is to be done; what has not been is in it at the end, but for what is returned.
            workers: processes.

        Returns:
            Tasks whose worker died.
        """
        count = min(workers, len(left))
        start = (self.shared, self.call)
        waiting: dict[Future[str | None], tuple[int, int]] = {}
        others = multiprocessing.active_children()
        with (
            wrap_os_errors(_shared_memory()),
            ProcessPoolExecutor(count, self.context, _begin_worker, start) as pool,
        ):
            try:
                while (left or waiting) and not interrupted():
                    while left and len(waiting) < _AHEAD * count:
                        future = pool.submit(_work, *left[0])
                        waiting[future] = left.popleft()
                    over, _ = wait(waiting, timeout=_POLL, return_when=FIRST_COMPLETED)
                    self._tell()
                    for future in over:
                        self._settle(waiting[future], future.result())
                        del waiting[future]
            except BrokenProcessPool:
                pass
            except OSError:  # no more files or processes: those that have begun would wait for ever
                for process in set(multiprocessing.active_children()).difference(others):
                    process.kill()
                raise
            finally:
                self.shared.stop.value = bool(waiting)
                pool.shutdown(wait=True, cancel_futures=True)
        self.shared.stop.value = 0
        self.progress.update(self.done + self.shared.done())
        died = []
        for future, (place, task) in reversed(waiting.items()):
            ended = future.done() and not future.cancelled() and future.exception() is None
            if ended and future.result() != INTERRUPTED:
                self._settle((place, task), future.result())
            elif self.shared.busy[place]:
                died.append((place, task))
            else:
                left.appendleft((place, task))
        return died

    def _tell(self) -> None:
        """Report progress, ten times a second: to add up the counts costs in proportion to the tasks."""
        if time.monotonic() - self.told >= _POLL:
            self.progress.update(self.done + self.shared.done())
            self.told = time.monotonic()

    def _settle(self, entry: tuple[int, int], problem: str | None) -> None:
        if problem is not None:
            self.failed[entry[1]] = problem
