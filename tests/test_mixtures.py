"""Mixtures of presets, and real clips cut from videos."""

import json

import numpy as np
import pytest
from texture_helpers import SHARED, TINY, assert_error, command

import synvid
from synvid.dataset.real_videos import RealVideos, UndecodableError
from synvid.dataset.recipe import DatasetRecipe
from synvid.dataset.shard import render_clip
from synvid.errors import ConfigurationError, DatasetError
from synvid.preset import Video
from synvid.video.encode import encode


@pytest.mark.parametrize(
    ("name", "fraction"), [("shapes_5_still_images", 0.05), ("shapes_25_real", 0.25), ("shapes_75_real", 0.75)]
)
def test_mixture_fraction_is_exact_for_first_clips(name, fraction):
    """The first n clips contain floor(n * fraction) replaced ones, whatever the seed."""
    mixture = synvid.load_preset(name).mixture
    replaced = np.cumsum([mixture.replaces(index) for index in range(1000)])
    assert [int(k) for k in replaced] == [int((n * round(fraction * 100)) // 100) for n in range(1, 1001)]
    assert mixture.rank(400) == replaced[399]


def test_mixed_clip_equals_clip_of_source_preset():
    """A replaced clip is that of the source preset in the frame size of the mixture; other clips are unchanged."""
    overrides = {"video.width": 48, "video.height": 32}
    mixed = synvid.load_preset("shapes_5_still_stylegan", overrides)
    plain = synvid.load_preset("accelerating_transforming_shapes", overrides)
    still = synvid.load_preset("still_stylegan", overrides)
    assert synvid.sample_scene(mixed, 4, 18).to_json() == synvid.sample_scene(plain, 4, 18).to_json()
    assert synvid.sample_scene(mixed, 4, 19).to_json() == synvid.sample_scene(still, 4, 19).to_json()
    frames = synvid.render(synvid.sample_scene(mixed, 4, 19), [0, 90]).frames
    np.testing.assert_array_equal(frames[0], frames[1])


@pytest.fixture
def videos(tmp_path):
    """Three videos of one colour each, of different sizes and rates, a broken one, and files that are not videos."""
    folder = tmp_path / "videos"
    (folder / "deep").mkdir(parents=True)
    for name, color, size, fps in (
        ("a.mp4", 40, (64, 48), 30),
        ("deep/b.mp4", 120, (32, 64), 12.5),
        ("c.mp4", 200, (48, 48), 50),
    ):
        frames = np.full((round(2 * fps), size[1], size[0], 3), color, np.uint8)
        frames += np.arange(len(frames), dtype=np.uint8)[:, None, None, None] // 8
        (folder / name).write_bytes(encode(frames, fps))
    (folder / "broken.mp4").write_bytes((folder / "a.mp4").read_bytes()[:900])
    (folder / "text.avi").write_text("no video")
    (folder / "empty.mkv").write_bytes(b"")
    (folder / "notes.txt").write_text("mine")
    return folder


def test_real_clips_are_marked_and_reproducible(videos, tmp_path):
    """Real clips have size and rate of the dataset and are marked; unreadable videos are named; two runs agree."""
    args = [
        "render",
        "--preset",
        "shapes_75_real",
        "--n",
        16,
        "--shard-size",
        4,
        "--real",
        videos,
        "--encoding",
        "lossless",
        *TINY,
    ]
    args += ["--set", "objects.count=5"]
    code, messages, _ = command(*args, "--out", tmp_path / "one", "--workers", 2)
    assert code == 0, messages
    assert "3 videos could not be read: broken.mp4, empty.mkv, text.avi." in messages
    rows = [json.loads(line) for line in (tmp_path / "one" / "manifest.jsonl").read_text().splitlines()]
    assert [row["preset"] == "real" for row in rows] == [i % 4 != 0 for i in range(16)]
    assert {row["file"] for row in rows} == {"", "a.mp4", "deep/b.mp4", "c.mp4"}
    assert all((row["file"] == "") == (row["preset"] != "real") for row in rows)
    assert {tuple(sorted(row)) for row in rows} == {tuple(sorted(rows[0]))}
    data = synvid.open_dataset(tmp_path / "one")
    levels = {"a.mp4": 40, "deep/b.mp4": 120, "c.mp4": 200}
    for i, row in enumerate(rows):
        if row["preset"] == "real":
            clip = data.decode(i)
            assert clip.frames.shape == (row["frames"], 32, 32, 3)
            assert 3 <= row["frames"] <= 5
            assert clip.scene is None
            assert abs(int(clip.frames.min()) - levels[row["file"]]) <= 14
            with pytest.raises(ConfigurationError, match="cut from a real video"):
                data.render(i)
    assert command(*args, "--out", tmp_path / "two", "--workers", 1)[0] == 0
    for name in ("manifest.jsonl", "train/shard-000002.tar", "synvid.yaml"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert command("verify", "--rerender", tmp_path / "one", "--workers", 1)[0] == 0
    assert [path.name for path in (tmp_path / "one" / ".synvid").iterdir() if path.suffix != ".json"] == []


def test_changed_video_folder_is_refused_moved_folder_accepted(videos, tmp_path):
    """A dataset continues and is verified only with the same videos, wherever they lie."""
    args = [
        "render",
        "--preset",
        "shapes_75_real",
        "--n",
        8,
        "--real",
        videos,
        "--out",
        tmp_path / "set",
        *TINY,
        "--workers",
        1,
    ]
    assert command(*args)[0] == 0
    before = sorted((tmp_path / "set" / ".synvid").iterdir())
    videos.rename(tmp_path / "moved")
    assert_error(["verify", "--rerender", tmp_path / "set"], 2, videos, "no such folder")
    recipe = ["render", "--recipe", tmp_path / "set" / "synvid.yaml", "--out", tmp_path / "copy", "--real"]
    assert command(*recipe, tmp_path / "moved")[0] == 0
    assert command("verify", "--rerender", tmp_path / "copy", "--workers", 1)[0] == 0
    (tmp_path / "moved" / "aa.mp4").write_bytes((tmp_path / "moved" / "a.mp4").read_bytes())
    assert_error(["verify", "--rerender", tmp_path / "copy"], 2, "does not hold the videos")
    (tmp_path / "other").mkdir()
    assert_error([*recipe[:4], tmp_path / "third", "--real", tmp_path / "moved"], 2, "does not hold the videos")
    assert sorted((tmp_path / "set" / ".synvid").iterdir()) == before


def test_concat_list_named_mp4_is_not_read(videos):
    """A list of files, which FFmpeg would follow, is not read as a video."""
    (videos / "list.mp4").write_text("ffconcat version 1.0\nfile a.mp4\n")
    with pytest.raises(UndecodableError):
        list(RealVideos.find(videos).frame_chunks("list.mp4", Video(), 0, 0))


def test_encoder_error_does_not_change_the_video(videos, tmp_path):
    """Only a file that cannot be decoded is replaced by another; an error of the encoder is raised."""
    recipe = DatasetRecipe(synvid.load_preset("shapes_75_real"), 4, real=RealVideos.find(videos))

    def fails(pieces, *_):
        next(iter(pieces))
        raise DatasetError("full")

    with pytest.raises(DatasetError, match="full"):
        render_clip(recipe, 1, fails, tmp_path / "unreadable.txt")


def test_real_clip_from_middle_of_long_video(tmp_path):
    """A window from the middle of a long video has the frames of linear decoding."""
    frames = np.zeros((250, 32, 32, 3), np.uint8) + np.arange(250, dtype=np.uint8)[:, None, None, None]
    (tmp_path / "long.mp4").write_bytes(encode(frames, 25.0))
    real, video = RealVideos.find(tmp_path), Video(width=32, height=32, num_frames_range=(5, 5))
    starts = []
    for index in range(8):
        levels = np.concatenate(list(real.frame_chunks("long.mp4", video, 0, index)))[:, 16, 16, 0].astype(int)
        assert len(levels) == 5
        assert np.abs(np.diff(levels) - 1).max() <= 2
        starts.append(levels[0])
    assert max(starts) - min(starts) > 60


def test_frame_rate_is_converted(videos):
    """A video of 50 frames per second shown at 25 keeps its pace: every second frame."""
    real = RealVideos.find(videos)
    video = Video(width=48, height=48, fps=25.0, num_frames_range=(50, 50))
    frames = np.concatenate(list(real.frame_chunks("c.mp4", video, 0, 0)))
    assert len(frames) == 50
    expected = 200 + 2 * np.arange(50) // 8
    assert np.abs(frames[:, 20, 20, 0].astype(int) - expected).max() <= 3


def test_folder_without_videos_is_an_error(videos, tmp_path):
    """The error message names the folder that does not exist, has no videos, or none that can be decoded."""
    args = ["render", "--preset", "shapes_25_real", "--n", 8, "--out", tmp_path / "set", *TINY]
    assert_error(args, 2, "--real DIR")
    assert_error([*args, "--real", tmp_path / "nowhere"], 2, tmp_path / "nowhere", "no such folder")
    (tmp_path / "none").mkdir()
    assert_error([*args, "--real", tmp_path / "none"], 2, tmp_path / "none", "holds no video")
    for name in ("a.mp4", "deep/b.mp4", "c.mp4"):
        (videos / name).unlink()
    assert_error([*args, "--real", videos], 1, videos, "none of its videos can be decoded")


@pytest.mark.skipif(not SHARED.is_dir(), reason="no real clips here")
def test_real_videos_mix_in(tmp_path):
    """Half of the clips are cut from real videos."""
    args = [
        "render",
        "--preset",
        "image_crops_50_real",
        "--n",
        6,
        "--out",
        tmp_path / "set",
        *TINY,
        "--real",
        SHARED / "jhmdb",
    ]
    assert command(*args)[0] == 0
    assert command("status", tmp_path / "set")[0] == 0
    assert synvid.open_dataset(tmp_path / "set").decode(1).frames.std() > 10
