"""Runs and worker processes killed with SIGKILL: the same command completes the dataset."""

import os
import random
import shutil
import signal
import sys
import time

import pytest
from running import wait_until

from fault_tolerance.helpers import (
    BackgroundRun,
    assert_same,
    assert_tidy,
    both_layouts,
    command,
    damage_truncated,
    is_alive,
    linux_only,
    run_synvid,
    shard_file,
)
from synvid.runtime import local_executor

pytestmark = linux_only


@both_layouts
@pytest.mark.parametrize("fraction", [random.Random(moment).uniform(0.02, 1.0) for moment in range(6)])
def test_killed_run_can_be_continued(layout, fraction, slow, undisturbed, tmp_path):
    """After kill -9 of the process group at a random moment, the same command gives the bytes of an undisturbed run."""
    expected, folder = undisturbed(slow, layout), tmp_path / "set"
    run = BackgroundRun(folder, *command(slow, layout, folder))
    time.sleep(fraction * 0.4)
    run.signal(signal.SIGKILL, group=True)
    run.wait()
    assert run_synvid(*command(slow, layout, folder)).code == 0
    assert_same(folder, expected)


class KillAt:
    """Kill this process just before it makes its k-th change of a folder."""

    def __init__(self, folder, k):
        self.folder, self.left = str(folder), k

    def __call__(self):
        sys.addaudithook(self.see)

    def see(self, event, args):
        changes = ("os.rename", "os.mkdir", "os.remove", "os.rmdir")
        is_change = event in changes or (event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR))
        if is_change and isinstance(args[0], str | os.PathLike) and os.fspath(args[0]).startswith(self.folder):
            self.left -= 1
            if self.left < 0:
                os.kill(os.getpid(), signal.SIGKILL)


def prepare_nothing(folder, small, layout):
    return command(small, layout, folder, **TWO_SHARDS)


def prepare_damage(folder, small, layout):
    """Render a dataset with a shard that `verify` has found to be damaged."""
    assert run_synvid(*command(small, layout, folder, **TWO_SHARDS)).code == 0
    damage_truncated(shard_file(folder, layout, 1, size=1))
    assert run_synvid("verify", folder, "--workers", 1).code == 1
    return command(small, layout, folder, **TWO_SHARDS)


def prepare_overwrite(folder, small, layout):
    """Render a dataset with another seed and layout."""
    other = "files" if layout == "tar" else "tar"
    assert run_synvid(*command(small, other, folder, "--seed", 9, **TWO_SHARDS)).code == 0
    return command(small, layout, folder, "--overwrite", **TWO_SHARDS)


def prepare_merge(folder, small, layout):
    """Render two parts to merge."""
    parts = [folder.with_name(f"part-{i}") for i in range(2)]
    for i, part in enumerate(parts):
        assert run_synvid(*command(small, layout, part, "--part", f"{i}/2", **TWO_SHARDS)).code == 0
    return ["merge", folder, *parts]


TWO_SHARDS = {"n": 2, "size": 1, "workers": 1}


@pytest.mark.slow
@both_layouts
@pytest.mark.parametrize("prepare", [prepare_nothing, prepare_damage, prepare_overwrite, prepare_merge])
def test_run_killed_before_each_file_change_can_be_continued(layout, prepare, small, undisturbed, tmp_path):
    """Killed before its first, second, third, ... change of the folder, the same command completes the dataset each time."""
    expected, start, folder = undisturbed(small, layout, 2, 1), tmp_path / "start", tmp_path / "set"
    args = [folder if arg == start else arg for arg in prepare(start, small, layout)]
    for k in range(layout == "files", 1000, 2):  # each layout tests half of the moments
        if start.exists():
            shutil.copytree(start, folder)
        result = BackgroundRun(folder, *args, before=KillAt(folder, k)).wait()
        if result.code == 0:
            break
        assert result.code == -signal.SIGKILL, result.stderr
        again = run_synvid(*args)
        assert again.code == 0, f"killed before change {k}: {again.stderr}"
        assert_same(folder, expected)
        shutil.rmtree(folder)
    assert k > 10
    assert_same(folder, expected)


@both_layouts
def test_killed_worker_is_replaced(layout, slow, undisturbed, tmp_path):
    """After kill -9 of one worker process, the run itself renders its shard again, and the dataset is complete."""
    expected, folder = undisturbed(slow, layout), tmp_path / "set"
    run = BackgroundRun(folder, *command(slow, layout, folder))
    wait_until(lambda: list(folder.glob(".synvid/shard-*.json")))
    run.workers()[0].kill()
    result = run.wait()
    assert (result.code, "Traceback" in result.stderr) == (0, False), result.stderr
    assert_same(folder, expected)
    assert run_synvid(*command(slow, layout, folder)).code == 0
    assert_same(folder, expected)


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def test_workers_that_always_die_fail_their_shards(small, undisturbed, tmp_path):
    """If every worker process dies at once, the run ends with an error message per shard, and can be repeated."""
    folder = tmp_path / "set"

    def workers_die():
        local_executor._begin_worker = die

    result = BackgroundRun(folder, *command(small, "tar", folder), before=workers_die).wait()
    assert (result.code, "Traceback" in result.stderr) == (1, False), result.stderr
    assert "train/shard-000005.tar: its worker process died 3 times" in result.stderr
    assert "6 shards failed" in result.stderr
    assert_tidy(folder, {})
    assert run_synvid(*command(small, "tar", folder)).code == 0
    assert_same(folder, undisturbed(small, "tar"))


@both_layouts
def test_workers_exit_when_parent_is_killed(layout, slow, undisturbed, tmp_path):
    """After kill -9 of the parent alone, all worker processes end within seconds, and the same command continues."""
    expected, folder = undisturbed(slow, layout), tmp_path / "set"
    run = BackgroundRun(folder, *command(slow, layout, folder))
    wait_until(lambda: len(run.workers()) == 2 and list(folder.glob(".synvid/tmp-*")))
    workers = run.workers()
    run.signal(signal.SIGKILL)
    wait_until(lambda: not any(map(is_alive, workers)), seconds=5)
    run.wait()
    assert run_synvid(*command(slow, layout, folder)).code == 0
    assert_same(folder, expected)


def test_workers_exit_when_parent_is_killed_before_they_start(slow, tmp_path):
    """A worker process whose parent is killed before it starts to work ends, too."""
    folder = tmp_path / "set"

    def workers_begin_late():
        begin = local_executor._begin_worker
        local_executor._begin_worker = lambda *args: (time.sleep(0.3), begin(*args))

    run = BackgroundRun(folder, *command(slow, "tar", folder), before=workers_begin_late)
    wait_until(lambda: len(run.workers()) == 2)
    workers = run.workers()
    run.signal(signal.SIGKILL)
    wait_until(lambda: not any(map(is_alive, workers)), seconds=5)
