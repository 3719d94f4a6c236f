"""`synvid-train compare`: metrics, notes and error messages."""

import contextlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from feature_networks import ClipStatistics, long_clip, run_command, save_script
from PIL import Image
from running import noise_clip
from scipy.linalg import sqrtm

from synvid.metrics.accuracy import PAPER, correlate, read_accuracies
from synvid.metrics.results import load_metrics
from synvid.sources.find_sources import resolve_source
from synvid_train.eval.compare import compare
from synvid_train.eval.feature_extractors import FeatureExtractor

pytestmark = pytest.mark.usefixtures("feature_cache")


SHARED = Path(__file__).parents[2] / "shared" / "data"


# ---- Metrics -------------------------------------------------------------------------------------------------------
def test_compare_equals_numpy(video_sets, mean_color_file, tmp_path):
    """The command's values equal numpy's on vectors computed by numpy, and its file is read as metrics."""
    out = tmp_path / "compared.json"
    code, stderr, stdout = run_command(
        "compare",
        video_sets / "one",
        f"other={video_sets / 'two'}",
        "--features",
        mean_color_file,
        "--out",
        out,
        "--frames",
        4,
    )
    assert code == 0, stderr
    first, reference = load_metrics(out)
    vectors = []
    for name, count in (("one", 6), ("two", 6)):
        rows = []
        for k in range(count):
            clip = long_clip(k) if name == "one" else long_clip(k + 6, height=40 + 8 * k) // 2
            frames = clip[[0, 6, 13, 19]]
            height = frames.shape[1]
            quarters = frames.reshape(4, 2, height // 2, 2, 32, 3).mean(axis=(2, 4))
            rows.append(quarters.transpose(0, 3, 1, 2).reshape(4, -1))
        vectors.append(rows)
    x, y = (np.concatenate(rows) for rows in vectors)
    root = sqrtm(np.cov(x, rowvar=False) @ np.cov(y, rowvar=False)).real
    spread = np.trace(np.cov(x, rowvar=False)) + np.trace(np.cov(y, rowvar=False))
    expected = np.square(x.mean(0) - y.mean(0)).sum() + spread - 2 * np.trace(root)
    (key,) = (key for key in first.properties if key.startswith("frechet"))
    assert first.properties[key].value == pytest.approx(expected, rel=1e-4)
    assert first.properties[key].label == "Fréchet distance on mean.pt to other"
    diversity = [np.log(np.linalg.eigvalsh(np.cov(rows, rowvar=False))[-3:]).sum() for rows in vectors[0]]
    clip_diversity = first.properties[key.replace("frechet", "diversity").removesuffix("_to_other")]
    assert clip_diversity.value == pytest.approx(np.mean(diversity), abs=1e-2)
    assert key not in reference.properties
    assert first.clips == reference.clips == 6
    assert "Fréchet distance on mean.pt to other" in stdout
    assert "two halves" in stderr


def test_compare_symmetric_and_zero_for_equal_sets(video_sets, mean_color_file, tmp_path):
    """The distance of a set to itself is zero, and swapping two sets does not change it."""
    values = []
    for first, second in (("one", "two"), ("two", "one"), ("one", "one")):
        out = tmp_path / f"{first}-{second}.json"
        code, stderr, _ = run_command(
            "compare", f"a={video_sets / first}", f"b={video_sets / second}", "--features", mean_color_file, "--out", out
        )
        assert code == 0, stderr
        values.append(next(v.value for k, v in load_metrics(out)[0].properties.items() if k.startswith("frechet")))
    assert values[0] == pytest.approx(values[1], rel=1e-12)
    assert values[0] > 1000
    assert values[2] == pytest.approx(0, abs=1e-6)


def test_compare_infinity_is_intercept(tmp_path, video_sets):
    """The extrapolated distance is the intercept of a line through the distances of fractions of the clips."""

    def features(frames):
        return torch.from_numpy(frames[:, 0, 0, :2].astype(np.float32))

    network = FeatureExtractor("two", "a test", "Fréchet distance on a test", "two", features)
    sources = [resolve_source(str(video_sets / "images")), resolve_source(str(video_sets / "one"))]
    few, _ = compare(sources, [network], infinity=True, cache=tmp_path)
    assert few.properties["frechet_two_to_one_infinity"].why == "one side has 4 clips; vectors of 2 numbers need 12"
    for name in ("a", "b"):
        for k in range(60):
            (tmp_path / name).mkdir(exist_ok=True)
            color = np.random.default_rng((ord(name), k)).integers(0, 256, (1, 1, 3)).astype(np.uint8)
            Image.fromarray(color).save(tmp_path / name / f"{k}.png")
    record, reference = compare(
        [resolve_source(str(tmp_path / name)) for name in "ab"], [network], infinity=True, cache=tmp_path
    )
    plain, infinite = (record.properties[f"frechet_two_to_b{end}"] for end in ("", "_infinity"))
    fractions, distances = infinite.details["fractions"], infinite.details["distances"]
    assert distances[0] == pytest.approx(plain.value)
    assert infinite.value == pytest.approx(max(0, np.polyfit(1 / np.array(fractions), distances, 1)[1]))
    assert infinite.value != pytest.approx(plain.value, rel=1e-3)
    halves = float(re.search(r"between two halves of this set, 30 vectors each: ([\d.]*\d)", reference.notes[0])[1])
    assert halves > 0


def test_compare_two_networks_and_references(video_sets, mean_color_file, tmp_path):
    """Two I3D files and two references have separate metrics, which a report joins."""
    from synvid.cli.main import main as synvid

    first, second = (
        save_script(ClipStatistics(), tmp_path / name) for name in ("a.pt", "b.pt")
    )  # each file contains its own name
    for reference in ("two", "grey"):
        args = [
            video_sets / "one",
            video_sets / reference,
            "--features",
            first,
            "--features",
            second,
            "--features",
            mean_color_file,
        ]
        code, stderr, _ = run_command("compare", *args, "--out", tmp_path / f"{reference}.json")
        assert code == 0, stderr
    kinds = [key[:9] for key in load_metrics(tmp_path / "two.json")[0].properties if key.startswith("frechet")]
    assert sorted(kind.replace("frechet_", "") for kind in kinds) == ["i", "i", "s"]  # two I3D, one script of frames
    pytest.importorskip("matplotlib")
    with contextlib.suppress(SystemExit):
        files = [str(tmp_path / f"{reference}.json") for reference in ("two", "grey")]
        synvid(["report", *files, "--out", str(tmp_path / "page.html"), "-q"])
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "FVD on a.pt to two" in page
    assert "FVD on b.pt to grey" in page
    assert "Biased upwards by about 1 / n" in page


def test_documentation_matches_compared_json():
    """The table and the correlations in docs/analysis.md are those of docs/compared.json."""
    docs = Path(__file__).parents[1] / "docs"
    text = (docs / "analysis.md").read_text(encoding="utf-8").partition("## Results: distances and diversity")[2]
    records = load_metrics(docs / "compared.json")
    (clips,) = {key for record in records for key in record.properties if key.startswith("frechet_videomae")}
    keys = {"frechet_efficientnet_lite0_to_jhmdb": 1, clips: 2, "diversity_efficientnet_lite0": 1,
            "set_diversity_efficientnet_lite0": 0}  # fmt: skip
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", text, re.MULTILINE)
    assert [name for name, _ in rows] == [record.name for record in records]
    for record, (_, row) in zip(records, rows, strict=True):
        for (key, digits), cell in zip(keys.items(), row.split("|"), strict=True):
            metric = record.properties.get(key)
            stdout = cell.strip().partition(" ")[0]
            assert stdout == ("" if metric is None or metric.value is None else f"{metric.value:.{digits}f}"), (
                record.name,
                key,
            )
    accuracies = read_accuracies(PAPER)
    for key in keys:
        pairs = [
            (record.properties[key].value, accuracies.get(record, "UCF101 fine-tuned"))
            for record in records
            if key in record.properties and record.properties[key].value is not None
        ]
        correlation = correlate(*zip(*((x, y) for x, y in pairs if y is not None), strict=True))
        low, high = correlation.ci95
        assert (
            f"{correlation.pearson:.2f} ({low:.2f} to\n{high:.2f})" in text
            or f"{correlation.pearson:.2f} ({low:.2f} to {high:.2f})" in text
        )


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.exists(), reason="needs J-HMDB in ../shared/data")
def test_compare_real_videos_closer_than_shapes(tmp_path, monkeypatch):
    """Two parts of J-HMDB are closer to each other than shapes are; a second run does not run the network."""
    videos = sorted((SHARED / "jhmdb" / "videos").rglob("*.mp4")) or sorted((SHARED / "jhmdb" / "videos").rglob("*.avi"))
    for k, path in enumerate(videos[::23]):
        folder = tmp_path / ("even" if k % 2 else "odd")
        folder.mkdir(exist_ok=True)
        (folder / path.name).symlink_to(path)
    args = (
        "compare", "moving_shapes", tmp_path / "odd", tmp_path / "even", "--max-clips", 20, "--frames", 4,
        "--out", tmp_path / "a.json",
    )  # fmt: skip
    code, stderr, stdout = run_command(*args)
    assert code == 0, stderr
    shapes, odd, _ = load_metrics(tmp_path / "a.json")
    key = "frechet_efficientnet_lite0_to_even"
    assert shapes.properties[key].label == "Fréchet distance on EfficientNet-Lite0 to even"
    assert "FID" not in stdout
    assert shapes.properties[key].value > 1.3 * odd.properties[key].value
    monkeypatch.setattr("synvid_train.eval.feature_extraction._run_network", None)  # would fail if the network ran
    assert run_command(*args)[::2] == (0, stdout)


# ---- Missing values and notes --------------------------------------------------------------------------------------
def test_compare_images_with_clip_network(video_sets, tmp_path):
    """A network of clips has no distance to images."""
    path = save_script(ClipStatistics(), tmp_path / "i3d.pt")
    code, stderr, stdout = run_command("compare", video_sets / "images", video_sets / "one", "--features", path)
    assert code == 0, stderr
    assert "the network takes clips, not images" in stdout


def test_compare_single_image_has_no_distance(tmp_path, video_sets, mean_color_file):
    """A single vector has no covariance, and so no distance."""
    Image.fromarray(noise_clip(0, 1)[0].astype(np.uint8)).save(tmp_path / "a.png")
    code, stderr, stdout = run_command("compare", tmp_path / "a.png", video_sets / "one", "--features", mean_color_file)
    assert code == 0, stderr
    assert "no covariance" in stdout


@pytest.mark.parametrize("name", ["still", "short", "black", "grey", "single", "some_broken", "images", "pixels"])
def test_compare_degenerate_sets(video_sets, mean_color_file, name):
    """Still, short, black and grey clips, a single clip, broken files, images and pixels give values or reasons, not NaN."""
    code, stderr, stdout = run_command(
        "compare", video_sets / name, video_sets / "one", "--features", mean_color_file, "--fid-infinity", "--json"
    )
    assert code == 0, stderr
    assert "NaN" not in stdout
    assert "Infinity" not in stdout
    record, reference = json.loads(stdout)["datasets"]
    distance, at_infinity, diversity, of_set = record["properties"].values()
    assert distance["value"] > 0 or name == "single"
    assert of_set["value"] is not None or "less than half" in of_set["why"]
    assert (of_set["value"] is None) == (name in ("still", "black", "grey", "pixels", "images")), of_set
    assert at_infinity["value"] is None
    assert "need 72." in at_infinity["why"] + "."
    expected = {
        "still": "in every clip the frame vectors are affinely dependent",
        "black": "in every clip the frame vectors are affinely dependent",
        "grey": "in every clip the frame vectors are affinely dependent",  # this network gives four different numbers for grey
        "short": "no clip has 16 frames",
        "images": "a single frame has no diversity",
        "pixels": "a single frame has no diversity",
    }
    assert diversity["why"] == "" or expected[name] in diversity["why"]
    assert (diversity["value"] is None) == (name in expected)
    assert ("1 clip could not be read: broken.mp4." in record["notes"]) == (name == "some_broken")
    assert len(reference["properties"]) == 2


def test_compare_names_unreadable_clips_with_cache(video_sets, tmp_path, mean_color_file):
    """With features from the cache, unreadable clips are named as in the folder at hand."""
    for name, broken in (("here", "broken.mp4"), ("there", "c_other.mp4")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.mp4").write_bytes((video_sets / "some_broken" / "a.mp4").read_bytes())
        (tmp_path / name / broken).write_bytes(b"this is no video")
        code, stderr, _ = run_command("compare", tmp_path / name, video_sets / "one", "--features", mean_color_file)
        assert code == 0, stderr
        assert f"1 clip could not be read: {broken}" in stderr


# ---- Errors --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("{one}",), 2, "name two or more datasets"),
        (("{one}", "{one}"), 2, "are both called one"),
        (("{one}", "{empty}"), 2, "no dataset, no video"),
        (("{one}", "{all_broken}"), 2, "none of its 1 clip can be read"),
        (("{one}", "nothing_like_it"), 2, "nothing_like_it"),
        (("{one}", "{two}", "--features", "resnet"), 2, "one of the networks efficientnet-lite0"),
        (("{one}", "{two}", "--features", "{broken}"), 2, "not a complete file"),
        (("{one}", "{two}", "--features", "~nobody/x.pt"), 2, "no such file"),
        (("{one}", "{two}", "--features", ""), 2, "no such file"),
        (("{one}", "{two}", "--features", "x" * 400), 2, "no such file"),
        (("{one}", "{two}", "--out", "x.txt"), 2, "ends in .json"),
        (("{one}", "{two}", "--device", "tpu"), 2, "no such device"),
        (("{one}", "{two}", "--set", "video.width=64"), 2, "no preset is measured"),
        (("{one}", "{two}", "--textures", "statistical=a.bank"), 2, "no preset that is measured has such a bank"),
    ],
)
def test_compare_invalid_arguments(video_sets, args, code, message):
    """Invalid arguments give a one-line error message and the exit code."""
    names = {name: str(video_sets / name) for name in ("one", "two", "empty", "all_broken")}
    names["broken"] = str(video_sets / "all_broken" / "broken.mp4")
    exit_code, stderr, stdout = run_command("compare", *(arg.format(**names) for arg in args))
    assert exit_code == code, stderr
    assert message in stderr
    assert "Traceback" not in stderr
    assert not stdout
