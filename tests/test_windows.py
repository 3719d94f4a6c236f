"""Rendering without functions that only POSIX has."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("preset", ["moving_circles", "accelerating_transforming_textures"])
def test_render_without_posix(preset, workers, tmp_path):
    """Without POSIX-only functions, plain and textured datasets are rendered, banks are built, and nothing is left behind."""
    program = tmp_path / "program.py"
    program.write_text(WINDOWS)
    what = ["--preset", preset, "--n", "4", "--shard-size", "2", "--workers", str(workers), "-q", "--out", tmp_path / "set"]
    small = ["--set", "video.width=32", "--set", "video.height=32", "--set", "video.num_frames_range=[4, 4]"]
    home = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "SYNVID_TEXTURES": "8"}
    home["NUMBA_CACHE_DIR"] = os.environ.get("NUMBA_CACHE_DIR") or str(Path("~/.cache/synvid/numba").expanduser())
    result = subprocess.run([sys.executable, program, "render", *what, *small], capture_output=True, text=True, env=home)
    assert (result.stderr, result.returncode) == ("", 0)
    assert sorted(path.name for path in (tmp_path / "set" / ".synvid").iterdir()) == ["shard-000000.json", "shard-000001.json"]
    assert [path.suffix for path in tmp_path.glob("cache/synvid/banks/*")] == [".bank"] * (preset != "moving_circles")
