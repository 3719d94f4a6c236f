"""Folders that hold another dataset, or files of the user."""

import pytest

from fault_tolerance.helpers import assert_error_message, assert_same, both_layouts, command, linux_only, read_tree, run_synvid
from synvid.dataset.recipe import DatasetRecipe

pytestmark = linux_only

USER_FILES = (
    "notes.txt",
    "train/notes.txt",
    "train/shard-mine.tar",
    "train/shard-000001.tar.bak",
    "videos/holiday.mp4",
    "videos/2024/beach.mp4",
    "videos/000001/mine.txt",
    "videos/000001/000000004-cut.mp4",
    "lists/mine.csv",
)


@pytest.mark.parametrize(("old", "new"), [("tar", "tar"), ("files", "files"), ("tar", "files"), ("files", "tar")])
def test_overwrite_keeps_files_of_the_user(old, new, small, undisturbed, finished):
    """--overwrite leaves the new dataset and every file that synvid has not written."""
    folder = finished(old)
    for name in USER_FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    result = run_synvid(*command(small, new, folder, "--seed", 5, "--overwrite", n=8))
    assert result.code == 0, result.stderr
    found = {name: data for name, data in read_tree(folder).items() if data is not None}
    assert {name: found.pop(name, None) for name in USER_FILES} == {name: name.encode() for name in USER_FILES}
    assert run_synvid("verify", folder, "--workers", 1).code == 0
    assert sorted(found) == sorted(name for name, data in undisturbed(small, new, 8).items() if data is not None)
    assert DatasetRecipe.load(folder).seed == 5


def test_overwrite_removes_all_files_of_the_old_dataset(small, undisturbed, finished):
    """Overwriting a larger dataset of the other layout leaves not even an empty folder of it."""
    folder = finished("files")
    assert run_synvid(*command(small, "tar", folder, "--overwrite", n=8)).code == 0
    assert_same(folder, undisturbed(small, "tar", 8))


@both_layouts
@pytest.mark.parametrize("more", [[], ["--overwrite"]], ids=["plain", "overwrite"])
def test_folder_with_other_files_raises(layout, more, small, tmp_path):
    """A folder with files and no dataset is not changed: exit code 2, one error message that names it."""
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "thesis.tex").write_text("mine")
    assert_error_message(run_synvid(*command(small, layout, folder, *more)), 2, folder, "is not empty")
    assert_same(folder, {"thesis.tex": b"mine"})


@both_layouts
@pytest.mark.parametrize(
    ("more", "named"),
    [
        (["--seed", 1], "seed: 1, 0"),
        (["--n", 23], "24 clips of this dataset, 23 were requested"),
        (["--shard-size", 5], "shard_size: 5, 4"),
        (["--encoding", "small"], "encoding: small, fast"),
        (["--set", "objects.count=21"], "preset.objects.count: 21, 20"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_other_configuration_raises(layout, more, named, small, undisturbed, finished):
    """Another setting for the same folder: exit code 2, the message names the key and both values, nothing changes."""
    folder = finished(layout)
    assert_error_message(run_synvid(*command(small, layout, folder, *more)), 2, folder, named)
    assert_same(folder, undisturbed(small, layout))
