"""Deferred signals: Ctrl-C in long clips, repeated, and in background jobs."""

import os
import signal
import time

import pytest
from running import start_python, wait_until

POSIX = pytest.mark.skipif(os.name != "posix", reason="signals and fork of POSIX")


LONG = """
import sys
from synvid.cli.main import main
main()
"""
LONG_ARGS = ("render", "--preset", "moving_shapes", "--n", "2", "--set", "video.num_frames_range=[10000, 10000]", "--set",
             "video.width=512", "--set", "video.height=512", "--workers", "1", "-q", "--out")  # fmt: skip


@POSIX
def test_ctrl_c_interrupts_a_long_clip(tmp_path):
    """SIGINT in the middle of a clip of 10,000 frames ends the run within seconds and leaves nothing behind."""
    run = start_python(LONG, *LONG_ARGS, tmp_path / "set")
    wait_until(lambda: list(tmp_path.glob("set/.synvid/tmp-*/shard")))
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
def test_second_ctrl_c_exits_at_once():
    """A second SIGINT exits at once; the same signal twice within a moment counts as one."""
    run = start_python(STUBBORN)
    run.stdout.readline()
    for _ in range(2):
        run.send_signal(signal.SIGINT)
    time.sleep(0.6)
    assert run.poll() is None
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=5)
    assert run.returncode == 130


@POSIX
def test_ignored_ctrl_c_stays_ignored():
    """A process that was started with SIGINT ignored is not interrupted."""
    code = """
    import signal, time
    from synvid.runtime.signals import interrupted, defer_signals
    with defer_signals():
        signal.raise_signal(signal.SIGINT)
        print(interrupted())
    """
    run = start_python(code, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    assert run.communicate(timeout=20)[0] == "False\n"


@POSIX
def test_workers_of_a_background_job_ignore_ctrl_c():
    """A pool that was started with SIGINT ignored finishes its tasks although the process group receives one."""
    code = """
    import os, signal, threading, time
    from synvid.runtime.local_executor import run_tasks
    from synvid.runtime.progress import Progress
    def call(_, on_progress):
        for _ in range(20):
            time.sleep(0.03)
            on_progress()
    threading.Timer(0.4, lambda: os.killpg(0, signal.SIGINT)).start()
    print(run_tasks(call, [(task, 20) for task in range(4)], 2, Progress()))
    """
    run = start_python(code, start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    assert run.communicate(timeout=30)[0] == "{}\n"
