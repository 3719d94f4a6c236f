"""The local executor: tasks in a pool of worker processes. A task that crashes its worker fails alone."""

from __future__ import annotations

import multiprocessing
import operator
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
from synvid.runtime.signals import Cancelled, defer_signals, interrupted, raise_if_interrupted, set_interrupt_check

__all__ = ["INTERRUPTED", "check_workers", "default_workers", "exit_with_parent", "run_tasks"]


_MAX_ATTEMPTS = 3
_WORKER_DIED = f"its worker process died {_MAX_ATTEMPTS} times, possibly for lack of memory"
#: Error message of a task that was not started or not finished because the run was interrupted.
INTERRUPTED = "interrupted"
_POLL_SECONDS = 0.1
#: Number of tasks per worker that are submitted ahead: the cost of `wait` is proportional to it.
_QUEUED_PER_WORKER = 4


def default_workers() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_workers(workers: int | None) -> int:
    """Return a number of worker processes; None stands for `default_workers()`.

    Raises:
        ConfigurationError: it is not a whole number, or not positive.
    """
    if workers is None:
        return default_workers()
    try:
        number = 0 if isinstance(workers, bool) else operator.index(workers)
    except TypeError:
        number = 0
    if number < 1:
        value = f"{workers!r} ({type(workers).__name__})"
        raise ConfigurationError(f"workers is {value}; it must be a whole number from 1, or None for all cores.")
    return number


def _shared_memory_folder() -> Path:
    """Return the folder of semaphores and shared memory, for errors of the operating system that name no file."""
    return path if (path := Path("/dev/shm")).is_dir() else Path(tempfile.gettempdir())  # noqa: S108


class _SharedState:
    """Memory shared by the processes of a run, without locks: a killed process could hold one forever.

    Attributes:
        counts: int64 (num_tasks,), finished units of each task; written only by the worker of the task.
        busy: int8 (num_tasks,), 1 while a worker runs the task.
        stop: 1 if the workers shall stop.
    """

    def __init__(self, context: Any, num_tasks: int) -> None:
        self.counts = context.RawArray("q", num_tasks)
        self.busy = context.RawArray("b", num_tasks)
        self.stop = context.RawValue("b", 0)

    def total(self) -> int:
        """Return the number of finished units of all tasks."""
        return int(np.frombuffer(self.counts, np.int64).sum())


#: State of a worker process, set by `_begin_worker`: the callable is sent once per worker, not with every task.
_shared: _SharedState | None = None
_call: Any = None


def exit_with_parent() -> None:
    """End this process when its parent process ends, with any start method (also forkserver)."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # this is a process of multiprocessing

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _begin_worker(shared: _SharedState, call: Any) -> None:
    """Initialize a worker process: ignore Ctrl-C (the parent handles it), exit on SIGTERM, exit with the parent."""
    global _shared, _call
    _shared, _call = shared, call
    set_interrupt_check(lambda: bool(shared.stop.value))
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as in a background job
        signal.signal(signal.SIGINT, lambda *_: None)  # not SIG_IGN, see `defer_signals`
    signal.signal(signal.SIGTERM, lambda number, _: os._exit(128 + number))
    exit_with_parent()


def _run_in_worker(position: int, task: int) -> str | None:
    """Run a task in a worker process and return its error message, or None.

    Args:
        position: index of the task in the shared arrays.
        task: number of the task.
    """
    shared = _shared
    assert shared is not None  # set by _begin_worker
    shared.counts[position], shared.busy[position] = 0, 1

    def on_progress() -> None:
        raise_if_interrupted()
        shared.counts[position] += 1

    with defer_signals():
        error = _attempt(_call, task, on_progress)
    shared.busy[position] = 0
    return error


def _attempt(call: Any, task: int, on_progress: Callable[[], None]) -> str | None:
    """Run a task and return its error message, or None; errors that must end the whole run are raised."""
    try:
        call(task, on_progress)
    except Cancelled:
        return INTERRUPTED
    except (ConfigurationError, DatasetError):
        raise
    except Exception as error:  # noqa: BLE001  # the other tasks go on
        return str(error) if type(error) is RuntimeError else f"{type(error).__name__}: {error}"
    return None


def run_tasks(
    call: Any, tasks: Iterable[tuple[int, int]], workers: int, progress: Progress, done: int = 0, unit: str = "clip"
) -> dict[int, str]:
    """Run numbered tasks in worker processes.

    Args:
        call: `call(task, on_progress)` runs one task and calls `on_progress()` after each of its units. Must be picklable.
        tasks: (number, number of units) of each task.
        workers: number of processes. With one worker or one task, everything runs in this process.
        progress: progress callback, in units.
        done: number of units finished by earlier runs.
        unit: name of a unit, for the progress callback.

    Returns:
        Error messages of the tasks that failed, by task number.

    Raises:
        ConfigurationError: from `call`.
        DatasetError: from `call`, or the workers cannot be started.
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

    def on_progress() -> None:
        nonlocal count
        raise_if_interrupted()
        count += 1
        progress.update(count)

    for task in tasks:
        try:
            error = INTERRUPTED if interrupted() else _attempt(call, task, on_progress)
        except (ConfigurationError, DatasetError):
            if not interrupted():  # else an encoder process may have been ended by the same signal
                raise
            error = INTERRUPTED
        if error is not None:
            failed[task] = error
    return failed


def _run_pool(call: Any, tasks: list[int], workers: int, progress: Progress, done: int) -> dict[int, str]:
    """Run tasks in a pool; if a worker dies, start a new pool for the remaining tasks.

    When a worker dies the executor ends the others, too, so any task that was running may be the cause. These suspects run
    last, each alone in a pool of one worker; a task whose worker dies three times there fails.
    """
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with wrap_os_errors(_shared_memory_folder()):
        run = _PoolRun(call, context, _SharedState(context, len(tasks)), progress, done, {})
    remaining, suspects = deque(enumerate(tasks)), deque[tuple[int, int]]()
    useless_pools = 0  # consecutive pools that died before any task was started
    while remaining and not interrupted() and useless_pools < _MAX_ATTEMPTS:
        before = len(remaining)
        suspects += run.drain(remaining, workers)
        useless_pools = useless_pools + 1 if len(remaining) == before else 0
    deaths = Counter[int]()
    while suspects and not interrupted():
        alone = deque([suspects.popleft()])
        for position, task in (*run.drain(alone, 1), *alone):
            deaths[task] += 1
            if deaths[task] < _MAX_ATTEMPTS or interrupted():
                suspects.append((position, task))
            else:
                run.failed[task] = _WORKER_DIED
    unfinished = (task for _, task in (*remaining, *suspects))
    return run.failed | dict.fromkeys(unfinished, INTERRUPTED if interrupted() else _WORKER_DIED)


@dataclass
class _PoolRun:
    """State that is kept from one pool of a run to the next.

    Attributes:
        failed: error messages by task number.
        last_report: time of the last progress report, monotonic seconds.
    """

    call: Any
    context: Any
    shared: _SharedState
    progress: Progress
    done: int
    failed: dict[int, str]
    last_report: float = 0.0

    def drain(self, remaining: deque[tuple[int, int]], workers: int) -> list[tuple[int, int]]:
        """Run tasks in a new pool until none remains, a worker dies or the run is interrupted.

        Args:
            remaining: (position, task) of the tasks to run. At the end it holds those that were not run, without the suspects.
            workers: number of processes.

        Returns:
            Suspects: tasks that were running when a worker died.
        """
        count = min(workers, len(remaining))
        waiting: dict[Future[str | None], tuple[int, int]] = {}
        processes_before = multiprocessing.active_children()
        with (
            wrap_os_errors(_shared_memory_folder()),
            ProcessPoolExecutor(count, self.context, _begin_worker, (self.shared, self.call)) as pool,
        ):
            try:
                while (remaining or waiting) and not interrupted():
                    while remaining and len(waiting) < _QUEUED_PER_WORKER * count:
                        future = pool.submit(_run_in_worker, *remaining[0])
                        waiting[future] = remaining.popleft()
                    finished, _ = wait(waiting, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
                    self._report()
                    for future in finished:
                        self._collect(waiting[future], future.result())
                        del waiting[future]
            except BrokenProcessPool:
                pass
            except OSError:  # no more files or processes: the workers that were started would wait forever
                for process in set(multiprocessing.active_children()).difference(processes_before):
                    process.kill()
                raise
            finally:
                self.shared.stop.value = bool(waiting)
                pool.shutdown(wait=True, cancel_futures=True)
        self.shared.stop.value = 0
        self.progress.update(self.done + self.shared.total())
        return self._sort_unfinished(waiting, remaining)

    def _sort_unfinished(
        self, waiting: dict[Future[str | None], tuple[int, int]], remaining: deque[tuple[int, int]]
    ) -> list[tuple[int, int]]:
        """Collect what finished during the shutdown, put back what was not started, and return the suspects."""
        suspects = []
        for future, (position, task) in reversed(waiting.items()):
            is_done = future.done() and not future.cancelled() and future.exception() is None
            if is_done and future.result() != INTERRUPTED:
                self._collect((position, task), future.result())
            elif self.shared.busy[position]:
                suspects.append((position, task))
            else:
                remaining.appendleft((position, task))
        return suspects

    def _report(self) -> None:
        """Report progress, at most ten times a second: the cost of the sum is proportional to the number of tasks."""
        if time.monotonic() - self.last_report >= _POLL_SECONDS:
            self.progress.update(self.done + self.shared.total())
            self.last_report = time.monotonic()

    def _collect(self, entry: tuple[int, int], error: str | None) -> None:
        if error is not None:
            self.failed[entry[1]] = error
