"""Rendering more clips of the same recipe into a folder enlarges its dataset; fewer clips are rejected."""

import json

import pytest
from running import ended

import synvid
from synvid.cli.main import main
from synvid.dataset.build import render_recipe
from synvid.dataset.merge import merge_datasets
from synvid.dataset.recipe import DatasetRecipe
from synvid.errors import ConfigurationError, DatasetError

TINY = {"video.width": 32, "video.height": 32, "objects.count": 5, "video.num_frames_range": [3, 5]}


def make_recipe(n, **settings):
    return DatasetRecipe(synvid.load_preset("moving_shapes", TINY), n, shard_size=4, **settings)


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("layout", ["tar", "files"])
@pytest.mark.parametrize(("small", "large"), [(8, 16), (6, 7), (6, 16), (1, 9)])
def test_grown_dataset_has_the_same_bytes(small, large, layout, tmp_path):
    """Growing gives, byte for byte, what rendering all at once gives; full shards are not touched."""
    grown, whole = tmp_path / "grown", tmp_path / "whole"
    assert render_recipe(make_recipe(small, format=layout), grown).finished
    full = [path for path in grown.rglob("*00000[01]*") if path.is_file() and path.suffix in {".tar", ".mp4"}]
    before = {path: path.stat().st_mtime_ns for path in full if "shard-000001" not in path.name or small >= 8}
    result = render_recipe(make_recipe(large, format=layout), grown)
    assert (result.finished, result.already_done) == (True, small // 4 * 4)
    if layout == "tar" and small >= 4:
        assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    render_recipe(make_recipe(large, format=layout), whole)
    assert contents(grown) == contents(whole)
    assert len(synvid.open_dataset(grown)) == large


def test_unfinished_dataset_grows(tmp_path):
    """Shards of a part of the smaller dataset count in the larger one, except its last shard."""
    render_recipe(make_recipe(10), tmp_path / "set", part=(0, 2))
    assert render_recipe(make_recipe(12), tmp_path / "set").already_done == 4
    render_recipe(make_recipe(12), tmp_path / "whole")
    assert contents(tmp_path / "set") == contents(tmp_path / "whole")


def test_growing_dataset_is_not_finished(tmp_path):
    """While a dataset grows, the manifest of the smaller one cannot be read."""
    render_recipe(make_recipe(8), tmp_path)
    render_recipe(make_recipe(16), tmp_path, part=(2, 4))
    with pytest.raises(DatasetError, match="not finished"):
        synvid.open_dataset(tmp_path)
    code, _, data = ended(main, "status", tmp_path, "--json")
    assert (code, json.loads(data)["done"]) == (0, [0, 1, 2])


def test_fewer_clips_raise_unless_overwritten(tmp_path):
    """Fewer clips are rejected with both numbers, and nothing changes; --overwrite keeps the first clips."""
    render_recipe(make_recipe(8), tmp_path)
    before = contents(tmp_path)
    with pytest.raises(ConfigurationError, match=r"holds 8 clips of this dataset, 6 were requested.*--n 8 or more"):
        render_recipe(make_recipe(6), tmp_path)
    assert contents(tmp_path) == before
    assert render_recipe(make_recipe(6), tmp_path, overwrite=True).finished
    assert len(synvid.open_dataset(tmp_path)) == 6


def test_more_clips_of_another_seed_raise(tmp_path):
    """A larger number of clips with another seed is another dataset."""
    render_recipe(make_recipe(4), tmp_path)
    with pytest.raises(ConfigurationError, match="another configuration"):
        render_recipe(make_recipe(8, seed=1), tmp_path)


def test_run_of_the_smaller_dataset_does_not_change_the_larger_one(tmp_path):
    """A run that began before the dataset grew neither writes its manifest nor replaces a full shard."""
    from synvid.dataset.manifest import finish_dataset
    from synvid.dataset.shard import render_shard

    render_recipe(make_recipe(6), tmp_path)
    render_recipe(make_recipe(12), tmp_path)
    before = contents(tmp_path)
    with pytest.raises(DatasetError, match="has changed since this run began"):
        render_shard(make_recipe(6), tmp_path, 1, lambda: None)
    assert not finish_dataset(make_recipe(6), tmp_path)
    assert contents(tmp_path) == before
    render_shard(make_recipe(6), tmp_path, 0, lambda: None)  # the same clips in both
    assert contents(tmp_path) == before


def test_two_runs_that_grow_at_once_keep_full_shards(tmp_path):
    """A run that found the dataset smaller, while another one enlarged and rendered it, removes no full shard."""
    from synvid.dataset.folder import _grow

    render_recipe(make_recipe(6), tmp_path)
    render_recipe(make_recipe(8), tmp_path)
    _grow(make_recipe(6), make_recipe(8), tmp_path)  # decided before the other run enlarged it
    assert render_recipe(make_recipe(8), tmp_path).already_done == 8


def test_merge_with_larger_parts_grows(tmp_path):
    """Merging parts of a larger dataset makes the dataset grow."""
    render_recipe(make_recipe(8), tmp_path / "set")
    for i in range(2):
        render_recipe(make_recipe(15), tmp_path / f"part{i}", part=(2 + i, 4))
    copied, missing = merge_datasets(tmp_path / "set", [tmp_path / "part0", tmp_path / "part1"])
    assert (copied, missing) == (2, [])
    render_recipe(make_recipe(15), tmp_path / "whole")
    assert contents(tmp_path / "set") == contents(tmp_path / "whole")


def test_edited_card_is_kept_when_growing(tmp_path):
    """An edited card is kept when the dataset grows."""
    render_recipe(make_recipe(4), tmp_path)
    card = tmp_path / "README.md"
    card.write_text(card.read_text() + "\nOurs.\n")
    render_recipe(make_recipe(8), tmp_path)
    assert card.read_text().endswith("\nOurs.\n")


def test_render_command_grows_but_does_not_shrink(tmp_path):
    """`synvid render --n` with a larger number continues; a smaller number is rejected."""
    line = ["render", "--preset", "moving_shapes", "--out", tmp_path / "set", "--shard-size", 4, "--workers", 1]
    for name, value in TINY.items():
        line += ["--set", f"{name}={value}"]
    assert ended(main, *line, "--n", 4)[0] == 0
    code, stderr, _ = ended(main, *line, "--n", 8)
    assert code == 0
    assert "4 clips" in stderr
    code, stderr, _ = ended(main, *line, "--n", 3)
    assert code == 2
    assert "holds 8 clips" in stderr
    assert "--n 8 or more" in stderr
