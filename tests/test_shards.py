"""Datasets on disk are what they are said to be, to us and to other people's loaders."""

import csv
import gc
import hashlib
import io
import json
import pickle
import re
import tarfile

import av
import numpy as np
import pytest
import yaml
from running import ended

import synvid
from synvid.cli.main import main
from synvid.dataset.layout import video_path
from synvid.dataset.recipe import DatasetRecipe
from synvid.dataset.record import ShardRecord, read_rows, write_record
from synvid.dataset.shard import frames_sha256
from synvid.preset import load_preset

N, SHARD_SIZE = 10, 4  # the last shard is smaller
LAYOUTS = ("tar", "files")
MANIFEST = {"tar": "manifest.jsonl", "files": "metadata.jsonl"}

PRESET = """
extends: moving_shapes
description: Small shapes
video: {width: 32, height: 32, num_frames_range: [4, 8]}
objects: {count: 20}
"""

both_layouts = pytest.mark.parametrize("layout", LAYOUTS)


def run(*args, code=0):
    """Run a command that must end with an exit code; its stdout and stderr."""
    found, talk, data = ended(main, *args)
    assert found == code, talk
    return data, talk


def tree(folder):
    """Everything under a folder: relative path to bytes, None for folders."""
    return {path.relative_to(folder).as_posix(): None if path.is_dir() else path.read_bytes() for path in folder.rglob("*")}


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    """A small preset of one's own."""
    path = tmp_path_factory.mktemp("presets") / "small.yaml"
    path.write_text(PRESET)
    return path


def command(preset, layout, out, *more):
    what = ["--preset", preset, "--n", N, "--shard-size", SHARD_SIZE, "--format", layout]
    return ["render", *what, "--seed", 3, "--out", out, "--workers", 2, *more]


@pytest.fixture(scope="module")
def sets(preset, tmp_path_factory):
    """A finished dataset of each layout, which no test may change."""
    folders = {layout: tmp_path_factory.mktemp("sets") / layout for layout in LAYOUTS}
    for layout, folder in folders.items():
        run(*command(preset, layout, folder, "--quiet"))
    return folders


@pytest.fixture(scope="module")
def rows(sets):
    """The rows of each dataset's manifest."""
    return {
        layout: [json.loads(line) for line in (folder / MANIFEST[layout]).read_text().splitlines()]
        for layout, folder in sets.items()
    }


# ---- The layout ----------------------------------------------------------------------------------------------------
def test_the_tar_layout_is_exactly_this(sets):
    """Three shards, a manifest, a card, a list, the recipe and a record a shard: no more and no less."""
    shards = [f"train/shard-{i:06d}.tar" for i in range(3)]
    records = [f".synvid/shard-{i:06d}.json" for i in range(3)]
    files = ["README.md", "lists/videomae.csv", "manifest.jsonl", "synvid.yaml"]
    assert set(tree(sets["tar"])) == {*shards, *records, *files, ".synvid", "lists", "train"}


def test_the_files_layout_is_exactly_this(sets):
    """A file a clip, in a folder a shard, and the manifest under the name that `datasets` wants."""
    videos = [f"videos/{i // SHARD_SIZE:06d}/{i:09d}.mp4" for i in range(N)]
    records = [f".synvid/shard-{i:06d}.json" for i in range(3)]
    files = ["README.md", "lists/videomae.csv", "metadata.jsonl", "synvid.yaml"]
    folders = [".synvid", "lists", "videos", *(f"videos/{i:06d}" for i in range(3))]
    assert set(tree(sets["files"])) == {*videos, *records, *files, *folders}


SCHEMA = {
    "key": str,
    "index": int,
    "preset": str,
    "seed": int,
    "frames": int,
    "fps": float,
    "width": int,
    "height": int,
    "objects": int,
    "sha256": str,
    "recipe": str,
}
PLACE = {"tar": ({}, {"shard": str, "offset": int, "size": int}), "files": ({"file_name": str}, {"size": int})}


@both_layouts
def test_manifest_rows_have_one_flat_schema(layout, sets, rows):
    """Every row has the same keys in the same order with the same kinds of values; reals have a point; nothing is empty."""
    before, after = PLACE[layout]
    schema = {**before, **SCHEMA, **after}
    for row in rows[layout]:
        assert {key: type(value) for key, value in row.items()} == schema
        assert list(row) == list(schema)
        assert re.fullmatch("[0-9a-f]{64}", row["sha256"])
    text = (sets[layout] / MANIFEST[layout]).read_text()
    assert text.endswith("}\n")
    assert text.count('"fps": 25.0,') == N
    assert "null" not in text


@both_layouts
def test_manifest_rows_say_what_the_clips_are(layout, rows):
    """Keys are indices of nine digits, in order; length and hash are those of the rendered clip."""
    preset_name = "small"
    recipe = DatasetRecipe(synvid.load_preset("moving_shapes", small_overrides()), N, 3)
    for index, row in enumerate(rows[layout]):
        clip = synvid.render(synvid.sample_scene(recipe.preset, 3, index))
        assert (row["key"], row["index"], row["preset"], row["seed"]) == (f"{index:09d}", index, preset_name, 3)
        assert (row["frames"], row["height"], row["width"], 3) == clip.frames.shape
        assert (row["fps"], row["objects"]) == (25.0, 20)
        assert row["sha256"] == hashlib.sha256(clip.frames.tobytes()).hexdigest()


def small_overrides():
    return {"video.width": 32, "video.height": 32, "video.num_frames_range": [4, 8], "objects.count": 20}


def test_tar_files_are_ustar_with_nothing_of_the_day(sets, rows):
    """USTAR throughout, time 0, owner 0 without a name, plain files; {key}.mp4 then {key}.json, adjacent."""
    for shard in range(3):
        path = sets["tar"] / f"train/shard-{shard:06d}.tar"
        mine = [row for row in rows["tar"] if row["shard"] == f"train/shard-{shard:06d}.tar"]
        with tarfile.open(path) as tar:
            members = tar.getmembers()
        assert [member.name for member in members] == [f"{row['key']}.{end}" for row in mine for end in ("mp4", "json")]
        data = path.read_bytes()
        for member in members:
            assert data[member.offset + 257 : member.offset + 265] == b"ustar\x0000"
            assert (member.mtime, member.uid, member.gid, member.uname, member.gname) == (0, 0, 0, "", "")
            assert member.isreg()
            assert member.mode == 0o644


def test_the_json_beside_a_clip_is_its_row(sets, rows):
    """The JSON member of a sample is its manifest row without the place."""
    for row in rows["tar"]:
        with tarfile.open(sets["tar"] / row["shard"]) as tar:
            member = json.load(tar.extractfile(f"{row['key']}.json"))
        assert member == {key: row[key] for key in SCHEMA}


def test_offset_and_size_open_one_clip(sets, rows):
    """The bytes from offset to offset + size are the video, to a reader of files and to FFmpeg's subfile protocol."""
    for row in rows["tar"]:
        path, start, end = sets["tar"] / row["shard"], row["offset"], row["offset"] + row["size"]
        with tarfile.open(path) as tar:
            video = tar.extractfile(f"{row['key']}.mp4").read()
        assert path.read_bytes()[start:end] == video
        assert decoded(f"subfile,,start,{start},end,{end},,:{path}") == decoded(io.BytesIO(video))


def decoded(file):
    """Hashes of a video's frames."""
    with av.open(file) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return [hashlib.sha256(frame.tobytes()).hexdigest() for frame in frames]


@both_layouts
def test_the_list_for_videomae_opens(layout, sets, rows, monkeypatch):
    """`path 0 -1`, three fields a line, as VideoMAE and V-JEPA split them; FFmpeg opens each path from the folder."""
    monkeypatch.chdir(sets[layout])
    with open("lists/videomae.csv", newline="") as file:  # noqa: PTH123  # as their loaders do
        lines = list(csv.reader(file, delimiter=" "))
    assert len(lines) == N
    dataset = synvid.open_dataset(".")
    for i, (path, start, count) in enumerate(lines):
        assert (start, count) == ("0", "-1")
        frames = decoded(path)
        assert len(frames) == rows[layout][i]["frames"]
        assert frames == [hashlib.sha256(frame.tobytes()).hexdigest() for frame in dataset.decode(i).frames]


@both_layouts
def test_records_hold_hashes_and_counts(layout, sets, rows):
    """The record of a shard has the size and the hash of each of its files, the rows, and what they add up to."""
    for shard in range(3):
        head, *lines = (sets[layout] / f".synvid/shard-{shard:06d}.json").read_text().splitlines()
        record, mine = json.loads(head), rows[layout][shard * SHARD_SIZE : (shard + 1) * SHARD_SIZE]
        assert [json.loads(line) for line in lines[: len(mine)]] == mine
        assert lines[len(mine) :] == [f"{video_path(row)} 0 -1" for row in mine]
        assert record["recipe"] == DatasetRecipe.load(sets[layout]).digest
        assert (record["clips"], record["frames"]) == (len(mine), sum(row["frames"] for row in mine))
        for file in record["files"]:
            data = (sets[layout] / file["path"]).read_bytes()
            assert (file["bytes"], file["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())


# ---- Other people's loaders -----------------------------------------------------------------------------------------
@pytest.mark.filterwarnings("ignore:unclosed file.*shard-:ResourceWarning")  # webdataset leaves its last file open
def test_webdataset_loads_it(sets, rows):
    """`webdataset` finds every sample, whole, with the video and the row."""
    import webdataset

    urls = str(sets["tar"] / "train" / "shard-{000000..000002}.tar")
    samples = list(webdataset.WebDataset(urls, shardshuffle=False))
    gc.collect()  # closes that file here
    assert [sample["__key__"] for sample in samples] == [row["key"] for row in rows["tar"]]
    for sample, row in zip(samples, rows["tar"], strict=True):
        assert {"mp4", "json"} <= set(sample)
        assert json.loads(sample["json"])["sha256"] == row["sha256"]
        assert len(decoded(io.BytesIO(sample["mp4"]))) == row["frames"]


@pytest.fixture
def huggingface(tmp_path, monkeypatch):
    """The `datasets` library, kept off the network, with a cache of its own."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "huggingface" / "datasets")
    datasets.disable_progress_bars()
    return datasets


@both_layouts
@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streaming"])
def test_huggingface_datasets_loads_it(layout, streaming, sets, rows, huggingface):
    """`datasets.load_dataset(folder)` needs no code: every clip is there, with its video and its row."""
    loaded = huggingface.load_dataset(str(sets[layout]), split="train", streaming=streaming)
    video = "mp4" if layout == "tar" else "video"
    assert isinstance(loaded.features[video], huggingface.Video)
    samples = list(loaded.cast_column(video, huggingface.Video(decode=False)))
    assert len(samples) == N
    for sample, row in zip(samples, rows[layout], strict=True):
        said = sample["json"] if layout == "tar" else sample
        assert {key: said[key] for key in SCHEMA} == {key: row[key] for key in SCHEMA}
        data = sample[video]["bytes"]
        file = io.BytesIO(data) if data else sample[video]["path"]
        assert len(decoded(file)) == row["frames"]


def test_strays_do_not_steal_the_set(preset, tmp_path, huggingface):
    """JSON, CSV and text files that lie beside the tars do not make `datasets` load them in place of the clips."""
    folder = tmp_path / "set"
    run(*command(preset, "tar", folder))
    for name in ("notes.json", "more.jsonl", "table.csv", "train/labels.json", "train/read.txt", "labels.parquet"):
        (folder / name).write_text('{"a": 1}\n')
    loaded = huggingface.load_dataset(str(folder), split="train", streaming=True)
    assert {"mp4", "json", "__key__"} <= set(loaded.features)
    samples = list(loaded.cast_column("mp4", huggingface.Video(decode=False)))
    assert [sample["__key__"].rpartition("/")[2] for sample in samples] == [f"{i:09d}" for i in range(N)]


@both_layouts
@pytest.mark.parametrize("name", ["small", "a: b", "#1", "'tis", '"quoted"', "50% {n}", "Düne 砂", "- dash", "null"])
def test_the_card_is_yaml_whatever_the_name(layout, name, tmp_path):
    """The card's front matter names the data files, and no name of a preset breaks it."""
    named = tmp_path / "named.yaml"
    named.write_text(PRESET + f"name: {json.dumps(name)}\n")
    run(*command(named, layout, tmp_path / "set", "--n", 1))
    card = (tmp_path / "set" / "README.md").read_text(encoding="utf-8")
    _, front, body = card.split("---\n", 2)
    fields = yaml.safe_load(front)
    assert fields["pretty_name"] == f"synvid {name}, 1 clips, seed 3"
    files = fields["configs"][0]["data_files"]
    assert files == [{"split": "train", "path": "train/*.tar" if layout == "tar" else ["metadata.jsonl", "videos/**/*.mp4"]}]
    assert body.startswith(f"# {name}: 1 synthetic clips\n")


# ---- Our own reader --------------------------------------------------------------------------------------------------
@both_layouts
def test_open_dataset_is_a_sequence_of_rows(layout, sets, rows):
    """`len`, indices from both ends and iteration give the manifest; what is outside raises IndexError."""
    dataset = synvid.open_dataset(str(sets[layout]))
    assert len(dataset) == N
    assert [dataset[i] for i in range(N)] == rows[layout] == list(dataset)
    assert dataset[-1] == rows[layout][-1]
    assert dataset.scene(-1).index == N - 1
    with pytest.raises(IndexError):
        dataset[N]
    assert repr(dataset) == f"Dataset({str(sets[layout])!r}: 10 clips of small, seed 3)"
    assert pickle.loads(pickle.dumps(dataset)).rows == dataset.rows  # noqa: S301  # loaders' workers do


@both_layouts
def test_scenes_and_rendered_clips_are_those_encoded(layout, sets):
    """`.render(i)` has the hash of the row, `.scene(i)` is the scene it came from, and frames can be picked."""
    dataset = synvid.open_dataset(sets[layout])
    for i in range(N):
        clip = dataset.render(i)
        assert hashlib.sha256(clip.frames.tobytes()).hexdigest() == dataset[i]["sha256"]
        assert clip.scene.to_json() == dataset.scene(i).to_json()
        np.testing.assert_array_equal(dataset.render(i, [3, 0]).frames, clip.frames[[3, 0]])


@both_layouts
def test_decoded_frames_are_close_to_rendered_ones(layout, sets):
    """`.decode(i, frames)` gives the frames asked for, in their order, near those of `.render(i, frames)`."""
    dataset = synvid.open_dataset(sets[layout])
    for i in range(N):
        frames = [dataset[i]["frames"] - 1, 0, 2, 0]
        decoded_clip, clip = dataset.decode(i, frames), dataset.render(i, frames)
        assert decoded_clip.fps == clip.fps == 25.0
        apart = abs(decoded_clip.frames.astype(float) - clip.frames)
        assert apart.mean() < 12  # small hard-edged shapes, chroma at half resolution
        others = abs(decoded_clip.frames.astype(float) - clip.frames[::-1])
        assert apart[:2].mean() < others[:2].mean()


@pytest.mark.parametrize("encoding", ["fast", "small", "yuv444"])
@pytest.mark.parametrize("encoder", ["pyav", "ffmpeg"])
@pytest.mark.parametrize(("width", "height"), [(32, 30), (30, 34), (34, 36)])
def test_every_size_is_stored_as_it_was_rendered(encoding, encoder, width, height, preset, tmp_path):
    """Clips whose sides are even, but no multiples of 4 or 16, are decoded as near to what was rendered as others."""
    size = ["--set", f"video.width={width}", "--set", f"video.height={height}", "--set", "objects.count=3"]
    run(*command(preset, "files", tmp_path / "set", *size, "--encoding", encoding, "--encoder", encoder, "--n", 1))
    dataset = synvid.open_dataset(tmp_path / "set")
    assert abs(dataset.decode(0).frames.astype(float) - dataset.render(0).frames).mean() < 8


@both_layouts
@pytest.mark.parametrize("encoder", ["pyav", "ffmpeg"])
def test_lossless_clips_decode_to_the_rendered_frames(layout, encoder, preset, tmp_path):
    """With --encoding lossless, decoding gives exactly the frames that were rendered, and their hash."""
    run(*command(preset, layout, tmp_path / "set", "--encoding", "lossless", "--encoder", encoder, "--n", 3))
    dataset = synvid.open_dataset(tmp_path / "set")
    for i in range(3):
        whole = dataset.decode(i).frames
        assert hashlib.sha256(whole.tobytes()).hexdigest() == dataset[i]["sha256"]
        np.testing.assert_array_equal(dataset.decode(i, [3, 1]).frames, dataset.render(i, [3, 1]).frames)


@both_layouts
def test_reading_what_is_not_there_is_a_dataset_error(layout, preset, tmp_path):
    """A frame too many, a shortened shard, a missing shard, a damaged manifest: DatasetError that names the place."""
    folder = tmp_path / "set"
    run(*command(preset, layout, folder))
    dataset = synvid.open_dataset(folder)
    for frame in (-1, dataset[0]["frames"]):
        with pytest.raises(synvid.DatasetError, match=f"clip 000000000: has no frame {frame}"):
            dataset.decode(0, [frame])
    path = folder / (dataset[5].get("shard") or dataset[5]["file_name"])
    path.write_bytes(path.read_bytes()[: dataset[5].get("offset", 0) + 100])
    with pytest.raises(synvid.DatasetError, match=r"00000.*ends too soon"):
        dataset.decode(5)
    path.unlink()
    with pytest.raises(synvid.DatasetError, match=r"00000.*No such file"):
        dataset.decode(5)
    manifest = folder / MANIFEST[layout]
    lines = manifest.read_text().splitlines(keepends=True)
    manifest.write_text("".join(lines[:-1]))
    with pytest.raises(synvid.DatasetError, match="has 9 rows, not 10"):
        synvid.open_dataset(folder)
    manifest.write_text("".join([*lines[:4], "{}\n", *lines[5:]]))
    with pytest.raises(synvid.DatasetError, match="line 5: is damaged"):
        synvid.open_dataset(folder)


# ---- The same bytes --------------------------------------------------------------------------------------------------
@both_layouts
@pytest.mark.parametrize("workers", [1, 4])
def test_the_number_of_workers_does_not_show(layout, workers, preset, sets, tmp_path):
    """One process and four make the same bytes as two."""
    run(*command(preset, layout, tmp_path / "set", "--workers", workers))
    assert tree(tmp_path / "set") == tree(sets[layout])


@both_layouts
def test_the_order_of_shards_does_not_show(layout, preset, sets, tmp_path):
    """Shards rendered last to first, each by itself, are the same bytes."""
    for shard in (2, 1, 0):
        run(*command(preset, layout, tmp_path / "set", "--part", f"{shard}/3"))
    assert tree(tmp_path / "set") == tree(sets[layout])


def test_the_layout_does_not_show_in_the_videos(sets, rows):
    """A clip has the same bytes in a tar file and as a file, and so has a smaller set's first part of a larger one."""
    datasets = [synvid.open_dataset(sets[layout]) for layout in LAYOUTS]
    for i in range(N):
        assert datasets[0].video(i) == datasets[1].video(i)
        assert rows["tar"][i]["sha256"] == rows["files"][i]["sha256"]


def test_more_clips_keep_those_there_are(preset, sets, tmp_path):
    """A set of fewer clips is the beginning of a larger one, whole shards even byte for byte."""
    run(*command(preset, "tar", tmp_path / "set", "--n", 5))
    first = "train/shard-000000.tar"
    assert (tmp_path / "set" / first).read_bytes() == (sets["tar"] / first).read_bytes()
    fewer, more = synvid.open_dataset(tmp_path / "set"), synvid.open_dataset(sets["tar"])
    assert [fewer.video(i) for i in range(5)] == [more.video(i) for i in range(5)]


@both_layouts
def test_the_recipe_makes_the_set_again(layout, sets, tmp_path):
    """`render --recipe OUT/synvid.yaml --out COPY` gives the same set, byte for byte."""
    run("render", "--recipe", sets[layout] / "synvid.yaml", "--out", tmp_path / "copy", "--workers", 2)
    assert tree(tmp_path / "copy") == tree(sets[layout])


@both_layouts
def test_nothing_to_do_changes_nothing(layout, preset, tmp_path):
    """The same command again renders nothing, says so, and leaves every file as old as it was."""
    folder = tmp_path / "set"
    run(*command(preset, layout, folder))
    ages = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    data, talk = run(*command(preset, layout, folder, "--json"))
    assert (json.loads(data)["clips"], json.loads(data)["skipped"]) == (0, N)
    assert f"0 clips rendered, {N} already rendered" in talk
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == ages


# ---- What the commands say -------------------------------------------------------------------------------------------
@both_layouts
def test_render_tells_what_it_did(layout, preset, tmp_path):
    """`--json` puts the facts on stdout, the sentences go to stderr, and `--quiet` keeps them back."""
    data, talk = run(*command(preset, layout, tmp_path / "set", "--json"))
    facts = json.loads(data)
    videos = [path for path in (tmp_path / "set").rglob("*") if path.suffix in (".tar", ".mp4")]
    assert facts["bytes"] == sum(path.stat().st_size for path in videos)
    assert facts["out"] == str(tmp_path / "set")
    assert (facts["clips"], facts["skipped"], facts["finished"], facts["failed"]) == (N, 0, True, [])
    assert facts["seconds"] > 0
    assert facts["clips_per_second"] > 0
    assert f"{tmp_path / 'set'}: {N} clips rendered, " in talk
    assert "synvid.open_dataset(" in talk
    assert run(*command(preset, layout, tmp_path / "quiet", "--quiet")) == ("", "")
    assert run("verify", tmp_path / "quiet", "--quiet", "--workers", 1) == ("", "")
    assert run("merge", tmp_path / "quiet", "--quiet") == ("", "")


@both_layouts
def test_dry_run_writes_nothing(layout, preset, tmp_path, monkeypatch):
    """`--dry-run` tells clips, shards, bytes and time, as JSON too, and touches nothing, not even the folder."""
    monkeypatch.chdir(tmp_path)
    data, talk = run(*command(preset, layout, "set", "--dry-run"))
    assert talk == ""
    assert "10 to render, 0 done" in data
    assert "3 to write, of 3" in data
    assert re.search(r"size +about [0-9.]+ kB", data)
    assert re.search(r"time +about [0-9.]+ s with 2 workers", data)
    plan = json.loads(run(*command(preset, layout, "set", "--dry-run", "--json"))[0])
    assert (plan["clips"], plan["shards"], plan["done"]) == (N, 3, 0)
    assert list(tmp_path.iterdir()) == []
    run(*command(preset, layout, "set", "--part", "1/3"))
    before = tree(tmp_path)
    left = json.loads(run(*command(preset, layout, "set", "--dry-run", "--json"))[0])
    assert (left["clips"], left["shards"], left["done"]) == (6, 2, 4)
    assert tree(tmp_path) == before


def test_dry_run_guesses_the_size(preset, sets, tmp_path):
    """The size that --dry-run names is that of the set within a factor of two."""
    plan = json.loads(run(*command(preset, "files", tmp_path / "set", "--dry-run", "--json"))[0])
    size = sum(row["size"] for row in synvid.open_dataset(sets["files"]).rows)
    assert size / 2 < plan["bytes"] < size * 2


@both_layouts
def test_status_tells_what_is_there(layout, preset, sets, tmp_path):
    """`status` counts done, missing and damaged shards, names them, and tells how to go on; so does its JSON."""
    assert json.loads(run("status", sets[layout], "--json")[0]) == {
        "n": N, "shards": 3, "finished": True, "done": [0, 1, 2], "missing": [], "damaged": [],
    }  # fmt: skip
    folder = tmp_path / "set"
    run(*command(preset, layout, folder, "--part", "1/3"))
    assert json.loads(run("status", folder, "--json")[0]) == {
        "n": N, "shards": 3, "finished": False, "done": [1], "missing": [0, 2], "damaged": [],
    }  # fmt: skip
    data, talk = run("status", folder)
    assert talk == ""
    assert re.search(r"done +1\n", data)
    assert re.search(r"missing +2 +(shard-)?000000(\.tar)?, (shard-)?000002(\.tar)?\n", data)
    go_on = re.search(r"`synvid (render --recipe .*)` renders", data)[1]
    run(*go_on.split())
    assert tree(folder) == tree(sets[layout])


@both_layouts
def test_verify_finds_all_well(layout, sets):
    """`verify`, also --rerender, reports that everything matches, exits with 0 and changes nothing."""
    before = tree(sets[layout])
    assert "all 3 shards match their hashes." in run("verify", sets[layout], "--workers", 1)[1]
    assert "all clips render to identical frames" in run("verify", sets[layout], "--rerender", "--workers", 2)[1]
    assert json.loads(run("verify", sets[layout], "--json", "--workers", 1)[0]) == {"ok": True, "problems": {}}
    assert tree(sets[layout]) == before


def test_only_a_deep_verify_sees_other_frames(preset, tmp_path):
    """Records that agree with each other, but not with what the recipe renders, are found by `verify --rerender`."""
    folder = tmp_path / "set"
    run(*command(preset, "tar", folder))
    recipe = DatasetRecipe.load(folder)
    record, rows = ShardRecord.read(recipe, folder, 1), read_rows(recipe, folder, 1)
    rows[1]["sha256"] = "0" * 64
    write_record(recipe, folder, 1, record.files, rows, folder)
    run("merge", folder)
    run("verify", folder, "--workers", 1)
    data, talk = run("verify", folder, "--rerender", "--json", "--workers", 2, code=1)
    found = json.loads(data)
    assert found["ok"] is False
    assert list(found["problems"]) == ["train/shard-000001.tar"]
    assert "clip 5 renders to other frames" in found["problems"]["train/shard-000001.tar"]
    assert "clip 5 renders to other frames" in talk


def test_a_recipe_knows_its_shards():
    """Shards cover the clips without gap or overlap; only the last may be smaller."""
    recipe = DatasetRecipe(load_preset("moving_shapes"), N, shard_size=SHARD_SIZE)
    assert [list(recipe.indices(shard)) for shard in range(recipe.num_shards)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_frames_are_hashed_in_pieces(preset, monkeypatch):
    """The hash of a clip is that of all its bytes, in whatever pieces they are rendered."""
    from synvid.dataset import shard

    recipe = DatasetRecipe(load_preset(preset), N, 3)
    whole = hashlib.sha256(synvid.render(synvid.sample_scene(recipe.preset, 3, 2)).frames.tobytes()).hexdigest()
    for size in (1, 32 * 32 * 3 * 2, 10**9):
        monkeypatch.setattr(shard, "_PIECE_BYTES", size)
        assert frames_sha256(recipe, 2) == whole
