"""webdataset and Hugging Face `datasets` load our datasets; the dataset card."""

import gc
import io
import json

import pytest
import yaml

import synvid
from datasets_on_disk.helpers import PRESET, SCHEMA, N, both_layouts, command, frame_hashes, run


@pytest.mark.filterwarnings("ignore:unclosed file.*shard-:ResourceWarning")  # webdataset leaves its last file open
def test_webdataset_loads_all_samples(sets, rows):
    """`webdataset` finds every sample, complete, with the video and the row."""
    import webdataset

    urls = str(sets["tar"] / "train" / "shard-{000000..000002}.tar")
    samples = list(webdataset.WebDataset(urls, shardshuffle=False))
    gc.collect()  # closes that file here
    assert [sample["__key__"] for sample in samples] == [row["key"] for row in rows["tar"]]
    for sample, row in zip(samples, rows["tar"], strict=True):
        assert {"mp4", "json"} <= set(sample)
        assert json.loads(sample["json"])["sha256"] == row["sha256"]
        assert len(frame_hashes(io.BytesIO(sample["mp4"]))) == row["frames"]


@pytest.fixture
def huggingface(tmp_path, monkeypatch):
    """The `datasets` library, offline, with its own cache."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "huggingface" / "datasets")
    datasets.disable_progress_bars()
    return datasets


@both_layouts
@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streaming"])
def test_huggingface_datasets_loads_all_clips(layout, streaming, sets, rows, huggingface):
    """`datasets.load_dataset(folder)` needs no code: every clip has its video and its row."""
    loaded = huggingface.load_dataset(str(sets[layout]), split="train", streaming=streaming)
    video = "mp4" if layout == "tar" else "video"
    assert isinstance(loaded.features[video], huggingface.Video)
    samples = list(loaded.cast_column(video, huggingface.Video(decode=False)))
    assert len(samples) == N
    for sample, row in zip(samples, rows[layout], strict=True):
        fields = sample["json"] if layout == "tar" else sample
        assert {key: fields[key] for key in SCHEMA} == {key: row[key] for key in SCHEMA}
        data = sample[video]["bytes"]
        file = io.BytesIO(data) if data else sample[video]["path"]
        assert len(frame_hashes(file)) == row["frames"]


def test_datasets_ignores_other_files_in_the_folder(preset, tmp_path, huggingface):
    """JSON, CSV and text files beside the shards do not make `datasets` load them instead of the clips."""
    folder = tmp_path / "set"
    run(*command(preset, "tar", folder))
    for name in ("notes.json", "more.jsonl", "table.csv", "train/labels.json", "train/read.txt", "labels.parquet"):
        (folder / name).write_text('{"a": 1}\n')
    loaded = huggingface.load_dataset(str(folder), split="train", streaming=True)
    assert {"mp4", "json", "__key__"} <= set(loaded.features)
    samples = list(loaded.cast_column("mp4", huggingface.Video(decode=False)))
    assert [sample["__key__"].rpartition("/")[2] for sample in samples] == [f"{i:09d}" for i in range(N)]


@pytest.mark.parametrize(("name", "sign"), [("[v1]", "["), ("{a,b}", "{"), ("a#b", "#"), ("a b.c_d-50%", "")])
def test_path_with_a_pattern_is_reported(name, sign, tmp_path):
    """A folder in which `datasets` finds no clips is reported; without a report `datasets` finds all of them."""
    datasets = pytest.importorskip("datasets")
    out = tmp_path / name / "set"
    line = ["render", "--preset", "moving_circles", "--n", 2, "--shard-size", 1, "--out", out, "--workers", 1]
    settings = ("video.width=32", "video.height=32", "objects.count=2")
    _, messages = run(*line, *(f"--set={setting}" for setting in settings))
    assert len(synvid.open_dataset(out)) == 2
    assert (f"interpret {sign} in a path as a pattern" in messages) == bool(sign)
    assert "at most 2 can share the work" in (out / "README.md").read_text()
    if name != "[v1]":
        files = datasets.load_dataset_builder(str(out)).config.data_files["train"]
        assert len(files) == 2


@both_layouts
@pytest.mark.parametrize("name", ["small", "a: b", "#1", "'tis", '"quoted"', "50% {n}", "Düne 砂", "- dash", "null"])
def test_card_front_matter_is_yaml_for_any_preset_name(layout, name, tmp_path):
    """The card's front matter names the data files, and no preset name breaks it."""
    named = tmp_path / "named.yaml"
    named.write_text(PRESET + f"name: {json.dumps(name)}\n")
    run(*command(named, layout, tmp_path / "set", "--n", 1))
    card = (tmp_path / "set" / "README.md").read_text(encoding="utf-8")
    _, front, body = card.split("---\n", 2)
    fields = yaml.safe_load(front)
    assert fields["pretty_name"] == f"synvid {name}, 1 clip, seed 3"
    files = fields["configs"][0]["data_files"]
    assert files == [{"split": "train", "path": "train/*.tar" if layout == "tar" else ["metadata.jsonl", "videos/**/*.mp4"]}]
    assert body.startswith(f"# {name}: 1 synthetic clips\n")
