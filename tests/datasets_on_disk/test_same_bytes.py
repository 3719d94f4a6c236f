"""The files of a dataset depend only on its recipe."""

import json

import pytest

import synvid
from datasets_on_disk.helpers import LAYOUTS, N, both_layouts, command, run, tree


@both_layouts
@pytest.mark.parametrize("workers", [1, 4])
def test_files_do_not_depend_on_the_number_of_workers(layout, workers, preset, sets, tmp_path):
    """One process and four write the same bytes as two."""
    run(*command(preset, layout, tmp_path / "set", "--workers", workers))
    assert tree(tmp_path / "set") == tree(sets[layout])


@both_layouts
def test_files_do_not_depend_on_the_order_of_shards(layout, preset, sets, tmp_path):
    """Shards rendered last to first, one by one, have the same bytes."""
    for shard in (2, 1, 0):
        run(*command(preset, layout, tmp_path / "set", "--part", f"{shard}/3"))
    assert tree(tmp_path / "set") == tree(sets[layout])


def test_videos_do_not_depend_on_the_layout(sets, rows):
    """A clip has the same bytes in a tar file and as a file of its own."""
    datasets = [synvid.open_dataset(sets[layout]) for layout in LAYOUTS]
    for i in range(N):
        assert datasets[0].video(i) == datasets[1].video(i)
        assert rows["tar"][i]["sha256"] == rows["files"][i]["sha256"]


def test_smaller_dataset_is_the_beginning_of_a_larger_one(preset, sets, tmp_path):
    """The clips of a smaller dataset are the first of a larger one; full shards are equal byte for byte."""
    run(*command(preset, "tar", tmp_path / "set", "--n", 5))
    first = "train/shard-000000.tar"
    assert (tmp_path / "set" / first).read_bytes() == (sets["tar"] / first).read_bytes()
    fewer, more = synvid.open_dataset(tmp_path / "set"), synvid.open_dataset(sets["tar"])
    assert [fewer.video(i) for i in range(5)] == [more.video(i) for i in range(5)]


@both_layouts
def test_recipe_renders_the_same_dataset(layout, sets, tmp_path):
    """`render --recipe OUT/synvid.yaml --out COPY` writes the same files, byte for byte."""
    run("render", "--recipe", sets[layout] / "synvid.yaml", "--out", tmp_path / "copy", "--workers", 2)
    assert tree(tmp_path / "copy") == tree(sets[layout])


@both_layouts
def test_render_of_a_finished_dataset_changes_nothing(layout, preset, tmp_path):
    """The same command again renders nothing, reports that, and leaves all files untouched."""
    folder = tmp_path / "set"
    run(*command(preset, layout, folder))
    ages = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    stdout, stderr = run(*command(preset, layout, folder, "--json"))
    assert (json.loads(stdout)["clips"], json.loads(stdout)["already_done"]) == (0, N)
    assert f"0 clips rendered, {N} already rendered" in stderr
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == ages
