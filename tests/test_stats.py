"""`synvid stats`: any source streams through, and what cannot be measured is said in a sentence."""

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
from synvid.errors import ConfigurationError, DatasetError
from synvid.formatting import format_number
from synvid.metrics import measure as measuring
from synvid.metrics.results import DatasetMetrics, Property, load_metrics, merge_metrics, to_json
from synvid.runtime.progress import Progress
from synvid.sources.base import pair_starts
from synvid.sources.resolve import resolve_source

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
def test_a_lossless_set_measures_as_its_preset(tmp_path):
    """A rendered set, decoded, and its preset, rendered on the fly, have the same properties, to rounding."""
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


def test_properties_are_means_over_what_is_there(folders):
    """Lightness is the mean over all frames of all videos, by scikit-image on all at once."""
    from skimage.color import rgb2lab

    (found,) = measured(folders / "videos", "--moments", 5)
    expected = [rgb2lab(noise_clip(k)[:5].astype(np.uint8))[..., 0].mean() for k in range(4)]
    assert found["properties"]["lightness"]["value"] == pytest.approx(np.mean(expected), rel=1e-6)
    grey = [noise_clip(k) @ [0.299, 0.587, 0.114] for k in range(4)]
    assert found["properties"]["frame_difference"]["value"] == pytest.approx(
        np.mean([np.abs(np.diff(one[:6], axis=0)).mean() for one in grey]), rel=1e-9
    )


@pytest.mark.parametrize(("frames", "count", "expected"), [(1, 4, [0]), (2, 3, [0, 0, 0]), (101, 3, [0, 50, 99])])
def test_moments_are_spread_and_have_a_following_frame(frames, count, expected):
    """From the first frame to the last but one."""
    assert pair_starts(frames, count) == expected


def test_a_subset_is_random_and_always_the_same(folders):
    """--max-clips takes other clips for another seed, the same ones for the same; two runs agree to the last digit."""
    source = resolve_source(str(folders / "videos"))
    orders = {tuple(source.keys(seed)) for seed in range(8)}
    assert len(orders) > 1
    assert all(sorted(order) == [0, 1, 2, 3] for order in orders)
    args = ("stats", folders / "videos", "--max-clips", 2, "--json", "-q")
    assert command(*args)[2] == command(*args)[2]


def test_progress_is_told_of_every_clip(folders):
    """The bar knows the total, and ends at it."""

    class Told(Progress):
        seen: list = []  # noqa: RUF012

        def start(self, total, done, unit):
            self.seen += [total, done, unit]

        def update(self, done):
            self.seen.append(done)

    measuring.measure(resolve_source(str(folders / "pictures")), progress=Told())
    assert Told.seen == [3, 0, "image", 1, 2, 3]


def test_memory_does_not_grow_with_the_clips():
    """A clip leaves a row of less than two kilobytes, and no frame behind."""
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


def test_names_can_be_given(folders):
    """NAME=PATH names a dataset; a folder is called what it is called."""
    assert [one["name"] for one in measured(f"mine={folders / 'videos'}", folders / "mixed")] == ["mine", "mixed"]


def test_a_reference_of_colours(folders, tmp_path):
    """--against takes a source or a file of measures: the same distance; of the reference itself there is none."""
    here, there = measured(folders / "videos", folders / "pictures", "--against", folders / "videos")
    assert here["properties"]["color_distance_to_videos"]["why"] == "it is the reference itself"
    assert there["properties"]["color_distance_to_videos"]["value"] > 0
    assert command("stats", folders / "videos", "--out", tmp_path / "one.json", "-q")[0] == 0
    (again,) = measured(folders / "pictures", "--against", tmp_path / "one.json")
    assert again["properties"]["color_distance_to_videos"]["value"] == pytest.approx(
        there["properties"]["color_distance_to_videos"]["value"]
    )
    assert again["properties"]["color_distance_to_videos"]["details"]["against"] == "videos"


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
def test_odd_datasets_have_no_nan(folders, folder, missing):
    """Each value is a finite number, or there is none and a sentence says why."""
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
def test_distance_to_flat_colours_is_not_a_number_that_is_printed(folders, reference):
    """Of a reference without width the divergence is infinite: a sentence."""
    (found,) = measured(folders / "videos", "--against", folders / reference)
    assert "infinite" in found["properties"][f"color_distance_to_{reference}"]["why"]


def test_what_cannot_be_read_is_left_out_and_named(folders):
    """One good video beside a broken one: measured, with a note."""
    (found,) = measured(folders / "some")
    assert found["clips"] == 1
    assert "broken.mp4" in found["notes"][0]
    code, talk, _ = command("stats", folders / "some")
    assert code == 0
    assert "1 clip could not be read: broken.mp4" in talk


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((), ["name what to measure"]),
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
        (("{}/videos", "--against", "{}/missing.json"), ["missing.json", "No such file"]),
        (("{}/videos", "--against", "{}/empty"), ["empty", "no video"]),
        (("{}/videos", "--max-clips", "0"), ["--max-clips", "0"]),
        (("{}/videos", "--moments", "1"), ["--moments", "1"]),
        (("a" * 5000,), ["too long"]),
    ],
)
def test_wrong_use_is_one_sentence(folders, args, words):
    """Exit code 2 and a sentence that names what is wrong; no traceback."""
    code, talk, data = command("stats", *(arg.format(folders) for arg in args))
    assert code == 2, talk
    assert "Traceback" not in talk
    assert not data
    for word in words:
        assert word in talk.strip().splitlines()[-1], talk


def test_a_set_that_is_not_finished_is_refused(tmp_path):
    """A rendered set without its manifest is an error of the disk, exit code 1."""
    command(
        "render", "--preset", "moving_shapes", "--n", 4, "--shard-size", 2, "--part", "0/2", "--out", tmp_path, *TINY, "-q"
    )
    code, talk, _ = command("stats", tmp_path)
    assert (code, "not finished" in talk) == (1, True), talk


# ---- Output --------------------------------------------------------------------------------------------------------
def test_the_table_has_every_property(folders):
    """A line for each value, of few clips without its interval; those without one stand together, with the reason."""
    code, talk, data = command("stats", folders / "videos")
    assert code == 0, talk
    assert data.startswith(f"videos: 4 clips, {folders / 'videos'}")
    assert re.search(r"Lightness L\* +5\d\.\d+\n", data)
    assert "No intervals: they need 20 clips." in data
    assert "Without a value: Object speed, " in data
    assert "nan" not in data.lower()


@pytest.mark.parametrize(("suffix", "begins"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_a_picture_of_the_fit(folders, tmp_path, suffix, begins):
    """--plot draws the spectra and their fits, also where there is nothing to draw."""
    for name in ("videos", "black"):
        path = tmp_path / f"{name}.{suffix}"
        code, talk, _ = command("stats", folders / name, "--plot", path)
        assert code == 0, talk
        assert path.read_bytes().startswith(begins)


def test_drawing_without_matplotlib_is_one_sentence(folders, tmp_path, monkeypatch):
    """Where the extra is not installed, the sentence says how to get it, before any work is done."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, talk, _ = command("stats", folders / "videos", "--plot", tmp_path / "x.png")
    assert code == 2
    assert "pip install 'synvid[report]'" in talk


def test_measuring_loads_neither_matplotlib_nor_torch(folders):
    """Drawing is an extra, and torch is never needed."""
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


def test_measures_come_back_from_their_file(folders, tmp_path):
    """`read_records` gives what `to_json` wrote, samples and all."""
    path = tmp_path / "measures.json"
    assert command("stats", folders / "videos", folders / "pictures", "--out", path, "-q")[0] == 0
    records = load_metrics(path)
    assert [record.kind for record in records] == ["videos", "images"]
    assert [sample.type for record in records for sample in record.samples] == ["video/mp4"] * 2 + ["image/jpeg"] * 2
    assert json.loads(to_json(records)) == json.loads(path.read_text())
    assert all(not one["samples"] for one in json.loads(to_json(records, samples=False))["datasets"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda _: [], "no file of measures"),
        (lambda content: {**content, "format": "other"}, "no file of measures"),
        (lambda content: {**content, "version": 7}, "version 7"),
        (lambda content: {**content, "datasets": []}, "no dataset"),
        (lambda content: {**content, "datasets": [3]}, "dataset 0"),
        (lambda content: {**content, "datasets": [{"name": "x"}]}, "'kind' is missing"),
        (lambda content: change_property(content, value="high"), "spectrum_exponent.value is 'high'"),
        (lambda content: change_property(content, value=float("nan")), "not a finite number"),
        (lambda content: change_property(content, ci95=[1]), "dataset 0"),
        (lambda content: change_property(content, details=[]), "details"),
        (lambda content: {**content, "datasets": [{**content["datasets"][0], "kind": "song"}]}, "'song'"),
    ],
)
def test_damaged_measures_are_one_sentence(folders, tmp_path, change, words):
    """A file that is something else, or was edited by hand, is refused with its name and what is wrong."""
    path = tmp_path / "measures.json"
    command("stats", folders / "single", "--out", path, "-q")
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    code, talk, _ = command("report", path, "--out", tmp_path / "x.html")
    assert code == 2, talk
    assert str(path) in talk
    assert words in talk


def change_property(content, **changes):
    (one,) = content["datasets"]
    part = {**one["properties"]["spectrum_exponent"], **changes}
    return {**content, "datasets": [{**one, "properties": {**one["properties"], "spectrum_exponent": part}}]}


def record(name, **values):
    return DatasetMetrics(
        name, "videos", "there", 3, properties={key: Property(key, "", value) for key, value in values.items()}
    )


def test_files_are_joined_by_name():
    """Another program's properties stand beside ours; two different values of one property are refused."""
    joined = merge_metrics({"a": [record("x", speed=1.0), record("y", speed=2.0)], "b": [record("x", frechet=9.0, speed=1.0)]})
    assert [one.name for one in joined] == ["x", "y"]
    assert {key: one.value for key, one in joined[0].properties.items()} == {"frechet": 9.0, "speed": 1.0}
    with pytest.raises(ConfigurationError, match=r"b and a: speed of x is 3\.0 here and 1\.0 there"):
        merge_metrics({"a": [record("x", speed=1.0)], "b": [record("x", speed=3.0)]})


def test_numbers_are_for_people():
    """Three digits or so, and no exponent where none is needed."""
    assert [format_number(value) for value in (0, 1.35914, -0.02, 12345.6, 0.00001)] == [
        "0",
        "1.359",
        "-0.02",
        "12346",
        "1.0e-05",
    ]


# ---- Real data -------------------------------------------------------------------------------------------------------
@pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/data")
def test_natural_pictures_have_exponents_of_natural_pictures():
    """Of ImageNet pictures and J-HMDB videos the exponent lies between 0.5 and 2, as Torralba and Oliva found."""
    for one in measured(SHARED / "images", SHARED / "jhmdb", "--max-clips", 40, "--moments", 2):
        low, high = one["properties"]["spectrum_exponent"]["ci95"]
        assert 0.5 < low < high < 2


@pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/data")
def test_real_videos_are_read_to_the_frame():
    """Moments of a J-HMDB clip are the frames that another decoder finds."""
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


def test_a_video_that_ends_too_soon_is_measured_as_far_as_it_goes(tmp_path):
    """Cut off in the middle, a stream has its first frames, and a file whose index is gone is an error."""
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
    """A file that is played as it comes, without an index."""
    import av

    with av.open(str(path), "w", format="mpegts") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width = frames.shape[1:3]
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.astype(np.uint8), format="rgb24")))
        container.mux(stream.encode())


def test_long_videos_are_measured_in_their_middle(tmp_path):
    """Of 400 frames, each as bright as its number says, the moments lie within the middle 300, near a key frame."""
    frames = np.zeros((400, 32, 32, 3), np.uint8)
    frames[:] = (np.arange(400) // 2)[:, None, None, None]
    write_video(tmp_path / "long.mp4", frames)
    found = resolve_source(str(tmp_path / "long.mp4")).read_pairs(0, 4)
    brightness = 2 * found.frames.mean(axis=(1, 2, 3))
    assert 0 <= brightness[0] <= 52
    assert brightness[-1] - brightness[0] == pytest.approx(298, abs=2)
