"""A dataset grows: more clips of the same recipe are added to those that are there, and it never shrinks unasked."""

import json

import pytest
from running import ended

import synvid
from synvid.cli.main import main
from synvid.dataset.build import merge_datasets, render_dataset
from synvid.dataset.recipe import DatasetRecipe
from synvid.errors import ConfigurationError, DatasetError

TINY = {"video.width": 32, "video.height": 32, "objects.count": 5, "video.num_frames_range": [3, 5]}


def recipe_of(n, **settings):
    return DatasetRecipe(synvid.load_preset("moving_shapes", TINY), n, shard_size=4, **settings)


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("layout", ["tar", "files"])
@pytest.mark.parametrize(("small", "large"), [(8, 16), (6, 7), (6, 16), (1, 9)])
def test_a_set_grows_to_the_same_bytes(small, large, layout, tmp_path):
    """Growing gives, byte for byte, what rendering all at once gives; full shards are not touched."""
    grown, whole = tmp_path / "grown", tmp_path / "whole"
    assert render_dataset(recipe_of(small, format=layout), grown).finished
    full = [path for path in grown.rglob("*00000[01]*") if path.is_file() and path.suffix in {".tar", ".mp4"}]
    before = {path: path.stat().st_mtime_ns for path in full if "shard-000001" not in path.name or small >= 8}
    result = render_dataset(recipe_of(large, format=layout), grown)
    assert (result.finished, result.skipped) == (True, small // 4 * 4)
    if layout == "tar" and small >= 4:
        assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    render_dataset(recipe_of(large, format=layout), whole)
    assert contents(grown) == contents(whole)
    assert len(synvid.open_dataset(grown)) == large


def test_a_set_grows_before_it_is_finished(tmp_path):
    """What a part rendered of the smaller set counts in the larger one, its last shard excepted."""
    render_dataset(recipe_of(10), tmp_path / "set", part=(0, 2))
    assert render_dataset(recipe_of(12), tmp_path / "set").skipped == 4
    render_dataset(recipe_of(12), tmp_path / "whole")
    assert contents(tmp_path / "set") == contents(tmp_path / "whole")


def test_a_set_that_grows_is_not_finished(tmp_path):
    """Between the two nobody reads the old list as the new set's."""
    render_dataset(recipe_of(8), tmp_path)
    render_dataset(recipe_of(16), tmp_path, part=(2, 4))
    with pytest.raises(DatasetError, match="not finished"):
        synvid.open_dataset(tmp_path)
    code, _, data = ended(main, "status", tmp_path, "--json")
    assert (code, json.loads(data)["done"]) == (0, [0, 1, 2])


def test_a_set_does_not_shrink(tmp_path):
    """Fewer clips are refused with both numbers, and nothing changes; --overwrite keeps what is asked for."""
    render_dataset(recipe_of(8), tmp_path)
    before = contents(tmp_path)
    with pytest.raises(ConfigurationError, match=r"holds 8 clips of this dataset, 6 are asked for.*--n 8 or more"):
        render_dataset(recipe_of(6), tmp_path)
    assert contents(tmp_path) == before
    assert render_dataset(recipe_of(6), tmp_path, overwrite=True).finished
    assert len(synvid.open_dataset(tmp_path)) == 6


def test_only_the_number_may_differ(tmp_path):
    """A larger number of clips of another seed is another dataset."""
    render_dataset(recipe_of(4), tmp_path)
    with pytest.raises(ConfigurationError, match="another configuration"):
        render_dataset(recipe_of(8, seed=1), tmp_path)


def test_a_run_of_the_smaller_set_cannot_undo_the_larger_one(tmp_path):
    """A run that began before the set grew neither describes it, nor puts its short last shard over a full one."""
    from synvid.dataset.manifest import finish_dataset
    from synvid.dataset.shard import render_shard

    render_dataset(recipe_of(6), tmp_path)
    render_dataset(recipe_of(12), tmp_path)
    before = contents(tmp_path)
    with pytest.raises(DatasetError, match="is another one than when this run began"):
        render_shard(recipe_of(6), tmp_path, 1, lambda: None)
    assert not finish_dataset(recipe_of(6), tmp_path)
    assert contents(tmp_path) == before
    render_shard(recipe_of(6), tmp_path, 0, lambda: None)  # the same clips in both
    assert contents(tmp_path) == before


def test_two_runs_that_grow_a_set_at_once_keep_what_is_full(tmp_path):
    """A run that finds the set smaller, while another one makes it larger and renders, removes no full shard."""
    from synvid.dataset import build

    render_dataset(recipe_of(6), tmp_path)
    render_dataset(recipe_of(8), tmp_path)
    build._grow(recipe_of(8), tmp_path)  # decided before the other was done
    assert render_dataset(recipe_of(8), tmp_path).skipped == 8


def test_merging_grows(tmp_path):
    """A set and parts of the larger one become the larger one."""
    render_dataset(recipe_of(8), tmp_path / "set")
    for i in range(2):
        render_dataset(recipe_of(15), tmp_path / f"part{i}", part=(2 + i, 4))
    copied, missing = merge_datasets(tmp_path / "set", [tmp_path / "part0", tmp_path / "part1"])
    assert (copied, missing) == (2, [])
    render_dataset(recipe_of(15), tmp_path / "whole")
    assert contents(tmp_path / "set") == contents(tmp_path / "whole")


def test_an_edited_card_stays(tmp_path):
    """What somebody wrote into the card is kept when the set grows."""
    render_dataset(recipe_of(4), tmp_path)
    card = tmp_path / "README.md"
    card.write_text(card.read_text() + "\nOurs.\n")
    render_dataset(recipe_of(8), tmp_path)
    assert card.read_text().endswith("\nOurs.\n")


def test_the_command_says_that_a_set_grows(tmp_path):
    """`synvid render --n` with a larger number goes on; with a smaller one it is refused."""
    line = ["render", "--preset", "moving_shapes", "--out", tmp_path / "set", "--shard-size", 4, "--workers", 1]
    for name, value in TINY.items():
        line += ["--set", f"{name}={value}"]
    assert ended(main, *line, "--n", 4)[0] == 0
    code, said, _ = ended(main, *line, "--n", 8)
    assert code == 0
    assert "4 clips" in said
    code, said, _ = ended(main, *line, "--n", 3)
    assert code == 2
    assert "holds 8 clips" in said
    assert "--n 8 or more" in said
