"""The pool of worker processes: repeated tasks, dead workers, and what is sent to them."""

import errno
import multiprocessing
import os
import pickle
import signal
import sys
import time

import pytest

from synvid.errors import DatasetError
from synvid.runtime.local_executor import run_tasks
from synvid.runtime.progress import Progress

POSIX = pytest.mark.skipif(os.name != "posix", reason="signals and fork of POSIX")


class Killer:
    """Kills its worker at some tasks, each time or only the first."""

    def __init__(self, folder, always, once):
        self.folder, self.always, self.once = folder, always, once

    def __call__(self, task, on_progress):
        if task in self.always or (task in self.once and not (self.folder / f"{task}").exists()):
            (self.folder / f"{task}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        on_progress()


@POSIX
def test_task_whose_worker_dies_three_times_fails(tmp_path):
    """A task that kills its worker three times fails alone; tasks that kill one once are repeated, however many."""
    tasks = [(task, 1) for task in range(40)]
    failed = run_tasks(Killer(tmp_path, {17}, {3, 8, 21, 30, 35}), tasks, 2, Progress())
    assert list(failed) == [17]
    assert "died 3 times" in failed[17]


class SlowBesideKiller:
    """Task 5 kills its worker each time; the others take longer."""

    def __call__(self, task, on_progress):
        time.sleep(0.05 if task == 5 else 0.3)
        if task == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        on_progress()


@POSIX
def test_tasks_beside_a_killed_worker_are_repeated():
    """Only the task that kills its worker fails, whatever was running at the same time."""
    assert list(run_tasks(SlowBesideKiller(), [(task, 1) for task in range(8)], 2, Progress())) == [5]


class CountingPickles:
    """Counts how often it is pickled."""

    sent = 0

    def __call__(self, _, on_progress):
        on_progress()

    def __getstate__(self):
        type(self).sent += 1
        return {}


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_callable_is_pickled_once_per_worker(method, monkeypatch):
    """The callable is sent to each worker process once, not with every task; with fork not at all."""
    context = multiprocessing.get_context(method)
    monkeypatch.setattr("synvid.runtime.local_executor.multiprocessing.get_context", lambda _: context)
    CountingPickles.sent = 0
    assert run_tasks(CountingPickles(), [(task, 1) for task in range(50)], 2, Progress()) == {}
    assert CountingPickles.sent <= (2 if method == "spawn" else 0)


def test_few_tasks_are_submitted_ahead(monkeypatch):
    """However many tasks there are, only a few per worker are submitted and unfinished."""
    from synvid.runtime import local_executor

    seen, original = [], local_executor.wait
    monkeypatch.setattr(local_executor, "wait", lambda waiting, **more: seen.append(len(waiting)) or original(waiting, **more))
    assert run_tasks(CountingPickles(), [(task, 1) for task in range(500)], 2, Progress()) == {}
    assert max(seen) <= 8


def test_submitted_task_is_small():
    """What is sent with a task does not grow with the callable."""
    from synvid.runtime.local_executor import _run_in_worker

    assert len(pickle.dumps((_run_in_worker, 12, 3400))) < 200


class DoNothing:
    def __call__(self, _, on_progress):
        on_progress()


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.EMFILE, r"too many open files: the limit of a process is \d+; raise `ulimit -n`, or use fewer --workers\."),
        (errno.ENOSPC, r"shm: No space left on device\."),
        (errno.EAGAIN, r"no more processes can be started \(`ulimit -u`, .*\); use fewer --workers\."),
    ],
    ids=["files", "shared memory", "processes"],
)
@pytest.mark.skipif(sys.platform != "linux", reason="forks, and /dev/shm")
def test_pool_that_cannot_start_raises(number, message, monkeypatch):
    """If the second worker process cannot be started, the error names the limit, and the first worker ends."""
    start, begun = multiprocessing.context.ForkProcess.start, []

    def refuse(self):
        if begun:
            raise OSError(number, os.strerror(number))
        start(self)
        begun.append(self)

    monkeypatch.setattr(multiprocessing.context.ForkProcess, "start", refuse)
    with pytest.raises(DatasetError, match=message):
        run_tasks(DoNothing(), [(task, 1) for task in range(8)], 4, Progress())
    begun[0].join(5)
    assert begun[0].exitcode is not None
