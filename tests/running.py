"""Commands run in this process, and small videos for them."""

import contextlib
import io
import signal

import numpy as np

from synvid.video.encode import encode


def ended(main, *args):
    """Exit code of a command, what it said on stderr and what it gave on stdout."""
    talk, data = io.StringIO(), io.StringIO()
    handler = signal.getsignal(signal.SIGTERM)
    try:
        with contextlib.redirect_stderr(talk), contextlib.redirect_stdout(data):
            main([str(arg) for arg in args])
        code = 0
    except SystemExit as ending:
        code = ending.code or 0
    finally:
        signal.signal(signal.SIGTERM, handler)
    return code, talk.getvalue(), data.getvalue()


def write_video(path, frames):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(np.asarray(frames, np.uint8), 25, "lossless"))


def noise_clip(seed, frames=6, height=48, width=64):
    return np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3))
