"""Fixtures of the tests that disturb runs."""

import functools
import os
import shutil
import subprocess

import pytest

from fault_tolerance.helpers import CLIPS, command, read_tree, run_synvid
from synvid.dataset.recipe import DatasetRecipe
from synvid.dataset.shard import render_clip
from synvid.preset import load_preset

SMALL = """
extends: moving_shapes
video: {width: 32, height: 32, num_frames_range: [4, 8]}
objects: {count: 20}
"""
#: Slow enough to be killed in the middle: about a quarter of a second with two workers.
SLOW = """
extends: moving_shapes
video: {width: 64, height: 64, num_frames_range: [100, 120]}
objects: {count: 100}
"""


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """A preset whose clips take a millisecond. One is rendered, so that forked processes find the kernels compiled."""
    path = tmp_path_factory.mktemp("presets") / "small.yaml"
    path.write_text(SMALL)
    recipe = DatasetRecipe(load_preset(path), 1)
    render_clip(recipe, 0, recipe.make_encoder())
    return path


@pytest.fixture(scope="session")
def slow(small):
    """A preset whose clips take tens of milliseconds."""
    path = small.with_name("slow.yaml")
    path.write_text(SLOW)
    return path


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """Return the files of an undisturbed run, see `read_tree`; each is rendered once."""

    @functools.cache
    def make(preset, layout, n=CLIPS, size=4):
        folder = tmp_path_factory.mktemp("undisturbed") / "set"
        assert run_synvid(*command(preset, layout, folder, n=n, size=size)).code == 0
        return read_tree(folder)

    return make


@pytest.fixture
def finished(small, tmp_path):
    """Render a dataset of a layout and return its folder."""

    def make(layout, name="set"):
        folder = tmp_path / name
        assert run_synvid(*command(small, layout, folder)).code == 0
        return folder

    return make


@pytest.fixture
def disk(tmp_path):
    """Mount a small disk, or remount it with other options; it is unmounted at the end."""
    path = tmp_path / "disk"
    path.mkdir()
    mounted = False

    def mount(options):
        nonlocal mounted
        options = f"remount,{options}" if mounted else options
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"cannot mount a small disk: {done.stderr.strip()}")
        mounted = True
        return path

    if shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    yield mount
    if mounted:
        subprocess.run(["umount", "-l", path], check=True)
