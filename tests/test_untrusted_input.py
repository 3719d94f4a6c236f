"""Untrusted input: disguised and oversized images and videos, names with special characters."""

import json
import struct
import zlib

import pytest
from PIL import Image
from running import ended, noise_clip, write_video

import synvid
from synvid.cli.main import main
from synvid.errors import DatasetError
from synvid.textures.image_folder import read_image
from synvid.video import demux
from synvid.video.decode import decode


def test_eof_error_is_not_an_interruption(monkeypatch):
    """An EOFError inside a command is a bug, not Ctrl-C."""
    monkeypatch.setattr("synvid.preset.list_presets", lambda: (_ for _ in ()).throw(EOFError("Ran out of input")))
    with pytest.raises(EOFError, match="Ran out of input"):
        ended(main, "presets")


# ---- Images and videos -- ---------------------------------------------------------------------------------------------
def huge_png(side):
    """A PNG of a few bytes that claims to be large."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def test_disguised_eps_and_huge_image_are_refused(tmp_path, monkeypatch):
    """An EPS named cat.jpg starts no other program; a small file that claims a huge image is refused before decoding."""
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *_, **__: pytest.fail("Ghostscript was started"))
    (tmp_path / "cat.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
    with pytest.raises(OSError, match="cannot identify"):
        read_image(tmp_path / "cat.jpg")
    (tmp_path / "huge.png").write_bytes(huge_png(12_000))
    with pytest.raises((ValueError, Image.DecompressionBombError), match=r"144000000|12000 x 12000"):
        read_image(tmp_path / "huge.png")


def test_huge_video_is_refused(tmp_path, monkeypatch):
    """A video whose frames have too many pixels is refused with both numbers, before decoding."""
    write_video(tmp_path / "v.mp4", noise_clip(0))
    monkeypatch.setattr(demux, "MAX_PIXELS", 48 * 64 - 1)
    path = str(tmp_path / "v.mp4")
    with pytest.raises(DatasetError, match=r"v\.mp4.*64 x 48 pixels; the maximum is 3,071"):
        decode(path)


# ---- Names -----------------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_special_characters_in_dataset_names(tmp_path):
    """A dataset whose name is a broken formula or HTML is measured, plotted and reported under its name."""
    name = r"x$\bad$ <b>"
    small = ["--set", "video.width=64", "--set", "video.height=64", "--set", "video.num_frames_range=[4, 4]"]
    out = tmp_path / "d.json"
    code, output, _ = ended(
        main, "stats", f"{name}=moving_circles", *small, "--max-clips", 3, "--out", out, "--plot", tmp_path / "p.png"
    )
    assert code == 0, output
    code, output, _ = ended(main, "report", out, "--out", tmp_path / "r.html")
    assert code == 0, output
    page = (tmp_path / "r.html").read_text()
    assert r"x$\bad$ &lt;b&gt;" in page
    assert "<b>\n" not in page
    assert json.loads(out.read_text())


# ---- Mixtures with real clips ---------------------------------------------------------------------------------------
def test_preview_of_real_clips_only_is_refused(tmp_path):
    """A mixture of only real clips has nothing to draw: an error message, no endless search."""
    for options in (("--out", tmp_path / "x.png"), ("--html", "--out", tmp_path / "x.html")):
        code, output, _ = ended(main, "preview", "shapes_25_real", "--set", "mixture.fraction=1", *options)
        assert code == 2
        assert "mixture.fraction is 1" in output


def test_html_of_dataset_with_real_clips(tmp_path):
    """The HTML of a mixture shows its synthetic clips; that of a dataset of only real clips, the encoded videos."""
    for k in range(3):
        write_video(tmp_path / "real" / f"{k}.mp4", noise_clip(k, frames=30))
    small = ["--set", "video.width=64", "--set", "video.height=64", "--set", "video.num_frames_range=[4, 4]"]
    for fraction in ("0.5", "1"):
        out = tmp_path / f"set{fraction}"
        code, output, _ = ended(
            main, "render", "--preset", "shapes_25_real", "--real", tmp_path / "real", "--n", 4, "--out", out, "--workers", 1,
            "--set", f"mixture.fraction={fraction}", *small,
        )  # fmt: skip
        assert code == 0, output
        assert synvid.open_dataset(out)._repr_html_().count("<video") == (2 if fraction == "0.5" else 4)
