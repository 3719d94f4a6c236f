"""Damaged files are found by `verify` or `status` and repaired by `render` or `merge`."""

import json
import threading
import time
from pathlib import Path

import pytest

from fault_tolerance.helpers import (
    MANIFEST,
    assert_same,
    both_layouts,
    command,
    damage_deleted,
    damage_longer,
    damage_one_byte,
    damage_truncated,
    linux_only,
    run_synvid,
    shard_file,
)
from synvid.dataset.layout import record_path

pytestmark = linux_only


@both_layouts
@pytest.mark.parametrize("damage", [damage_truncated, damage_longer, damage_one_byte, damage_deleted])
def test_damaged_shard_is_found_and_rendered_again(layout, damage, small, undisturbed, finished):
    """`verify` names a damaged shard and exits with 1, `status` lists it, and the next `render` renders only it."""
    folder = finished(layout)
    damage(shard_file(folder, layout, 3))
    found = run_synvid("verify", folder, "--workers", 2)
    assert found.code == 1
    assert shard_file(Path(), layout, 3).as_posix().rpartition("/00000001")[0] in found.stderr
    assert "damaged or missing shards: 1 of 6" in found.stderr
    assert json.loads(run_synvid("status", folder, "--json").stdout)["damaged"] == [3]
    repaired = run_synvid(*command(small, layout, folder))
    assert repaired.code == 0
    assert f"{4} clips rendered, {20} already rendered" in repaired.stderr
    assert_same(folder, undisturbed(small, layout))
    assert run_synvid("verify", folder, "--workers", 1).code == 0


@both_layouts
@pytest.mark.parametrize("damage", [damage_truncated, damage_deleted])
def test_shard_of_wrong_size_is_rendered_again_without_verify(layout, damage, small, undisturbed, finished):
    """A shard of the wrong size, or without its file, is rendered again even without `verify`."""
    folder = finished(layout)
    damage(shard_file(folder, layout, 0))
    assert json.loads(run_synvid("status", folder, "--json").stdout)["damaged"] == [0]
    assert run_synvid(*command(small, layout, folder)).code == 0
    assert_same(folder, undisturbed(small, layout))


@both_layouts
@pytest.mark.parametrize(
    "record", [b"", b"{}", b'{"files": [], "rows": []}', b"[1]", b"\xff\xfe", b'{"files": 5, "rows": 5}', None]
)
def test_damaged_record_is_found_and_written_again(layout, record, small, undisturbed, finished):
    """`verify` reports a record that is missing, empty or invalid, and its shard is rendered again."""
    folder = finished(layout)
    path = record_path(folder, 4)
    path.unlink() if record is None else path.write_bytes(record)
    found = run_synvid("verify", folder, "--workers", 1)
    assert (found.code, "Traceback" in found.stderr) == (1, False), found.stderr
    assert "000004" in found.stderr
    assert run_synvid("status", folder).code == 0
    assert run_synvid(*command(small, layout, folder)).code == 0
    assert_same(folder, undisturbed(small, layout))


@both_layouts
@pytest.mark.parametrize(
    ("which", "damage"),
    [
        ("manifest", damage_one_byte),
        ("manifest", damage_deleted),
        ("lists/videomae.csv", damage_one_byte),
        ("lists/videomae.csv", damage_deleted),
        ("README.md", damage_deleted),
    ],
)
def test_modified_index_file_is_found_and_merge_writes_it_again(layout, which, damage, small, undisturbed, finished):
    """`verify` names a modified manifest, card or list, and `merge` writes it again."""
    folder = finished(layout)
    name = MANIFEST[layout] if which == "manifest" else which
    damage(folder / name)
    found = run_synvid("verify", folder, "--workers", 1)
    assert found.code == 1
    problem = "is missing" if damage is damage_deleted else "has been modified"
    assert f"{name}: {problem}; `synvid merge {folder}` writes it again" in found.stderr
    assert run_synvid("merge", folder).code == 0
    assert_same(folder, undisturbed(small, layout))
    assert run_synvid("verify", folder, "--workers", 1).code == 0


@both_layouts
def test_status_while_a_shard_appears_and_disappears(layout, finished):
    """`status` answers correctly while a file is removed and restored at the same time."""
    folder, stop, answers = finished(layout), threading.Event(), []
    path = shard_file(folder, layout, 2)
    aside = folder.with_name("aside")

    def remove_and_restore():
        while not stop.is_set():
            path.replace(aside)
            time.sleep(0.0005)
            aside.replace(path)
            time.sleep(0.0005)

    thread = threading.Thread(target=remove_and_restore)
    thread.start()
    try:
        for _ in range(60):
            result = run_synvid("status", folder, "--json")
            assert result.code == 0
            answers.append(json.loads(result.stdout))
    finally:
        stop.set()
        thread.join()
    assert {tuple(answer["done"]) for answer in answers} <= {(0, 1, 2, 3, 4, 5), (0, 1, 3, 4, 5)}
    assert {tuple(answer["damaged"]) for answer in answers} == {(), (2,)}
