"""Locks, the pool and interruptions: what is alive is left alone, and what is asked to end ends."""

import json
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from synvid.runtime.local_executor import run_tasks
from synvid.runtime.progress import Progress
from synvid.storage import locks
from synvid.storage.locks import hold_lock, is_stale
from synvid.storage.workspace import remove_stale_workspaces, workspace

POSIX = pytest.mark.skipif(os.name != "posix", reason="signals and fork of POSIX")
#: Locks do not exist: as on Lustre without flock.
NO_LOCKS = (
    "import fcntl\ndef flock(*_): raise OSError(38, 'Function not implemented')\nfcntl.flock = flock\n"
    "from synvid.storage import locks\nlocks._BEAT = 0.1\n"
)


def python(code, *args, **more):
    """A Python process that has begun; its stdout is text."""
    program = textwrap.dedent(code)
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more
    )


def until(condition, seconds=30.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


HOLDER = """
import sys, time
from pathlib import Path
from synvid.storage.locks import hold_lock
with hold_lock(Path(sys.argv[1])) as held:
    print(held, flush=True)
    time.sleep(float(sys.argv[2]))
"""


# ---- Locks -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("before", ["", NO_LOCKS], ids=["locks", "no locks"])
def test_a_lock_file_is_held_by_one_process_and_dies_with_it(before, tmp_path):
    """While a process lives nobody else gets its lock file, however old that is; after kill -9 the next one does."""
    path = tmp_path / "run.lock"
    owner = python(before + HOLDER, path, 60)
    assert owner.stdout.readline() == "True\n"
    os.utime(path, (time.time() - 200_000,) * 2)  # two days of clock: only without locks does the date count, and it is alive
    assert python(before + HOLDER, path, 0).communicate(timeout=30)[0] == "False\n"
    owner.kill()
    owner.communicate()
    assert path.exists()
    os.utime(path)
    assert python(before + HOLDER, path, 0).communicate(timeout=30)[0] == "True\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("age", "dead"), [(0, False), (20_000, False), (22_000, True)])
def test_another_machine_is_alive_while_its_heart_beats(age, dead, tmp_path):
    """The lock of another machine is told by its date, on the clock of the file system."""
    path = tmp_path / "tmp-1.lock"
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1}))
    os.utime(path, (time.time() - age,) * 2)
    assert is_stale(path) is dead


def test_a_held_lock_is_touched(tmp_path, monkeypatch):
    """The owner of a lock file sets its date again and again."""
    monkeypatch.setattr(locks, "_BEAT", 0.05)
    monkeypatch.setattr(locks, "_heart", None)
    with hold_lock(tmp_path / "run.lock") as held:
        assert held
        os.utime(tmp_path / "run.lock", (1000, 1000))
        until(lambda: (tmp_path / "run.lock").stat().st_mtime > 1000)


@pytest.mark.parametrize("beats", [True, False])
def test_a_lock_of_another_machine_is_taken_over_when_its_heart_has_stopped(beats, tmp_path, monkeypatch):
    """A training that goes on elsewhere keeps its folder; one that was killed there gives way after some beats."""
    monkeypatch.setattr(locks, "_BEAT", 0.1)
    path, end = tmp_path / "run.lock", threading.Event()
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1}))

    def beat():
        while not end.wait(0.05):
            os.utime(path)

    heart = threading.Thread(target=beat)
    if beats:
        heart.start()
    with hold_lock(path) as held:
        assert held is not beats
    end.set()
    if beats:
        heart.join()


def test_a_lock_is_never_free_and_there(tmp_path, monkeypatch):
    """A lock file is removed before its lock is given up, so that nobody takes over one that is just going."""
    seen, close = [], os.close
    path = tmp_path / "run.lock"
    monkeypatch.setattr(locks.os, "close", lambda number: (seen.append(path.exists()), close(number)))
    with hold_lock(path):
        seen.clear()
    assert seen == [False]


@POSIX
def test_a_forked_process_does_not_keep_a_lock(tmp_path):
    """A child that outlives its parent does not hold what the parent held."""
    code = """
    import os, sys, time
    from pathlib import Path
    from synvid.storage.locks import hold_lock
    with hold_lock(Path(sys.argv[1])) as held:
        if os.fork() == 0:
            os.close(1), os.close(2)
            time.sleep(20)
            os._exit(0)
        print(held, flush=True)
        os.kill(os.getpid(), 9)
    """
    owner = python(code, tmp_path / "run.lock")
    assert owner.communicate(timeout=20)[0] == "True\n"
    with hold_lock(tmp_path / "run.lock") as held:
        assert held


@pytest.mark.parametrize("before", ["", NO_LOCKS], ids=["locks", "no locks"])
def test_a_live_workspace_is_never_swept(before, tmp_path):
    """Another run's cleaning leaves a workspace in use, two days old, where locks exist and where they do not."""
    owner = python(
        before
        + """
import sys, time
from pathlib import Path
from synvid.storage.workspace import workspace
with workspace(Path(sys.argv[1])) as room:
    print(room, flush=True)
    time.sleep(60)
""",
        tmp_path,
    )
    room = Path(owner.stdout.readline().strip())
    for path in (tmp_path / ".synvid").iterdir():
        os.utime(path, (time.time() - 200_000,) * 2)
    cleaner = python(
        before + "import sys\nfrom pathlib import Path\nfrom synvid.storage.workspace import remove_stale_workspaces\n"
        "remove_stale_workspaces(Path(sys.argv[1]))",
        tmp_path,
    )
    cleaner.communicate(timeout=30)
    assert room.is_dir()
    owner.kill()
    owner.communicate()
    remove_stale_workspaces(tmp_path)
    assert not room.exists()


def test_two_runs_without_locks_finish_one_dataset(tmp_path):
    """Two parts at once where locks do not exist: both end well, and the set is whole."""
    code = NO_LOCKS + "import sys\nfrom synvid.cli.main import main\nmain()"
    what = ["--preset", "moving_circles", "--n", "24", "--shard-size", "12", "--out", str(tmp_path / "set"), "--workers", "1"]
    small = ["--set", "video.width=64", "--set", "video.height=64", "--set", "video.num_frames_range=[20, 20]", "-q"]
    runs = [python(code, "render", *what, *small, "--part", f"{part}/2") for part in range(2)]
    for run in runs:
        assert (run.communicate(timeout=120)[1], run.returncode) == ("", 0)
    assert (tmp_path / "set" / "manifest.jsonl").is_file()


# ---- The pool --------------------------------------------------------------------------------------------------------
class Killer:
    """Kills its worker at some tasks, each time or only the first."""

    def __init__(self, folder, always, once):
        self.folder, self.always, self.once = folder, always, once

    def __call__(self, task, tick):
        if task in self.always or (task in self.once and not (self.folder / f"{task}").exists()):
            (self.folder / f"{task}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        tick()


@POSIX
def test_deaths_are_counted_by_task(tmp_path):
    """A task that kills its worker three times fails alone; tasks that kill one once are done again, however many."""
    tasks = [(task, 1) for task in range(40)]
    failed = run_tasks(Killer(tmp_path, {17}, {3, 8, 21, 30, 35}), tasks, 2, Progress())
    assert list(failed) == [17]
    assert "died 3 times" in failed[17]


class Beside:
    """One task kills its worker each time, the others take longer."""

    def __call__(self, task, tick):
        time.sleep(0.05 if task == 5 else 0.3)
        if task == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        tick()


@POSIX
def test_a_task_beside_a_deadly_one_does_not_fail():
    """Only the task that kills its worker fails, whatever was being done beside it."""
    assert list(run_tasks(Beside(), [(task, 1) for task in range(8)], 2, Progress())) == [5]


class Heavy:
    """Work that is dear to send."""

    sent = 0

    def __call__(self, _, tick):
        tick()

    def __getstate__(self):
        type(self).sent += 1
        return {}


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_work_is_sent_once_a_worker(method, monkeypatch):
    """What is to be done goes to each worker once, not with every task; by fork not at all."""
    import multiprocessing

    context = multiprocessing.get_context(method)
    monkeypatch.setattr("synvid.runtime.local_executor.multiprocessing.get_context", lambda _: context)
    Heavy.sent = 0
    assert run_tasks(Heavy(), [(task, 1) for task in range(50)], 2, Progress()) == {}
    assert Heavy.sent <= (2 if method == "spawn" else 0)


def test_few_tasks_wait_at_a_time(monkeypatch):
    """However many tasks there are, only some for each worker have been handed over and not come back."""
    from synvid.runtime import local_executor

    seen, original = [], local_executor.wait
    monkeypatch.setattr(local_executor, "wait", lambda waiting, **more: seen.append(len(waiting)) or original(waiting, **more))
    assert run_tasks(Heavy(), [(task, 1) for task in range(500)], 2, Progress()) == {}
    assert max(seen) <= 8


def test_a_task_of_a_bank_is_small():
    """What is sent with a task of a bank of textures does not grow with the number of pictures."""
    from synvid.runtime.local_executor import _work

    assert len(pickle.dumps((_work, 12, 3400))) < 200


# ---- Interruptions ---------------------------------------------------------------------------------------------------
LONG = """
import sys
from synvid.cli.main import main
main()
"""
LONG_ARGS = ("render", "--preset", "moving_shapes", "--n", "2", "--set", "video.num_frames_range=[10000, 10000]", "--set",
             "video.width=512", "--set", "video.height=512", "--workers", "1", "-q", "--out")  # fmt: skip


@POSIX
def test_ctrl_c_ends_a_long_clip_in_seconds(tmp_path):
    """Ctrl-C in the middle of a clip of 10,000 frames ends the run, and nothing is left behind."""
    run = python(LONG, *LONG_ARGS, tmp_path / "set")
    until(lambda: list(tmp_path.glob("set/.synvid/tmp-*/shard")))
    time.sleep(1)
    begin = time.monotonic()
    run.send_signal(signal.SIGINT)
    assert "Traceback" not in run.communicate(timeout=20)[1]
    assert (run.returncode, time.monotonic() - begin < 5) == (130, True)
    assert list(tmp_path.glob("set/.synvid/*")) == []


STUBBORN = """
import signal, sys, time
from synvid.runtime.signals import defer_signals
with defer_signals():
    print("in", flush=True)
    end = time.monotonic() + 20
    while time.monotonic() < end:
        time.sleep(0.05)
"""


@POSIX
def test_a_second_ctrl_c_ends_at_once():
    """Work that does not come to an end is ended by a second Ctrl-C; the same signal twice in a moment is one."""
    run = python(STUBBORN)
    run.stdout.readline()
    for _ in range(2):
        run.send_signal(signal.SIGINT)
    time.sleep(0.6)
    assert run.poll() is None
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=5)
    assert run.returncode == 130


@POSIX
def test_a_process_in_the_background_ignores_ctrl_c():
    """A job that was started with Ctrl-C ignored goes on."""
    code = """
    import signal, time
    from synvid.runtime.signals import interrupted, defer_signals
    with defer_signals():
        signal.raise_signal(signal.SIGINT)
        print(interrupted())
    """
    run = python(code, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    assert run.communicate(timeout=20)[0] == "False\n"


@POSIX
def test_workers_in_the_background_ignore_ctrl_c_too():
    """A pool that was started with Ctrl-C ignored finishes its tasks, though the whole group is sent one."""
    code = """
    import os, signal, threading, time
    from synvid.runtime.local_executor import run_tasks
    from synvid.runtime.progress import Progress
    def call(_, tick):
        for _ in range(20):
            time.sleep(0.03)
            tick()
    threading.Timer(0.4, lambda: os.killpg(0, signal.SIGINT)).start()
    print(run_tasks(call, [(task, 20) for task in range(4)], 2, Progress()))
    """
    run = python(code, start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    assert run.communicate(timeout=30)[0] == "{}\n"


# ---- Other systems ---------------------------------------------------------------------------------------------------
#: Windows, as near as it can be had here: no fcntl, no reading at a place, no open file that can be removed or renamed.
WINDOWS = """
import os, sys
sys.modules["fcntl"] = None
for name in ("pread", "pwrite", "getuid", "sched_getaffinity"):
    delattr(os, name)

def guarded(call):
    def guard(path, *rest, **more):
        real = os.path.realpath(path)
        if real.startswith("/dev/shm/"):  # the way in which multiprocessing shares memory on POSIX
            return call(path, *rest, **more)
        for number in os.listdir("/proc/self/fd"):
            try:
                if os.readlink(f"/proc/self/fd/{number}") == real:
                    raise PermissionError(13, "The process cannot access the file", str(path))
            except FileNotFoundError:
                pass
        return call(path, *rest, **more)
    return guard

for name in ("unlink", "rename", "replace"):
    setattr(os, name, guarded(getattr(os, name)))
import multiprocessing
context = multiprocessing.get_context
multiprocessing.get_context = lambda method=None: context("spawn")
if __name__ == "__main__":
    from synvid.cli.main import main
    main()
"""


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("preset", ["moving_circles", "accelerating_transforming_textures"])
def test_it_works_as_on_windows(preset, workers, tmp_path):
    """Without what only POSIX has, plain and textured sets are rendered, banks are built, and nothing is left behind."""
    program = tmp_path / "program.py"
    program.write_text(WINDOWS)
    what = ["--preset", preset, "--n", "4", "--shard-size", "2", "--workers", str(workers), "-q", "--out", tmp_path / "set"]
    small = ["--set", "video.width=32", "--set", "video.height=32", "--set", "video.num_frames_range=[4, 4]"]
    home = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "SYNVID_TEXTURES": "8"}
    home["NUMBA_CACHE_DIR"] = os.environ.get("NUMBA_CACHE_DIR") or str(Path("~/.cache/synvid/numba").expanduser())
    ended = subprocess.run([sys.executable, program, "render", *what, *small], capture_output=True, text=True, env=home)
    assert (ended.stderr, ended.returncode) == ("", 0)
    assert sorted(path.name for path in (tmp_path / "set" / ".synvid").iterdir()) == ["shard-000000.json", "shard-000001.json"]
    assert [path.suffix for path in tmp_path.glob("cache/synvid/banks/*")] == [".bank"] * (preset != "moving_circles")


def test_a_workspace_is_ours(tmp_path):
    """A workspace is an empty folder that is gone afterwards."""
    with workspace(tmp_path) as room:
        assert list(room.iterdir()) == []
        (room / "something").touch()
    assert list((tmp_path / ".synvid").iterdir()) == []
