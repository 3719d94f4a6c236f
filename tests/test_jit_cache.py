"""Numba's cache on disk: damaged entries and unsafe folders are never used."""

import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import synvid
from synvid.numerics import jit

COUNT = """
import sys
from synvid.numerics import jit
@jit.jit
def add(a, b):
    return a + b
print(add(1, 2), len(add.stats.cache_hits), len(add.stats.cache_misses))
"""


def run_compiled(cache, code=COUNT, before=""):
    """Result, cache hits and cache misses of a small compiled function in a new process."""
    script = cache.parent / "program.py"
    script.write_text(before + code)
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=False,
        env={**os.environ, "NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(Path(synvid.__file__).parents[1])},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
@pytest.mark.parametrize("data", [b"", b"\x80\x04\x95", pickle.dumps(("no", "cache")), b"garbage"])
def test_damaged_entry_is_recompiled(suffix, data, tmp_path):
    """A truncated or foreign entry is compiled again and replaced; the run continues."""
    cache = tmp_path / "cache"
    cache.mkdir()
    assert run_compiled(cache)[0] == "3"
    (entry,) = cache.rglob(f"*.{suffix}")
    entry.write_bytes(data if data != b"\x80\x04\x95" else entry.read_bytes()[:-20])
    assert run_compiled(cache)[0] == "3"
    assert run_compiled(cache) == ["3", "1", "0"]


def test_full_disk_compiles_every_time(tmp_path):
    """If nothing can be stored, functions are compiled in every process."""
    cache = tmp_path / "cache"
    cache.mkdir()
    before = "import resource, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    before += "resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))\n"
    assert run_compiled(cache, before=before) == ["3", "0", "1"]


def test_folders_writable_by_others_are_not_used(tmp_path, monkeypatch):
    """A cache folder that is writable by others, owned by another user or a link is not used; nor is its parent in /tmp."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path / "temporary"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    stamp = jit._source_stamp()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "open"))
    (tmp_path / "open" / stamp).mkdir(parents=True)
    (tmp_path / "open" / stamp).chmod(0o777)
    usual = tmp_path / "temporary" / f"synvid-{os.getuid()}"
    assert jit._cache_folder() == str(usual / stamp)
    usual.chmod(0o777)
    folder = Path(jit._cache_folder())
    assert folder.parent != usual
    assert folder.parent.stat().st_mode & 0o777 == 0o700
    (usual / stamp).rmdir()
    usual.rmdir()
    usual.symlink_to(tmp_path / "open")
    assert Path(jit._cache_folder()).parent not in (usual, tmp_path / "open")


@pytest.mark.parametrize(
    ("file", "is_part"),
    [
        ("raster/spans.py", True),
        ("numerics/streams.py", True),
        ("raster/pixel_format.py", True),
        ("dataset/manifest.py", False),
    ],
)
def test_stamp_depends_on_what_compiled_functions_use(file, is_part, monkeypatch):
    """The stamp of the cache changes with a module of compiled functions and with what it imports, and with no other."""
    before, path = jit._source_stamp(), Path(jit.__file__).parents[1] / file
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: read(self) + (b"# changed" if self == path else b""))
    assert (jit._source_stamp() != before) == is_part
