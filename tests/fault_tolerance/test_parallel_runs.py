"""Several runs and parts of one dataset, merged folders, and Slurm arrays."""

import json
import time

import pytest

from fault_tolerance.helpers import (
    CLIPS,
    MANIFEST,
    SHARDS,
    BackgroundRun,
    assert_error_message,
    assert_same,
    both_layouts,
    command,
    damage_one_byte,
    linux_only,
    read_tree,
    run_synvid,
    shard_file,
)
from synvid.dataset.recipe import DatasetRecipe
from synvid.dataset.status import ShardState, shard_state

pytestmark = linux_only


@both_layouts
@pytest.mark.parametrize("apart", [0.0, 0.001, 0.002, 0.005, 0.02, 0.05])
def test_two_runs_in_one_folder_both_succeed(layout, apart, small, undisturbed, tmp_path):
    """Two runs in one folder at the same time both succeed and give the dataset of an undisturbed run."""
    folder = tmp_path / "set"
    runs = []
    for _ in range(2):
        runs.append(BackgroundRun(folder, *command(small, layout, folder)))
        time.sleep(apart)
    for run in runs:
        result = run.wait()
        assert (result.code, "Traceback" in result.stderr) == (0, False), result.stderr
    assert_same(folder, undisturbed(small, layout))


@both_layouts
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_parts_one_after_another_in_one_folder(layout, order, small, undisturbed, tmp_path):
    """Parts rendered in any order make up the whole dataset; only the last one reports it as finished."""
    folder = tmp_path / "set"
    for i in order:
        result = run_synvid(*command(small, layout, folder, "--part", f"{i}/3", "--json"))
        assert result.code == 0
        assert json.loads(result.stdout)["finished"] == (i == order[-1])
        assert json.loads(result.stdout)["clips"] == 8
    assert_same(folder, undisturbed(small, layout))


@both_layouts
def test_part_with_nothing_to_do_reports_missing_shards_of_others(layout, small, undisturbed, finished):
    """If a shard of another part is deleted, a part that has nothing to do does not report the dataset as finished."""
    folder = finished(layout)
    shard_file(folder, layout, 4).unlink()
    result = run_synvid(*command(small, layout, folder, "--part", "0/3", "--json"))
    assert (result.code, json.loads(result.stdout)["finished"]) == (0, False)
    assert "The other parts are still missing" in result.stderr
    result = run_synvid(*command(small, layout, folder, "--part", "1/3", "--json"))
    assert (result.code, json.loads(result.stdout)["finished"]) == (0, True)
    assert_same(folder, undisturbed(small, layout))


@both_layouts
def test_parts_at_the_same_time_in_one_folder(layout, small, undisturbed, tmp_path):
    """Parts rendered at the same time into one folder make up the whole dataset."""
    for attempt in range(3):
        folder = tmp_path / f"set-{attempt}"
        runs = [BackgroundRun(folder, *command(small, layout, folder, "--part", f"{i}/3", workers=1)) for i in range(3)]
        assert [run.wait().code for run in runs] == [0, 0, 0]
        assert_same(folder, undisturbed(small, layout))


@both_layouts
def test_parts_in_separate_folders_are_merged(layout, small, undisturbed, tmp_path):
    """Parts rendered into three folders are merged to the whole dataset, also after an incomplete merge."""
    folder = tmp_path / "set"
    parts = [tmp_path / f"part-{i}" for i in range(3)]
    for i, part in enumerate(parts):
        assert run_synvid(*command(small, layout, part, "--part", f"{i}/3")).code == 0
    missing = run_synvid("merge", folder, parts[2], parts[0])
    assert missing.code == 1
    assert "2 shards still missing" in missing.stderr
    assert not (folder / MANIFEST[layout]).exists()
    assert json.loads(run_synvid("status", folder, "--json").stdout)["missing"] == [1, 4]
    assert run_synvid("merge", folder, *parts).code == 0
    assert_same(folder, undisturbed(small, layout))


@both_layouts
def test_merge_rejects_an_altered_shard(layout, small, tmp_path):
    """Merging a part with an altered shard is one error message that names the file."""
    folder, part = tmp_path / "set", tmp_path / "part"
    assert run_synvid(*command(small, layout, part, n=8)).code == 0
    damage_one_byte(shard_file(part, layout, 1))
    assert_error_message(run_synvid("merge", folder, part, "--quiet"), 1, shard_file(part, layout, 1), "altered")
    assert shard_state(DatasetRecipe.load(folder), folder, 1) is ShardState.MISSING


def test_merge_of_another_configuration_raises(small, tmp_path):
    """Merging a part with another seed: exit code 2, and the error message names the difference."""
    folder, other = tmp_path / "set", tmp_path / "other"
    assert run_synvid(*command(small, "tar", folder, "--part", "0/2", n=8)).code == 0
    assert run_synvid(*command(small, "tar", other, "--part", "1/2", "--seed", 7, n=8)).code == 0
    before = read_tree(folder)
    assert_error_message(run_synvid("merge", folder, other), 2, other, "seed: 0, 7")
    assert_same(folder, before)


def slurm_array(monkeypatch, task, low, high, step, count):
    """Set the environment variables of a task of a Slurm array; None stands for not set."""
    for name, value in {"ID": task, "MIN": low, "MAX": high, "STEP": step, "COUNT": count}.items():
        if value is None:
            monkeypatch.delenv(f"SLURM_ARRAY_TASK_{name}", raising=False)
        else:
            monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", str(value))


@pytest.mark.parametrize("first", [0, 1])
def test_slurm_array_task_renders_its_part(first, small, undisturbed, tmp_path, monkeypatch):
    """Tasks of a Slurm array, from 0 or 1, make up the whole dataset; each reports its part, even with --quiet."""
    folder = tmp_path / "set"
    for i in range(3):
        slurm_array(monkeypatch, first + i, first, first + 2, 1, 3)
        result = run_synvid(*command(small, "tar", folder, "--json", "--quiet"))
        assert result.code == 0
        assert result.stderr == f"Rendering part {i}/3 (counted from 0), from SLURM_ARRAY_TASK_ID; --part 0/1 renders all.\n"
        assert json.loads(result.stdout)["clips"] == CLIPS / 3
    assert_same(folder, undisturbed(small, "tar"))


def test_part_option_overrides_slurm(small, tmp_path, monkeypatch):
    """--part takes precedence over the environment of a Slurm array."""
    slurm_array(monkeypatch, 2, 0, 2, 1, 3)
    result = run_synvid(*command(small, "tar", tmp_path / "set", "--part", "0/6"))
    assert (result.code, "SLURM" in result.stderr) == (0, False)
    assert [path.name for path in (tmp_path / "set" / "train").iterdir()] == ["shard-000000.tar"]


def test_part_0_of_1_renders_all_in_a_slurm_array(small, undisturbed, tmp_path, monkeypatch):
    """--part 0/1 renders the whole dataset in a task of an array, as the tasks of a sweep need."""
    slurm_array(monkeypatch, 3, 1, 7, 1, 3)
    assert run_synvid(*command(small, "tar", tmp_path / "set", "--part", "0/1")).code == 0
    assert_same(tmp_path / "set", undisturbed(small, "tar"))


@pytest.mark.parametrize(
    "array",
    [
        ("x", 0, 2, 1, 3),
        (3, 0, 2, 1, 3),
        (-1, 0, 2, 1, 3),
        (0, 0, 0, 1, 0),
        (2, 2, 2, 1, 1),
        (0, 0, 0, 1, 1),
        (3, 1, 7, 1, 3),
        (11, 10, 11, 1, 2),
        (2, 0, 4, 2, 3),
        (1, None, None, None, None),
        (1, 0, None, 1, 3),
    ],
    ids=["no number", "above", "below", "none", "one again", "one", "gaps", "from 10", "steps", "task only", "no maximum"],
)
def test_unsuitable_slurm_array_raises(array, small, tmp_path, monkeypatch):
    """Arrays with gaps, repeated tasks and invalid values: exit code 2, and the message names the variable and --part."""
    slurm_array(monkeypatch, *array)
    result = run_synvid(*command(small, "tar", tmp_path / "set", "--quiet"))
    assert_error_message(result, 2, "SLURM_ARRAY_TASK_ID", "--part I/N", "--part 0/1")
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("more", [[], ["--quiet"]], ids=["", "quiet"])
def test_part_beyond_the_last_shard_reports_that_it_is_empty(more, small, tmp_path):
    """A part beyond the last shard renders nothing and reports why; exit code 0."""
    result = run_synvid(*command(small, "tar", tmp_path / "set", "--part", f"{SHARDS}/9", *more))
    assert result.code == 0
    assert f"Part {SHARDS}/9 is empty: the dataset has {SHARDS} shards." in result.stderr
    assert not list((tmp_path / "set").glob("train/*"))
