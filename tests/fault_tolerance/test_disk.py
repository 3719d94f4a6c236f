"""Full, limited and read-only disks: one error message, and no partial files."""

import resource

import pytest

from fault_tolerance.helpers import (
    BackgroundRun,
    assert_error_message,
    assert_same,
    assert_tidy,
    both_layouts,
    command,
    linux_only,
    run_synvid,
)

pytestmark = linux_only


@both_layouts
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("limit", [100, 2500])
def test_file_size_limit_is_one_error_message(layout, workers, limit, small, undisturbed, tmp_path):
    """If the recipe or a shard exceeds the limit on file sizes: one error message, exit code 1, no partial files."""
    folder = tmp_path / "set"
    run = BackgroundRun(
        folder,
        *command(small, layout, folder, workers=workers),
        before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert_error_message(run.wait(), 1, "File too large")
    assert assert_tidy(folder, {}) == 0
    assert run_synvid(*command(small, layout, folder)).code == 0
    assert_same(folder, undisturbed(small, layout))


@both_layouts
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("space", ["4k", "32k", "80k"])
def test_full_disk_is_one_error_message(layout, workers, space, small, undisturbed, disk):
    """A disk that is full at the recipe or at some shard: one error message; with more space, the same command continues."""
    folder = disk(f"size={space}") / "set"
    run = BackgroundRun(folder.parent.with_name("log"), *command(small, layout, folder, workers=workers))
    assert_error_message(run.wait(), 1, folder, "No space left on device")
    assert_tidy(folder, undisturbed(small, layout))
    disk("size=10m")
    assert run_synvid(*command(small, layout, folder)).code == 0
    assert_same(folder, undisturbed(small, layout))


def test_folder_below_a_file_is_one_error_message(small, tmp_path):
    """A folder cannot be created below a file: one error message that names it, exit code 1."""
    (tmp_path / "file").write_text("mine")
    assert_error_message(run_synvid(*command(small, "tar", tmp_path / "file" / "sub")), 1, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


@both_layouts
def test_read_only_disk(layout, small, disk):
    """On a read-only disk, `status`, `verify` and `render` of a finished dataset work; nothing can be added."""
    folder = disk("size=10m") / "set"
    assert run_synvid(*command(small, layout, folder)).code == 0
    disk("ro")
    assert run_synvid("status", folder).code == 0
    assert run_synvid("verify", folder, "--workers", 1).code == 0
    again = run_synvid(*command(small, layout, folder))
    assert again.code == 0, again.stderr
    other = folder.with_name("other")
    assert_error_message(run_synvid(*command(small, layout, other)), 1, other, "Read-only file system")
    assert_error_message(
        run_synvid(*command(small, layout, folder, "--seed", 5, "--overwrite")), 1, folder, "Read-only file system"
    )
