"""Previews: contact sheet, video, animation, page."""

import dataclasses
import io
import re

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import synvid
from synvid.cli.console import ProgressBar
from synvid.cli.main import main
from synvid.preview import contact_sheet, encode_preview, preset_page, side_by_side
from synvid.video.decode import decode


def test_contact_sheet_shows_frames_of_clips(tiny):
    """Rows are clips and columns are times; each cell is that frame of that clip."""
    preset = synvid.load_preset("moving_shapes", {**tiny, "video.num_frames_range": [9, 9]})
    sheet = contact_sheet([preset], clips=2, columns=5, seed=3, side=32)
    assert sheet.shape == (2 * (32 + 18 + 4) - 4, 5 * 36 - 4, 3)
    for index in range(2):
        frames = synvid.render(synvid.sample_scene(preset, 3, index), [0, 2, 4, 6, 8]).frames
        top = index * 54 + 18
        for column, frame in enumerate(frames):
            np.testing.assert_array_equal(sheet[top : top + 32, column * 36 : column * 36 + 32], frame)


def test_side_by_side_shows_clips(tiny):
    """Rows are presets and columns are clips; the video is as long as the shortest clip."""
    presets = [synvid.load_preset(name, tiny) for name in ("moving_circles", "moving_shapes")]
    video = side_by_side(presets, clips=3, seed=1, side=32)
    lengths = [synvid.sample_scene(presets[0], 1, index).num_frames for index in range(3)]
    assert video.shape == (min(lengths), 68, 104, 3)
    np.testing.assert_array_equal(video[1, 36:, 36:68], synvid.render(synvid.sample_scene(presets[1], 1, 1), [1]).frames[0])


def test_encode_preview_writes_video_and_animation(tiny):
    """A .mp4 and a .gif file play the clips."""
    presets = [synvid.load_preset("moving_shapes", {**tiny, "video.num_frames_range": [6, 6]})]
    assert decode(io.BytesIO(encode_preview(".mp4", presets, 2, 8, 0))).shape == (6, 32, 68, 3)
    animation = Image.open(io.BytesIO(encode_preview(".gif", presets, 2, 8, 0)))
    assert (animation.n_frames, animation.size, animation.info["duration"]) == (6, (68, 32), 40)


def test_preset_page_is_self_contained(tiny):
    """The page contains all videos, names every preset, and loads nothing from elsewhere."""
    presets = [synvid.load_preset(name, tiny) for name in synvid.list_presets()]
    text = preset_page(presets, clips=2)
    assert text.count("<video") == 2 * len(presets)
    assert set(re.findall(r'src="([^"]{20})', text)) == {"data:video/mp4;base64"[:20]}
    assert "http" not in text
    for preset in presets:
        assert f"synvid preview {preset.name}" in text


def test_preset_page_escapes_names_and_descriptions(tiny):
    """HTML in the name or description of a preset appears as text on the page."""
    preset = synvid.load_preset("moving_shapes", tiny)
    preset = dataclasses.replace(preset, name="a_<script>alert(1)</script>", description="<b>bold</b> & more")
    text = preset_page([preset], clips=1)
    assert "<script>" not in text
    assert "a_<wbr>&lt;script&gt;" in text
    assert "&lt;b&gt;bold&lt;/b&gt; &amp; more." in text


@pytest.mark.parametrize("suffix", ["png", "mp4", "gif", "PNG"])
def test_preview_writes_format_of_suffix(suffix, tmp_path):
    """`synvid preview NAME --out FILE` writes the format of the suffix."""
    settings = ["video.width=32", "video.height=32", "objects.count=9", "video.num_frames_range=[4, 4]"]
    path = tmp_path / f"sheet.{suffix}"
    words = [word for setting in settings for word in ("--set", setting)]
    run = CliRunner().invoke(main, ["preview", "moving_shapes", "--clips", "2", "--out", str(path), *words])
    assert run.exit_code == 0, run.output
    assert path.stat().st_size > 100


def test_preview_has_default_file(tmp_path, monkeypatch):
    """Without --out, the contact sheet is named after the preset and written to the working directory."""
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke(main, ["preview", "reference/moving_circles", "--clips", "1", "--columns", "2"])
    assert run.exit_code == 0, run.output
    assert [path.name for path in tmp_path.iterdir()] == ["reference_moving_circles.png"]


@pytest.mark.slow
def test_preview_html_without_names_draws_presets_of_paper(tmp_path, monkeypatch, tiny):
    """`preview --html` without names draws the paper's presets only, and reports progress after each of them."""
    drawn, told = [], []

    class Watch(ProgressBar):
        def start(self, total, done, unit):
            told.append((self.label, total, done, unit))
            super().start(total, done, unit)

        def update(self, done):
            told.append(done)
            super().update(done)

    def quick(preset, clips, seed):
        drawn.append(preset.name)
        return [synvid.sample_scene(synvid.load_preset("moving_circles", tiny), seed, index) for index in range(clips)]

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("synvid.cli.console.ProgressBar", Watch)
    monkeypatch.setattr("synvid.preview._sample_scenes", quick)
    monkeypatch.setattr("synvid.cli.preset_commands.resolve_textures", lambda preset, *_: (preset, {}))
    run = CliRunner().invoke(main, ["preview", "--html", "--clips", "1"])
    assert run.exit_code == 0, run.output
    names = [name for name in synvid.list_presets() if "/" not in name]
    assert drawn == names
    assert run.stderr.startswith(f"Drawing all {len(names)} presets of the paper; missing textures are built first.")
    assert told == [("preview", len(names), 0, "preset"), *range(1, len(names) + 1)]
    assert (tmp_path / "presets.html").is_file()
