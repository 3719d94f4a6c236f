"""Runs interrupted by SIGINT and SIGTERM end quickly and leave no temporary files."""

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from running import wait_until

from fault_tolerance.helpers import (
    CLIPS,
    SHARDS,
    BackgroundRun,
    assert_same,
    assert_tidy,
    both_layouts,
    command,
    linux_only,
    run_synvid,
    slow_down_rendering,
)
from synvid.runtime import local_executor

pytestmark = linux_only


@both_layouts
@pytest.mark.parametrize("group", [False, True], ids=["parent", "group"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"])
@pytest.mark.parametrize("workers", [1, 2])
def test_interrupted_run_keeps_finished_shards(layout, group, number, code, workers, small, undisturbed, tmp_path):
    """SIGINT and SIGTERM, to the parent or to all: right exit code, finished shards kept, no temporary files."""
    expected, folder = undisturbed(small, layout), tmp_path / "set"
    run = BackgroundRun(folder, *command(small, layout, folder, workers=workers), before=slow_down_rendering)
    wait_until(lambda: list(folder.glob(".synvid/shard-*.json")))
    time.sleep(random.Random(f"{layout} {group} {number} {workers}").uniform(0, 0.05))
    run.signal(number, group)
    result = run.wait()
    assert (result.code, "Traceback" in result.stderr) == (code, False), result.stderr
    assert 1 <= assert_tidy(folder, expected) < SHARDS
    kept = {path: path.stat().st_mtime_ns for path in folder.glob("*/*") if path.suffix == ".tar"}
    assert run_synvid(*command(small, layout, folder)).code == 0
    assert_same(folder, expected)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"])
@pytest.mark.parametrize("moment", range(4))
def test_run_interrupted_at_start_ends_quickly(number, code, moment, slow, tmp_path):
    """A signal while worker processes are started or tasks submitted ends the run without doing all the work."""
    folder, many = tmp_path / "set", 4000
    run = BackgroundRun(folder, *command(slow, "tar", folder, n=many))
    wait_until((folder / "synvid.yaml").exists)
    time.sleep(random.Random(moment).uniform(0, 0.08))
    begin = time.monotonic()
    run.signal(number)
    result = run.wait()
    assert (result.code, "Traceback" in result.stderr) == (code, False), result.stderr
    assert time.monotonic() - begin < 5
    assert [path for path in folder.rglob("*") if path.name.startswith("tmp-")] == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"])
def test_run_interrupted_while_starting_a_worker_ends(number, code, slow, tmp_path):
    """A signal after the first worker process is started, and before the second, leaves no half pool waiting."""
    folder = tmp_path / "set"

    def starting_a_worker_interrupts():
        start = multiprocessing.context.ForkProcess.start
        multiprocessing.context.ForkProcess.start = lambda self: (start(self), os.kill(os.getpid(), number))

    run = BackgroundRun(folder, *command(slow, "tar", folder), before=starting_a_worker_interrupts)
    result = run.wait()
    assert (result.code, "Traceback" in result.stderr) == (code, False), result.stderr
    assert_tidy(folder, {})


class InterruptAtLock:
    """Interrupt this process just after it acquires its k-th lock while its workers run."""

    def __init__(self, k):
        self.left = k

    def __call__(self):
        slow_down_rendering()
        run_pool, self.home = local_executor._run_pool, os.getpid()

        def watched(*args):
            sys.setprofile(self.see)
            return run_pool(*args)

        local_executor._run_pool = watched

    def see(self, _frame, event, function):
        if event == "c_return" and function.__name__ in ("acquire", "__enter__") and os.getpid() == self.home:
            self.left -= 1
            if self.left == 0:
                os.kill(self.home, signal.SIGINT)


@pytest.mark.parametrize("k", [*range(1, 40, 6), *range(40, 640, 60)])
def test_run_interrupted_while_holding_a_lock_ends(k, small, tmp_path):
    """SIGINT between acquiring and releasing a lock leaves no processes or threads that wait forever."""
    folder = tmp_path / "set"
    run = BackgroundRun(folder, *command(small, "tar", folder, size=1), before=InterruptAtLock(k))
    run.process.join(10)
    exit_code = run.process.exitcode
    run.signal(signal.SIGKILL, group=True)
    assert exit_code in (0, 130), run.log.read_text()
    assert "Traceback" not in run.log.read_text()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"])
def test_installed_program_can_be_interrupted(number, code, slow, undisturbed, tmp_path):
    """`python -m synvid` handles signals to its process group in the same way."""
    folder = tmp_path / "set"
    args = [sys.executable, "-m", "synvid", *map(str, command(slow, "tar", folder, n=4 * CLIPS))]
    with subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        wait_until(lambda: list(folder.glob(".synvid/shard-*.json")))
        os.killpg(process.pid, number)
        stdout, stderr = process.communicate(timeout=20)
    assert process.returncode == code
    assert stdout == ""
    assert "Traceback" not in stderr
    if number == signal.SIGINT:
        assert stderr.strip() == "synvid: interrupted; finished work is kept, and the same command continues from there."
    assert assert_tidy(folder, undisturbed(slow, "tar")) >= 1
