"""Output of `render`, `status` and `verify`."""

import json
import re

import synvid
from datasets_on_disk.helpers import N, both_layouts, command, run, tree
from synvid.dataset.recipe import DatasetRecipe
from synvid.dataset.record import ShardRecord, read_rows, write_record


@both_layouts
def test_render_reports_its_result(layout, preset, tmp_path):
    """`--json` prints the result on stdout, messages go to stderr, and `--quiet` suppresses them."""
    stdout, stderr = run(*command(preset, layout, tmp_path / "set", "--json"))
    facts = json.loads(stdout)
    videos = [path for path in (tmp_path / "set").rglob("*") if path.suffix in (".tar", ".mp4")]
    assert facts["bytes"] == sum(path.stat().st_size for path in videos)
    assert facts["out"] == str(tmp_path / "set")
    assert (facts["clips"], facts["already_done"], facts["finished"], facts["failed"]) == (N, 0, True, [])
    assert facts["seconds"] > 0
    assert facts["clips_per_second"] > 0
    assert f"{tmp_path / 'set'}: {N} clips rendered, " in stderr
    assert "synvid.open_dataset(" in stderr
    assert run(*command(preset, layout, tmp_path / "quiet", "--quiet")) == ("", "")
    assert run("verify", tmp_path / "quiet", "--quiet", "--workers", 1) == ("", "")
    assert run("merge", tmp_path / "quiet", "--quiet") == ("", "")


@both_layouts
def test_dry_run_writes_nothing(layout, preset, tmp_path, monkeypatch):
    """`--dry-run` reports clips, shards, bytes and time, also as JSON, and creates not even the folder."""
    monkeypatch.chdir(tmp_path)
    stdout, stderr = run(*command(preset, layout, "set", "--dry-run"))
    assert stderr == ""
    assert "10 to render, 0 done" in stdout
    assert "3 to write, of 3" in stdout
    assert re.search(r"size +about [0-9.]+ kB", stdout)
    assert re.search(r"time +about [0-9.]+ s with 2 workers", stdout)
    plan = json.loads(run(*command(preset, layout, "set", "--dry-run", "--json"))[0])
    assert (plan["clips"], plan["shards"], plan["done"]) == (N, 3, 0)
    assert list(tmp_path.iterdir()) == []
    run(*command(preset, layout, "set", "--part", "1/3"))
    before = tree(tmp_path)
    left = json.loads(run(*command(preset, layout, "set", "--dry-run", "--json"))[0])
    assert (left["clips"], left["shards"], left["done"]) == (6, 2, 4)
    assert tree(tmp_path) == before


def test_dry_run_estimates_the_size(preset, sets, tmp_path):
    """The size that --dry-run reports is right within a factor of two."""
    plan = json.loads(run(*command(preset, "files", tmp_path / "set", "--dry-run", "--json"))[0])
    size = sum(row["size"] for row in synvid.open_dataset(sets["files"]).rows)
    assert size / 2 < plan["bytes"] < size * 2


@both_layouts
def test_status_lists_shards_and_the_next_command(layout, preset, sets, tmp_path):
    """`status` counts and names done, missing and damaged shards and shows the command that continues; so does its JSON."""
    assert json.loads(run("status", sets[layout], "--json")[0]) == {
        "n": N, "shards": 3, "finished": True, "done": [0, 1, 2], "missing": [], "damaged": [],
    }  # fmt: skip
    folder = tmp_path / "set"
    run(*command(preset, layout, folder, "--part", "1/3"))
    assert json.loads(run("status", folder, "--json")[0]) == {
        "n": N, "shards": 3, "finished": False, "done": [1], "missing": [0, 2], "damaged": [],
    }  # fmt: skip
    stdout, stderr = run("status", folder)
    assert stderr == ""
    assert re.search(r"done +1\n", stdout)
    assert re.search(r"missing +2 +(shard-)?000000(\.tar)?, (shard-)?000002(\.tar)?\n", stdout)
    go_on = re.search(r"`synvid (render --recipe .*)`\.", stdout)[1]
    run(*go_on.split())
    assert tree(folder) == tree(sets[layout])


@both_layouts
def test_verify_of_an_intact_dataset_succeeds(layout, sets):
    """`verify`, also with --rerender, reports no problems, exits with 0 and changes nothing."""
    before = tree(sets[layout])
    assert "all hashes of 3 shards match." in run("verify", sets[layout], "--workers", 1)[1]
    assert "all clips render to identical frames" in run("verify", sets[layout], "--rerender", "--workers", 2)[1]
    assert json.loads(run("verify", sets[layout], "--json", "--workers", 1)[0]) == {"ok": True, "problems": {}}
    assert tree(sets[layout]) == before


def test_deep_verify_finds_other_frames(preset, tmp_path):
    """Consistent records that do not fit the rendered frames are found by `verify --rerender` only."""
    folder = tmp_path / "set"
    run(*command(preset, "tar", folder))
    recipe = DatasetRecipe.load(folder)
    record, rows = ShardRecord.read(recipe, folder, 1), read_rows(recipe, folder, 1)
    rows[1]["sha256"] = "0" * 64
    write_record(recipe, folder, 1, record.files, rows, folder)
    run("merge", folder)
    run("verify", folder, "--workers", 1)
    stdout, stderr = run("verify", folder, "--rerender", "--json", "--workers", 2, code=1)
    found = json.loads(stdout)
    assert found["ok"] is False
    assert list(found["problems"]) == ["train/shard-000001.tar"]
    assert "clip 5 renders to other frames" in found["problems"]["train/shard-000001.tar"]
    assert "clip 5 renders to other frames" in stderr
