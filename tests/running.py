"""Helpers of several tests: run commands and Python programs, and write small videos."""

import contextlib
import io
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np

from synvid.video.encode import encode


def ended(main, *args):
    """Run a command in this process; return its exit code, stderr and stdout."""
    stderr, stdout = io.StringIO(), io.StringIO()
    handler = signal.getsignal(signal.SIGTERM)
    try:
        with contextlib.redirect_stderr(stderr), contextlib.redirect_stdout(stdout):
            main([str(arg) for arg in args])
        code = 0
    except SystemExit as error:
        code = error.code or 0
    finally:
        signal.signal(signal.SIGTERM, handler)
    return code, stderr.getvalue(), stdout.getvalue()


def start_python(code, *args, **options):
    """Start a Python process that runs some code; its output is captured as text."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def wait_until(condition, seconds=30.0):
    """Wait until a condition holds; fail after some seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.002)


def write_video(path, frames):
    """Write frames, (T, H, W, 3), as a lossless MP4 file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(np.asarray(frames, np.uint8), 25, "lossless"))


def noise_clip(seed, frames=6, height=48, width=64):
    """Return random frames, int64 (T, H, W, 3), from 0 to 255."""
    return np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3))
