"""Previews: contact sheet, video, animation, page."""

import io
import re

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import synvid
from synvid.cli.console import ProgressBar
from synvid.cli.main import main
from synvid.preview import contact_sheet, page, picture, side_by_side
from synvid.video.decode import decode


def test_a_contact_sheet_shows_the_frames(tiny):
    """Rows are clips and columns are time: each cell is that frame of that clip."""
    preset = synvid.load_preset("moving_shapes", {**tiny, "video.num_frames_range": [9, 9]})
    sheet = contact_sheet([preset], clips=2, columns=5, seed=3, side=32)
    assert sheet.shape == (2 * (32 + 18 + 4) - 4, 5 * 36 - 4, 3)
    for index in range(2):
        frames = synvid.render(synvid.sample_scene(preset, 3, index), [0, 2, 4, 6, 8]).frames
        top = index * 54 + 18
        for column, frame in enumerate(frames):
            np.testing.assert_array_equal(sheet[top : top + 32, column * 36 : column * 36 + 32], frame)


def test_side_by_side_shows_the_clips(tiny):
    """A row a preset, a column a clip, as long as the shortest clip."""
    presets = [synvid.load_preset(name, tiny) for name in ("moving_circles", "moving_shapes")]
    video = side_by_side(presets, clips=3, seed=1, side=32)
    lengths = [synvid.sample_scene(presets[0], 1, index).num_frames for index in range(3)]
    assert video.shape == (min(lengths), 68, 104, 3)
    np.testing.assert_array_equal(video[1, 36:, 36:68], synvid.render(synvid.sample_scene(presets[1], 1, 1), [1]).frames[0])


def test_video_and_animation(tiny):
    """.mp4 and .gif play the clips."""
    presets = [synvid.load_preset("moving_shapes", {**tiny, "video.num_frames_range": [6, 6]})]
    assert decode(io.BytesIO(picture(".mp4", presets, 2, 8, 0))).shape == (6, 32, 68, 3)
    animation = Image.open(io.BytesIO(picture(".gif", presets, 2, 8, 0)))
    assert (animation.n_frames, animation.size, animation.info["duration"]) == (6, (68, 32), 40)


def test_a_page_needs_nothing_else(tiny):
    """The page holds all videos itself, names every preset, and refers to nothing outside."""
    presets = [synvid.load_preset(name, tiny) for name in synvid.list_presets()]
    text = page(presets, clips=2)
    assert text.count("<video") == 2 * len(presets)
    assert set(re.findall(r'src="([^"]{20})', text)) == {"data:video/mp4;base64"[:20]}
    assert "http" not in text
    for preset in presets:
        assert f"synvid preview {preset.name}" in text


@pytest.mark.parametrize("suffix", ["png", "mp4", "gif", "PNG"])
def test_the_command_writes_the_file_it_names(suffix, tmp_path):
    """`synvid preview NAME --out FILE` makes what the ending says."""
    settings = ["video.width=32", "video.height=32", "objects.count=9", "video.num_frames_range=[4, 4]"]
    path = tmp_path / f"sheet.{suffix}"
    words = [word for setting in settings for word in ("--set", setting)]
    run = CliRunner().invoke(main, ["preview", "moving_shapes", "--clips", "2", "--out", str(path), *words])
    assert run.exit_code == 0, run.output
    assert path.stat().st_size > 100


def test_the_command_has_a_default_file(tmp_path, monkeypatch):
    """Without --out the sheet is named after the preset, in the folder one is in."""
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke(main, ["preview", "reference/moving_circles", "--clips", "1", "--columns", "2"])
    assert run.exit_code == 0, run.output
    assert [path.name for path in tmp_path.iterdir()] == ["reference_moving_circles.png"]


def test_a_page_of_all_presets_says_so_and_shows_a_bar(tmp_path, monkeypatch, tiny):
    """`preview --html` without names draws the paper's presets, not the reference family; a bar moves with every preset."""
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
    monkeypatch.setattr("synvid.preview._scenes", quick)
    monkeypatch.setattr("synvid.cli.preset_commands.resolve_textures", lambda preset, *_: (preset, {}))
    run = CliRunner().invoke(main, ["preview", "--html", "--clips", "1"])
    assert run.exit_code == 0, run.output
    names = [name for name in synvid.list_presets() if "/" not in name]
    assert drawn == names
    assert run.stderr.startswith(f"Drawing all {len(names)} presets of the paper; missing textures are built first.")
    assert told == [("preview", len(names), 0, "preset"), *range(1, len(names) + 1)]
    assert (tmp_path / "presets.html").is_file()
