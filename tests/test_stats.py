"""`synvid stats`: metrics of any source, and error messages for what cannot be measured."""

import json
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from running import ended, noise_clip, write_video

from synvid.cli.main import main
from synvid.errors import DatasetError
from synvid.formatting import format_number
from synvid.metrics import measure as measuring
from synvid.runtime.progress import Progress
from synvid.sources.base import pair_starts
from synvid.sources.find_sources import resolve_source

SHARED = Path(__file__).parents[2] / "shared" / "data"
TINY = (
    "--set",
    "video.width=64",
    "--set",
    "video.height=48",
    "--set",
    "objects.count=30",
    "--set",
    "video.num_frames_range=[5, 8]",
)


command = partial(ended, main)


def measured(*args):
    """The datasets that `synvid stats --json` gives."""
    code, talk, data = command("stats", *args, "--json", "-q")
    assert code == 0, talk
    assert "NaN" not in data
    return json.loads(data)["datasets"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders of all kinds: good ones and bad ones."""
    home = tmp_path_factory.mktemp("folders")
    for k in range(4):
        write_video(home / "videos" / "deep" / f"{k}.mp4", noise_clip(k))
        write_video(home / "mixed" / f"{k}.mp4", noise_clip(k, height=40 + 8 * k, width=64))
        write_video(home / "black" / f"{k}.mp4", np.zeros((4, 48, 64, 3)))
        write_video(home / "grey" / f"{k}.mp4", np.repeat(noise_clip(k)[..., :1], 3, axis=3))
    write_video(home / "single" / "one.mp4", noise_clip(9, frames=1))
    (home / "pictures").mkdir()
    for k in range(3):
        Image.fromarray(noise_clip(k, 1, 40 + k, 50)[0].astype(np.uint8)).save(home / "pictures" / f"{k}.png")
    (home / "dot").mkdir()
    Image.fromarray(np.array([[[9, 200, 3]]], np.uint8)).save(home / "dot" / "pixel.png")
    for name in ("some", "none"):
        (home / name).mkdir()
        (home / name / "broken.mp4").write_bytes(b"this is no video")
    write_video(home / "some" / "good.mp4", noise_clip(1))
    (home / "both").mkdir()
    (home / "both" / "a.jpg").write_bytes(b"")
    (home / "both" / "a.avi").write_bytes(b"")
    (home / "empty").mkdir()
    return home


# ---- Sources -------------------------------------------------------------------------------------------------------
def test_lossless_dataset_has_metrics_of_its_preset(tmp_path):
    """A rendered dataset, decoded, and its preset, rendered on the fly, have the same metrics up to rounding."""
    run = command(
        "render", "--preset", "moving_shapes", "--n", 6, "--out", tmp_path / "set", "--encoding", "lossless", *TINY, "-q"
    )
    assert run[0] == 0, run[1]
    (decoded,) = measured(tmp_path / "set")
    (rendered,) = measured("moving_shapes", "--max-clips", 6, *TINY)
    assert (decoded["kind"], rendered["kind"]) == ("dataset", "preset")
    assert decoded["preset"] == rendered["preset"] == "moving_shapes"
    assert decoded["properties"].keys() == rendered["properties"].keys()
    for key, one in decoded["properties"].items():
        assert one["value"] == pytest.approx(rendered["properties"][key]["value"], rel=1e-9), key
    assert decoded["properties"]["object_speed"]["value"] == pytest.approx(2.1, abs=0.4)


def test_lightness_and_frame_difference_match_direct_computation(folders):
    """Lightness is the mean over all frames of all videos, by scikit-image on all at once."""
    from skimage.color import rgb2lab

    (found,) = measured(folders / "videos", "--pairs-per-clip", 5)
    expected = [rgb2lab(noise_clip(k)[:5].astype(np.uint8))[..., 0].mean() for k in range(4)]
    assert found["properties"]["lightness"]["value"] == pytest.approx(np.mean(expected), rel=1e-6)
    grey = [noise_clip(k) @ [0.299, 0.587, 0.114] for k in range(4)]
    assert found["properties"]["frame_difference"]["value"] == pytest.approx(
        np.mean([np.abs(np.diff(one[:6], axis=0)).mean() for one in grey]), rel=1e-9
    )


@pytest.mark.parametrize(("frames", "count", "expected"), [(1, 4, [0]), (2, 3, [0, 0, 0]), (101, 3, [0, 50, 99])])
def test_pair_starts_are_evenly_spread(frames, count, expected):
    """Pairs are spread from the first frame to the last but one."""
    assert pair_starts(frames, count) == expected


def test_max_clips_subset_depends_on_seed_only(folders):
    """--max-clips chooses the same clips for the same seed and others for another; two runs agree to the last digit."""
    source = resolve_source(str(folders / "videos"))
    orders = {tuple(source.keys(seed)) for seed in range(8)}
    assert len(orders) > 1
    assert all(sorted(order) == [0, 1, 2, 3] for order in orders)
    args = ("stats", folders / "videos", "--max-clips", 2, "--json", "-q")
    assert command(*args)[2] == command(*args)[2]


def test_measure_reports_progress_after_every_clip(folders):
    """The progress callback gets the total and is called after each clip."""

    class RecordingProgress(Progress):
        seen: list = []  # noqa: RUF012

        def start(self, total, done, unit):
            self.seen += [total, done, unit]

        def update(self, done):
            self.seen.append(done)

    measuring.measure(resolve_source(str(folders / "pictures")), progress=RecordingProgress())
    assert RecordingProgress.seen == [3, 0, "image", 1, 2, 3]


def test_memory_per_clip_is_small():
    """After a clip is measured, only a row of less than two kilobytes stays in memory."""
    import gc
    import tracemalloc

    source = resolve_source("moving_shapes", prepare=lambda _: small_preset("moving_shapes"))
    measuring.measure(source, 2, samples=0)
    peaks = []
    for clips in (10, 60):
        gc.collect()
        tracemalloc.start()
        measuring.measure(source, clips, samples=0)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 50 * 12_000  # rows, and their copies in the bootstrap; a clip's frames would be 74 kB


def small_preset(name):
    import synvid

    return synvid.load_preset(
        name, {"video.width": 64, "video.height": 48, "objects.count": 20, "video.num_frames_range": [6, 6]}
    )


def test_name_of_dataset_is_given_or_folder(folders):
    """NAME=PATH names a dataset; else it has the name of its folder."""
    assert [one["name"] for one in measured(f"mine={folders / 'videos'}", folders / "mixed")] == ["mine", "mixed"]


def test_reference_is_dataset_or_metrics_file(folders, tmp_path):
    """--reference takes a source or a file of measures: the same distance; of the reference itself there is none."""
    here, there = measured(folders / "videos", folders / "pictures", "--reference", folders / "videos")
    assert here["properties"]["color_distance_to_videos"]["why"] == "it is the reference itself"
    assert there["properties"]["color_distance_to_videos"]["value"] > 0
    assert command("stats", folders / "videos", "--out", tmp_path / "one.json", "-q")[0] == 0
    (again,) = measured(folders / "pictures", "--reference", tmp_path / "one.json")
    assert again["properties"]["color_distance_to_videos"]["value"] == pytest.approx(
        there["properties"]["color_distance_to_videos"]["value"]
    )
    assert again["properties"]["color_distance_to_videos"]["details"]["reference"] == "videos"


# ---- What is odd, and what is wrong ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("folder", "missing"),
    [
        ("videos", {"object_speed": "no scene"}),
        ("mixed", {"visible_objects": "no scene"}),
        ("black", {"spectrum_exponent": "one colour"}),
        ("grey", {"occlusion_rate": "no scene"}),
        ("single", {"frame_difference": "one frame"}),
        ("dot", {"spectrum_exponent": "1 pixel", "moving_pixels": "one frame"}),
        ("pictures", {"frame_difference": "one frame"}),
    ],
)
def test_missing_values_have_reasons(folders, folder, missing):
    """Each value is a finite number, or it is missing and has a reason."""
    (found,) = measured(folders / folder)
    for key, one in found["properties"].items():
        assert (one["value"] is None) == bool(one["why"]), key
        assert one["value"] is None or np.isfinite(one["value"])
        assert one["ci95"] is None or one["ci95"][0] <= one["ci95"][1]
    for key, words in missing.items():
        assert words in found["properties"][key]["why"]
    if found["clips"] == 1:
        assert all(one["ci95"] is None for one in found["properties"].values())


@pytest.mark.parametrize("reference", ["black", "grey", "dot"])
def test_distance_to_degenerate_colours_is_missing(folders, reference):
    """Of a reference without width the divergence is infinite: a sentence."""
    (found,) = measured(folders / "videos", "--reference", folders / reference)
    assert "infinite" in found["properties"][f"color_distance_to_{reference}"]["why"]


def test_unreadable_files_are_skipped_with_note(folders):
    """A folder with a readable and a damaged video is measured, and a note names the damaged one."""
    (found,) = measured(folders / "some")
    assert found["clips"] == 1
    assert "broken.mp4" in found["notes"][0]
    code, talk, _ = command("stats", folders / "some")
    assert code == 0
    assert "1 clip could not be read: broken.mp4" in talk


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((), ["name a dataset to measure"]),
        (("{}/empty",), ["empty", "no video and no image", ".mp4", ".png"]),
        (("{}/none",), ["none", "broken.mp4", "cannot be decoded"]),
        (("{}/none/broken.mp4",), ["broken.mp4", "cannot be decoded"]),
        (("{}/both",), ["1 video and 1 image", "--kind"]),
        (("{}/videos", "--kind", "images"), ["videos", "no image"]),
        (("{}/nothing",), ["nothing", "no such file or folder"]),
        (("moving_shape",), ["no such folder", "did you mean 'moving_shapes'"]),
        (("x=moving_shape",), ["did you mean 'moving_shapes'"]),
        (("{}/videos", "x={}/videos", "videos={}/grey"), ["both called videos", "OTHER="]),
        (("{}/videos", "--set", "objects.count=3"), ["--set objects.count=3", "no preset is measured"]),
        (("{}/videos", "--images", "{}/pictures"), ["--images", "natural images"]),
        (("moving_shapes", "--set", "objects.cuont=3"), ["objects.count"]),
        (("{}/videos", "--out", "x.txt"), ["x.txt", ".json"]),
        (("{}/videos", "--plot", "x.gif"), ["x.gif", ".png"]),
        (("{}/videos", "--reference", "{}/missing.json"), ["missing.json", "No such file"]),
        (("{}/videos", "--reference", "{}/empty"), ["empty", "no video"]),
        (("{}/videos", "--max-clips", "0"), ["--max-clips", "0"]),
        (("{}/videos", "--pairs-per-clip", "1"), ["--pairs-per-clip", "1"]),
        (("a" * 5000,), ["too long"]),
    ],
)
def test_stats_wrong_arguments_give_error(folders, args, words):
    """The exit code is 2, and the last line names what is wrong; there is no traceback."""
    code, talk, data = command("stats", *(arg.format(folders) for arg in args))
    assert code == 2, talk
    assert "Traceback" not in talk
    assert not data
    for word in words:
        assert word in talk.strip().splitlines()[-1], talk


def test_unfinished_dataset_is_refused(tmp_path):
    """A rendered dataset without its manifest gives exit code 1."""
    command(
        "render", "--preset", "moving_shapes", "--n", 4, "--shard-size", 2, "--part", "0/2", "--out", tmp_path, *TINY, "-q"
    )
    code, talk, _ = command("stats", tmp_path)
    assert (code, "not finished" in talk) == (1, True), talk


# ---- Output --------------------------------------------------------------------------------------------------------
def test_table_lists_every_property(folders):
    """Each value has a line; missing values are listed together with the reason, and few clips have no intervals."""
    code, talk, data = command("stats", folders / "videos")
    assert code == 0, talk
    assert data.startswith(f"videos: 4 clips, {folders / 'videos'}")
    assert re.search(r"Lightness L\* +5\d\.\d+\n", data)
    assert "No intervals: they need 20 clips." in data
    assert "Without a value: Object speed, " in data
    assert "nan" not in data.lower()


@pytest.mark.parametrize(("suffix", "begins"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_plot_writes_format_of_suffix(folders, tmp_path, suffix, begins):
    """--plot writes an image file, even for a dataset without values."""
    for name in ("videos", "black"):
        path = tmp_path / f"{name}.{suffix}"
        code, talk, _ = command("stats", folders / name, "--plot", path)
        assert code == 0, talk
        assert path.read_bytes().startswith(begins)


def test_plot_without_matplotlib_gives_error(folders, tmp_path, monkeypatch):
    """If Matplotlib is missing, the error message tells how to install it before anything is measured."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, talk, _ = command("stats", folders / "videos", "--plot", tmp_path / "x.png")
    assert code == 2
    assert "pip install 'synvid[report]'" in talk


def test_stats_imports_neither_matplotlib_nor_torch(folders):
    """Matplotlib is optional, and torch is never needed."""
    code = f"""if True:
        import sys
        from synvid.cli.main import main
        try:
            main(["stats", {str(folders / "videos")!r}, "-q"])
        except SystemExit:
            pass
        print("loaded", "matplotlib" in sys.modules, "torch" in sys.modules)"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "loaded False False" in run.stdout


def test_format_number_shows_about_three_digits():
    """Numbers are shown with about three digits, and with an exponent only if they are tiny."""
    assert [format_number(value) for value in (0, 1.35914, -0.02, 12345.6, 0.00001)] == [
        "0",
        "1.359",
        "-0.02",
        "12346",
        "1.0e-05",
    ]


# ---- Real data -------------------------------------------------------------------------------------------------------
@pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/data")
def test_natural_images_have_natural_exponents():
    """Of ImageNet pictures and J-HMDB videos the exponent lies between 0.5 and 2, as Torralba and Oliva found."""
    for one in measured(SHARED / "images", SHARED / "jhmdb", "--max-clips", 40, "--pairs-per-clip", 2):
        low, high = one["properties"]["spectrum_exponent"]["ci95"]
        assert 0.5 < low < high < 2


@pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/data")
def test_frames_of_real_video_match_ffmpeg():
    """The frame pairs of a J-HMDB clip are those that FFmpeg decodes."""
    import imageio_ffmpeg

    path = next((SHARED / "jhmdb").rglob("*.mp4"))
    ours = resolve_source(str(path)).read_pairs(0, 3)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    theirs = np.frombuffer(raw, np.uint8).reshape(-1, *ours.frames.shape[1:])
    assert ours.numbers == pair_starts(len(theirs), 3)
    for k, t in enumerate(ours.numbers):
        assert np.abs(ours.frames[k].astype(int) - theirs[t]).mean() < 2
        assert np.abs(ours.next_frames[k].astype(int) - theirs[t + 1]).mean() < 2


def test_truncated_video_is_measured_up_to_its_end(tmp_path):
    """A truncated stream gives its first frames; a truncated file without its index is an error."""
    from synvid.sources.files import VideosSource

    write_video(tmp_path / "long.mp4", noise_clip(0, frames=40))
    data = (tmp_path / "long.mp4").read_bytes()
    (tmp_path / "long.mp4").write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(DatasetError, match=r"long\.mp4: cannot be decoded"):  # the index of such a file is at its end
        VideosSource("x", tmp_path, ["long.mp4"]).read_pairs(0, 4)
    write_transport_stream(tmp_path / "long.ts", noise_clip(0, frames=40))
    data = (tmp_path / "long.ts").read_bytes()
    (tmp_path / "long.ts").write_bytes(data[: len(data) * 2 // 3])
    found = VideosSource("x", tmp_path, ["long.ts"]).read_pairs(0, 4)
    assert found.numbers[0] == 0
    assert 10 < found.numbers[-1] < 39


def write_transport_stream(path, frames):
    """Write an MPEG transport stream, which has no index."""
    import av

    with av.open(str(path), "w", format="mpegts") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width = frames.shape[1:3]
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.astype(np.uint8), format="rgb24")))
        container.mux(stream.encode())


def test_long_video_is_measured_in_its_middle(tmp_path):
    """The pairs of a video of 400 frames lie within the middle 300, at key frames; brightness encodes the frame number."""
    frames = np.zeros((400, 32, 32, 3), np.uint8)
    frames[:] = (np.arange(400) // 2)[:, None, None, None]
    write_video(tmp_path / "long.mp4", frames)
    found = resolve_source(str(tmp_path / "long.mp4")).read_pairs(0, 4)
    brightness = 2 * found.frames.mean(axis=(1, 2, 3))
    assert 0 <= brightness[0] <= 52
    assert brightness[-1] - brightness[0] == pytest.approx(298, abs=2)
