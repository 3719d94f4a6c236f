"""Lock files and locked temporary folders."""

import json
import os
import threading
import time
from pathlib import Path

import pytest
from running import start_python, wait_until

from synvid.storage import locks
from synvid.storage.locks import hold_lock, is_stale
from synvid.storage.workspace import remove_stale_workspaces, workspace

POSIX = pytest.mark.skipif(os.name != "posix", reason="signals and fork of POSIX")
#: Code that disables operating-system locks, as on Lustre without flock.
NO_LOCKS = (
    "import fcntl\ndef flock(*_): raise OSError(38, 'Function not implemented')\nfcntl.flock = flock\n"
    "from synvid.storage import locks\nlocks._HEARTBEAT = 0.1\n"
)
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
def test_lock_is_exclusive_and_ends_with_its_process(before, tmp_path):
    """While a process lives nobody else gets its lock, however old the file is; after kill -9 the next process does."""
    path = tmp_path / "run.lock"
    owner = start_python(before + HOLDER, path, 60)
    assert owner.stdout.readline() == "True\n"
    os.utime(path, (time.time() - 200_000,) * 2)  # two days of clock: only without locks does the date count, and it is alive
    assert start_python(before + HOLDER, path, 0).communicate(timeout=30)[0] == "False\n"
    owner.kill()
    owner.communicate()
    assert path.exists()
    os.utime(path)
    assert start_python(before + HOLDER, path, 0).communicate(timeout=30)[0] == "True\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("age", "dead"), [(0, False), (20_000, False), (22_000, True)])
def test_lock_of_another_machine_is_stale_by_age(age, dead, tmp_path):
    """The lock of another machine is stale if its last heartbeat is hours old by the clock of the file system."""
    path = tmp_path / "tmp-1.lock"
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1}))
    os.utime(path, (time.time() - age,) * 2)
    assert is_stale(path) is dead


def test_held_lock_has_heartbeats(tmp_path, monkeypatch):
    """The owner of a lock file keeps updating its modification time."""
    monkeypatch.setattr(locks, "_HEARTBEAT", 0.05)
    monkeypatch.setattr(locks, "_heartbeat_thread", None)
    with hold_lock(tmp_path / "run.lock") as held:
        assert held
        os.utime(tmp_path / "run.lock", (1000, 1000))
        wait_until(lambda: (tmp_path / "run.lock").stat().st_mtime > 1000)


@pytest.mark.parametrize("beats", [True, False])
def test_lock_of_another_machine_without_heartbeat_is_taken_over(beats, tmp_path, monkeypatch):
    """A lock file whose heartbeat continues is respected; without heartbeats it is taken over after some intervals."""
    monkeypatch.setattr(locks, "_HEARTBEAT", 0.1)
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


def test_lock_file_is_removed_before_it_is_unlocked(tmp_path, monkeypatch):
    """A lock file is removed before it is unlocked, so that nobody takes over one that is being released."""
    seen, close = [], os.close
    path = tmp_path / "run.lock"
    monkeypatch.setattr(locks.os, "close", lambda number: (seen.append(path.exists()), close(number)))
    with hold_lock(path):
        seen.clear()
    assert seen == [False]


@POSIX
def test_forked_process_does_not_keep_a_lock(tmp_path):
    """A child process that outlives its parent does not hold the parent's lock."""
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
    owner = start_python(code, tmp_path / "run.lock")
    assert owner.communicate(timeout=20)[0] == "True\n"
    with hold_lock(tmp_path / "run.lock") as held:
        assert held


@pytest.mark.parametrize("before", ["", NO_LOCKS], ids=["locks", "no locks"])
def test_workspace_in_use_is_not_removed(before, tmp_path):
    """The clean-up of another run keeps a workspace in use, however old, with and without operating-system locks."""
    owner = start_python(
        before
        + """
import sys, time
from pathlib import Path
from synvid.storage.workspace import workspace
with workspace(Path(sys.argv[1])) as tmp_dir:
    print(tmp_dir, flush=True)
    time.sleep(60)
""",
        tmp_path,
    )
    tmp_dir = Path(owner.stdout.readline().strip())
    for path in (tmp_path / ".synvid").iterdir():
        os.utime(path, (time.time() - 200_000,) * 2)
    cleaner = start_python(
        before + "import sys\nfrom pathlib import Path\nfrom synvid.storage.workspace import remove_stale_workspaces\n"
        "remove_stale_workspaces(Path(sys.argv[1]))",
        tmp_path,
    )
    cleaner.communicate(timeout=30)
    assert tmp_dir.is_dir()
    owner.kill()
    owner.communicate()
    remove_stale_workspaces(tmp_path)
    assert not tmp_dir.exists()


@pytest.mark.slow
def test_two_parts_without_locks_finish_one_dataset(tmp_path):
    """Two parts at the same time on a file system without locks both succeed, and the dataset is finished."""
    code = NO_LOCKS + "import sys\nfrom synvid.cli.main import main\nmain()"
    what = ["--preset", "moving_circles", "--n", "24", "--shard-size", "12", "--out", str(tmp_path / "set"), "--workers", "1"]
    small = ["--set", "video.width=64", "--set", "video.height=64", "--set", "video.num_frames_range=[20, 20]", "-q"]
    runs = [start_python(code, "render", *what, *small, "--part", f"{part}/2") for part in range(2)]
    for run in runs:
        assert (run.communicate(timeout=120)[1], run.returncode) == ("", 0)
    assert (tmp_path / "set" / "manifest.jsonl").is_file()


def test_workspace_is_empty_and_removed(tmp_path):
    """A workspace is an empty folder that is removed at the end."""
    with workspace(tmp_path) as tmp_dir:
        assert list(tmp_dir.iterdir()) == []
        (tmp_dir / "something").touch()
    assert list((tmp_path / ".synvid").iterdir()) == []
