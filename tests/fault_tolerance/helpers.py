"""Commands in processes that can be killed, damage to files, and checks of folders."""

import contextlib
import functools
import multiprocessing
import os
import re
import sys
import time
from collections import namedtuple
from pathlib import Path

import psutil
import pytest
from running import ended, wait_until

from synvid.cli.main import main
from synvid.dataset import shard as shard_module
from synvid.dataset.recipe import DatasetRecipe
from synvid.dataset.record import ShardRecord
from synvid.storage.atomic_io import file_sha256

SHARDS, CLIPS = 6, 24
MANIFEST = {"tar": "manifest.jsonl", "files": "metadata.jsonl"}

both_layouts = pytest.mark.parametrize("layout", ["tar", "files"])
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="needs fork, signals and mounts as on Linux")


# ---- Running commands ----------------------------------------------------------------------------------------------
CommandResult = namedtuple("CommandResult", "code stderr stdout")  # noqa: PYI024


def run_synvid(*args):
    """Run a command in this process."""
    return CommandResult(*ended(main, *args))


class BackgroundRun:
    """A command in its own process group, forked from this process, in which the kernels are compiled."""

    def __init__(self, folder, *args, before=None):
        self.log = folder.with_name(f"{folder.name}-{time.monotonic_ns()}.log")
        child = functools.partial(_child, [str(arg) for arg in args], self.log, before)
        self.process = multiprocessing.get_context("fork").Process(target=child)
        self.process.start()
        self.group = self.process.pid
        while self.process.is_alive() and os.getpgid(self.group) != self.group:
            time.sleep(0.001)

    def workers(self):
        """Return the live worker processes."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return [child for child in psutil.Process(self.group).children() if is_alive(child)]
        return []

    def signal(self, number, group=False):
        """Send a signal to the command, or its group, unless it has ended."""
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.group, number)

    def wait(self):
        """Wait for the command and all its workers, and return the result."""
        self.process.join(60)
        assert self.process.exitcode is not None, "does not end"
        wait_until(
            lambda: not any(is_alive(process) and _group_of(process) == self.group for process in psutil.process_iter())
        )
        return CommandResult(self.process.exitcode, self.log.read_text(), "")


def _child(args, log, before):
    os.setsid()
    sys.stdout = sys.stderr = log.open("w", buffering=1)
    os.dup2(sys.stderr.fileno(), 2)
    if before:
        before()
    main(args)


def is_alive(process):
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def _group_of(process):
    with contextlib.suppress(ProcessLookupError):
        return os.getpgid(process.pid)
    return None


# ---- Comparing folders ---------------------------------------------------------------------------------------------
def read_tree(folder):
    """Read everything below a folder: relative path → bytes, None for folders."""
    return {path.relative_to(folder).as_posix(): None if path.is_dir() else path.read_bytes() for path in folder.rglob("*")}


def assert_same(folder, expected):
    """Check that a folder has the expected paths and bytes; on failure only the names of different files are shown."""
    files = read_tree(folder)
    assert sorted(files) == sorted(expected)
    assert [name for name in files if files[name] != expected[name]] == []


def assert_tidy(folder, expected):
    """Check that there are no temporary files and that every record fits its shard; return the number of records."""
    files = read_tree(folder)
    assert [name for name in files if Path(name).name.startswith((".", "tmp-")) and name != ".synvid"] == []
    if "synvid.yaml" not in files:
        return 0
    recipe, recorded = DatasetRecipe.load(folder), set()
    for shard in range(recipe.num_shards):
        record = ShardRecord.read(recipe, folder, shard)
        for file in record.files if record else []:
            assert file_sha256(folder / file["path"]) == file["sha256"]
            recorded.add(file["path"])
    shards = {name for name, data in files.items() if data is not None and name.endswith((".tar", ".mp4"))}
    assert recorded <= shards
    assert [name for name in shards & set(expected) if files[name] != expected[name]] == []
    return len(list(folder.glob(".synvid/shard-*.json")))


def assert_error_message(result, code, *words):
    """Check that stderr has one line besides progress, with these words, and check the exit code."""
    lines = [line for line in result.stderr.strip().splitlines() if not re.search(r": \d+ of \d+ clips \(\d+ %\)", line)]
    assert (result.code, len(lines)) == (code, 1), result.stderr
    assert lines[0].startswith("synvid: ")
    for word in words:
        assert str(word) in lines[0]


# ---- Commands and damage -------------------------------------------------------------------------------------------
def command(preset, layout, out, *more, workers=2, n=CLIPS, size=4):
    """Return the arguments of a render command."""
    what = ["--preset", preset, "--n", n, "--shard-size", size, "--format", layout]
    return ["render", *what, "--out", out, "--workers", workers, *more]


def slow_down_rendering():
    """Make each clip take 30 ms in this process and those forked later, so that a run can be interrupted in the middle."""
    original = shard_module.render_clip

    def slowly(*args):
        time.sleep(0.03)
        return original(*args)

    shard_module.render_clip = slowly


def shard_file(folder, layout, shard, size=4):
    """Return a file of a shard of `size` clips."""
    if layout == "tar":
        return folder / "train" / f"shard-{shard:06d}.tar"
    return folder / "videos" / f"{shard:06d}" / f"{shard * size + size // 2:09d}.mp4"


def damage_truncated(path):
    path.write_bytes(path.read_bytes()[:-700])


def damage_longer(path):
    path.write_bytes(path.read_bytes() + b"\0" * 512)


def damage_one_byte(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def damage_deleted(path):
    path.unlink()
