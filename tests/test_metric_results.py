"""Metrics files: reading, writing, merging, and the errors of malformed ones."""

import json

import numpy as np
import pytest
from PIL import Image
from test_stats import command, noise_clip, write_video

from synvid.errors import ConfigurationError
from synvid.metrics.results import DatasetMetrics, Property, load_metrics, merge_metrics, to_json


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Return a folder with videos, an image, and the metrics file of both."""
    home = tmp_path_factory.mktemp("folders")
    for k in range(2):
        write_video(home / "videos" / f"{k}.mp4", noise_clip(k))
    (home / "images").mkdir()
    Image.fromarray(noise_clip(0, 1, 40, 50)[0].astype(np.uint8)).save(home / "images" / "0.png")
    assert command("stats", home / "videos", home / "images", "--out", home / "metrics.json", "-q")[0] == 0
    return home


def test_load_metrics_reads_what_stats_writes(folders):
    """`load_metrics` reads all that `synvid stats --out` writes, samples included."""
    path = folders / "metrics.json"
    results = load_metrics(path)
    assert [metrics.kind for metrics in results] == ["videos", "images"]
    assert [sample.type for metrics in results for sample in metrics.samples] == ["video/mp4"] * 2 + ["image/jpeg"]
    assert json.loads(to_json(results)) == json.loads(path.read_text())
    assert all(not dataset["samples"] for dataset in json.loads(to_json(results, samples=False))["datasets"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda _: [], "not a metrics file"),
        (lambda content: {**content, "format": "other"}, "not a metrics file"),
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
def test_load_metrics_malformed_file_gives_error(folders, tmp_path, change, words):
    """The error message names the file and what is wrong in it."""
    path = tmp_path / "metrics.json"
    content = json.loads((folders / "metrics.json").read_text())
    path.write_text(json.dumps(change({**content, "datasets": content["datasets"][:1]})))
    code, talk, _ = command("report", path, "--out", tmp_path / "x.html")
    assert code == 2, talk
    assert str(path) in talk
    assert words in talk


def change_property(content, **changes):
    (dataset,) = content["datasets"]
    item = {**dataset["properties"]["spectrum_exponent"], **changes}
    return {**content, "datasets": [{**dataset, "properties": {**dataset["properties"], "spectrum_exponent": item}}]}


def make_metrics(name, **values):
    return DatasetMetrics(
        name, "videos", "there", 3, properties={key: Property(key, "", value) for key, value in values.items()}
    )


def test_merge_metrics_joins_datasets_by_name():
    """Properties of all files are merged; different values of the same property are an error."""
    merged = merge_metrics(
        {"a": [make_metrics("x", speed=1.0), make_metrics("y", speed=2.0)], "b": [make_metrics("x", frechet=9.0, speed=1.0)]}
    )
    assert [metrics.name for metrics in merged] == ["x", "y"]
    assert {key: item.value for key, item in merged[0].properties.items()} == {"frechet": 9.0, "speed": 1.0}
    with pytest.raises(ConfigurationError, match=r"b and a: speed of x is 3\.0 in the first file and 1\.0 in the second"):
        merge_metrics({"a": [make_metrics("x", speed=1.0)], "b": [make_metrics("x", speed=3.0)]})


def test_file_of_an_older_synvid_is_refused_with_advice(tmp_path):
    """A file of the older format says that the datasets must be measured again."""
    path = tmp_path / "old.json"
    path.write_text('{"format": "synvid-measures", "version": 1, "datasets": []}')
    with pytest.raises(ConfigurationError, match="was written by an older synvid; measure again"):
        load_metrics(path)
