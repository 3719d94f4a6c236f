"""What comes from outside is bounded: caches of others, pictures and videos that claim too much, names that are formulas."""

import json
import os
import pickle
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from PIL import Image
from running import ended, noise_clip, write_video

import synvid
from synvid.cli.main import main
from synvid.errors import DatasetError
from synvid.numerics import jit
from synvid.textures.image_folder import read_image
from synvid.video import demux
from synvid.video.decode import decode

# ---- Numba's cache ---------------------------------------------------------------------------------------------------
COUNT = """
import sys
from synvid.numerics import jit
@jit.jit
def add(a, b):
    return a + b
print(add(1, 2), len(add.stats.cache_hits), len(add.stats.cache_misses))
"""


def count(cache, code=COUNT, before=""):
    """Result, hits and misses of a small compiled function in a process of its own."""
    script = cache.parent / "program.py"
    script.write_text(before + code)
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=False,
        env={**os.environ, "NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(Path(synvid.__file__).parents[1])},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
@pytest.mark.parametrize("data", [b"", b"\x80\x04\x95", pickle.dumps(("no", "cache")), b"garbage"])
def test_a_bad_entry_of_the_cache_costs_time_only(suffix, data, tmp_path):
    """A truncated or foreign entry is compiled anew and replaced; the run goes on."""
    cache = tmp_path / "cache"
    cache.mkdir()
    assert count(cache)[0] == "3"
    (entry,) = cache.rglob(f"*.{suffix}")
    entry.write_bytes(data if data != b"\x80\x04\x95" else entry.read_bytes()[:-20])
    assert count(cache)[0] == "3"
    assert count(cache) == ["3", "1", "0"]


def test_a_full_disk_of_the_cache_costs_time_only(tmp_path):
    """Where nothing can be kept, everything is compiled, every time."""
    cache = tmp_path / "cache"
    cache.mkdir()
    before = "import resource, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    before += "resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))\n"
    assert count(cache, before=before) == ["3", "0", "1"]


def test_folders_that_others_can_write_to_hold_no_cache(tmp_path, monkeypatch):
    """A cache folder that is somebody else's, open to others or a link is passed over; the parent in /tmp, too."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(jit.tempfile, "gettempdir", lambda: str(tmp_path / "temporary"))
    monkeypatch.setattr(jit.tempfile, "tempdir", str(tmp_path / "temporary"))
    stamp = jit._source_stamp()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "open"))
    (tmp_path / "open" / stamp).mkdir(parents=True)
    (tmp_path / "open" / stamp).chmod(0o777)
    usual = tmp_path / "temporary" / f"synvid-{os.getuid()}"
    assert jit._cache_folder() == str(usual / stamp)
    usual.chmod(0o777)
    found = Path(jit._cache_folder())
    assert found.parent != usual
    assert found.parent.stat().st_mode & 0o777 == 0o700
    (usual / stamp).rmdir()
    usual.rmdir()
    usual.symlink_to(tmp_path / "open")
    assert Path(jit._cache_folder()).parent not in (usual, tmp_path / "open")


def test_the_end_of_a_file_is_no_interruption(monkeypatch):
    """An EOFError inside a command is a fault, not Ctrl-C."""
    monkeypatch.setattr("synvid.preset.list_presets", lambda: (_ for _ in ()).throw(EOFError("Ran out of input")))
    with pytest.raises(EOFError, match="Ran out of input"):
        ended(main, "presets")


# ---- Pictures and videos ---------------------------------------------------------------------------------------------
def huge_png(side):
    """A PNG of some bytes that claims to be large."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def test_a_picture_is_what_its_format_says(tmp_path, monkeypatch):
    """An EPS called cat.jpg starts no other program; a small file that claims a huge picture is refused unread."""
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *_, **__: pytest.fail("Ghostscript was started"))
    (tmp_path / "cat.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
    with pytest.raises(OSError, match="cannot identify"):
        read_image(tmp_path / "cat.jpg")
    (tmp_path / "huge.png").write_bytes(huge_png(12_000))
    with pytest.raises((ValueError, Image.DecompressionBombError), match=r"144000000|12000 x 12000"):
        read_image(tmp_path / "huge.png")


def test_a_video_that_claims_too_much_is_refused(tmp_path, monkeypatch):
    """A video whose frames have more pixels than a picture may have is named with both numbers, before any is decoded."""
    write_video(tmp_path / "v.mp4", noise_clip(0))
    monkeypatch.setattr(demux, "MAX_PIXELS", 48 * 64 - 1)
    path = str(tmp_path / "v.mp4")
    with pytest.raises(DatasetError, match=r"v\.mp4.*64 x 48 pixels; the maximum is 3,071"):
        decode(path)


# ---- Names -----------------------------------------------------------------------------------------------------------
def test_names_with_dollar_signs_are_drawn(tmp_path):
    """A dataset whose name is a broken formula, or HTML, is measured, plotted and reported under its name."""
    name = r"x$\bad$ <b>"
    small = ["--set", "video.width=64", "--set", "video.height=64", "--set", "video.num_frames_range=[4, 4]"]
    out = tmp_path / "d.json"
    code, said, _ = ended(
        main, "stats", f"{name}=moving_circles", *small, "--max-clips", 3, "--out", out, "--plot", tmp_path / "p.png"
    )
    assert code == 0, said
    code, said, _ = ended(main, "report", out, "--out", tmp_path / "r.html")
    assert code == 0, said
    page = (tmp_path / "r.html").read_text()
    assert r"x$\bad$ &lt;b&gt;" in page
    assert "<b>\n" not in page
    assert json.loads(out.read_text())


# ---- Mixtures of nothing but real clips ------------------------------------------------------------------------------
def test_a_preview_of_real_clips_only_is_refused(tmp_path):
    """A mixture all of whose clips are real has nothing to draw: one sentence instead of an endless search."""
    for more in (("--out", tmp_path / "x.png"), ("--html", "--out", tmp_path / "x.html")):
        code, said, _ = ended(main, "preview", "shapes_25_real", "--set", "mixture.fraction=1", *more)
        assert code == 2
        assert "mixture.fraction is 1" in said


def test_a_dataset_with_real_clips_shows_itself(tmp_path):
    """The page of a mixture shows its synthetic clips; of real ones only, what was encoded."""
    for k in range(3):
        write_video(tmp_path / "real" / f"{k}.mp4", noise_clip(k, frames=30))
    small = ["--set", "video.width=64", "--set", "video.height=64", "--set", "video.num_frames_range=[4, 4]"]
    for share in ("0.5", "1"):
        out = tmp_path / f"set{share}"
        code, said, _ = ended(
            main, "render", "--preset", "shapes_25_real", "--real", tmp_path / "real", "--n", 4, "--out", out, "--workers", 1,
            "--set", f"mixture.fraction={share}", *small,
        )  # fmt: skip
        assert code == 0, said
        assert synvid.open_dataset(out)._repr_html_().count("<video") == (2 if share == "0.5" else 4)
