"""Commands and small datasets of the tests in this folder."""

import hashlib

import av
import pytest
from running import ended

from synvid.cli.main import main

N, SHARD_SIZE = 10, 4  # the last shard is smaller
LAYOUTS = ("tar", "files")
MANIFEST = {"tar": "manifest.jsonl", "files": "metadata.jsonl"}

PRESET = """
extends: moving_shapes
description: Small shapes
video: {width: 32, height: 32, num_frames_range: [4, 8]}
objects: {count: 20}
"""

both_layouts = pytest.mark.parametrize("layout", LAYOUTS)


def run(*args, code=0):
    """Run a command, check its exit code, and return stdout and stderr."""
    exit_code, stderr, stdout = ended(main, *args)
    assert exit_code == code, stderr
    return stdout, stderr


def tree(folder):
    """Read everything below a folder: relative path → bytes, None for folders."""
    return {path.relative_to(folder).as_posix(): None if path.is_dir() else path.read_bytes() for path in folder.rglob("*")}


SCHEMA = {
    "key": str,
    "index": int,
    "preset": str,
    "seed": int,
    "frames": int,
    "fps": float,
    "width": int,
    "height": int,
    "objects": int,
    "sha256": str,
    "recipe": str,
}


def command(preset, layout, out, *more):
    """Return the arguments of a render command."""
    what = ["--preset", preset, "--n", N, "--shard-size", SHARD_SIZE, "--format", layout]
    return ["render", *what, "--seed", 3, "--out", out, "--workers", 2, *more]


def frame_hashes(file):
    """Decode a video with PyAV and return the hashes of its frames."""
    with av.open(file) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return [hashlib.sha256(frame.tobytes()).hexdigest() for frame in frames]
