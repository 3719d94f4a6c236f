"""The files of a dataset: tar members, manifest rows, lists and records."""

import csv
import hashlib
import io
import json
import re
import tarfile

import synvid
from datasets_on_disk.helpers import MANIFEST, SCHEMA, SHARD_SIZE, N, both_layouts, frame_hashes, tree
from synvid.dataset.layout import video_path
from synvid.dataset.recipe import DatasetRecipe
from synvid.dataset.shard import frames_sha256
from synvid.preset import load_preset


def test_tar_layout_has_exactly_these_files(sets):
    """Three shards, a manifest, a card, a list, the recipe and a record per shard: no more and no less."""
    shards = [f"train/shard-{i:06d}.tar" for i in range(3)]
    records = [f".synvid/shard-{i:06d}.json" for i in range(3)]
    files = ["README.md", "lists/videomae.csv", "manifest.jsonl", "synvid.yaml"]
    assert set(tree(sets["tar"])) == {*shards, *records, *files, ".synvid", "lists", "train"}


def test_files_layout_has_exactly_these_files(sets):
    """One file per clip, one folder per shard, and the manifest under the name that `datasets` requires."""
    videos = [f"videos/{i // SHARD_SIZE:06d}/{i:09d}.mp4" for i in range(N)]
    records = [f".synvid/shard-{i:06d}.json" for i in range(3)]
    files = ["README.md", "lists/videomae.csv", "metadata.jsonl", "synvid.yaml"]
    folders = [".synvid", "lists", "videos", *(f"videos/{i:06d}" for i in range(3))]
    assert set(tree(sets["files"])) == {*videos, *records, *files, *folders}


PLACE = {"tar": ({}, {"shard": str, "offset": int, "size": int}), "files": ({"file_name": str}, {"size": int})}


@both_layouts
def test_manifest_rows_have_one_flat_schema(layout, sets, rows):
    """Every row has the same keys in the same order with the same types; fps has a decimal point; nothing is null."""
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
def test_manifest_rows_describe_the_clips(layout, rows):
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


def test_tar_members_have_no_dates_or_owners(sets, rows):
    """USTAR format, time 0, owner 0 without a name, plain files; {key}.mp4 and then {key}.json."""
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


def test_json_member_is_the_manifest_row(sets, rows):
    """The JSON member of a sample is its manifest row without the location."""
    for row in rows["tar"]:
        with tarfile.open(sets["tar"] / row["shard"]) as tar:
            member = json.load(tar.extractfile(f"{row['key']}.json"))
        assert member == {key: row[key] for key in SCHEMA}


def test_offset_and_size_locate_the_video(sets, rows):
    """The bytes from offset to offset + size are the video, for readers of files and for FFmpeg's subfile protocol."""
    for row in rows["tar"]:
        path, start, end = sets["tar"] / row["shard"], row["offset"], row["offset"] + row["size"]
        with tarfile.open(path) as tar:
            video = tar.extractfile(f"{row['key']}.mp4").read()
        assert path.read_bytes()[start:end] == video
        assert frame_hashes(f"subfile,,start,{start},end,{end},,:{path}") == frame_hashes(io.BytesIO(video))


@both_layouts
def test_paths_in_the_videomae_list_open(layout, sets, rows, monkeypatch):
    """Lines are `path 0 -1`, as VideoMAE and V-JEPA split them; FFmpeg opens each path from the folder."""
    monkeypatch.chdir(sets[layout])
    with open("lists/videomae.csv", newline="") as file:  # noqa: PTH123  # as their loaders do
        lines = list(csv.reader(file, delimiter=" "))
    assert len(lines) == N
    dataset = synvid.open_dataset(".")
    for i, (path, start, count) in enumerate(lines):
        assert (start, count) == ("0", "-1")
        frames = frame_hashes(path)
        assert len(frames) == rows[layout][i]["frames"]
        assert frames == [hashlib.sha256(frame.tobytes()).hexdigest() for frame in dataset.decode(i).frames]


@both_layouts
def test_records_hold_hashes_and_counts(layout, sets, rows):
    """A record has size and hash of each file of the shard, the rows, and their totals."""
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


def test_shards_partition_the_clips():
    """Shards cover the clips without gaps or overlaps; only the last may be smaller."""
    recipe = DatasetRecipe(load_preset("moving_shapes"), N, shard_size=SHARD_SIZE)
    assert [list(recipe.indices(shard)) for shard in range(recipe.num_shards)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_hash_does_not_depend_on_the_chunk_size(preset, monkeypatch):
    """The hash of a clip is that of all its bytes, for any chunk size."""
    from synvid.dataset import shard as shard_module

    recipe = DatasetRecipe(load_preset(preset), N, 3)
    whole = hashlib.sha256(synvid.render(synvid.sample_scene(recipe.preset, 3, 2)).frames.tobytes()).hexdigest()
    for size in (1, 32 * 32 * 3 * 2, 10**9):
        monkeypatch.setattr(shard_module, "_CHUNK_BYTES", size)
        assert frames_sha256(recipe, 2) == whole
