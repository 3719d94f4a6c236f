"""Fixtures of the tests of datasets on disk."""

import json

import pytest

from datasets_on_disk.helpers import LAYOUTS, MANIFEST, PRESET, command, run


@pytest.fixture(scope="session")
def preset(tmp_path_factory):
    """The path of a small preset."""
    path = tmp_path_factory.mktemp("presets") / "small.yaml"
    path.write_text(PRESET)
    return path


@pytest.fixture(scope="session")
def sets(preset, tmp_path_factory):
    """A finished dataset of each layout; tests must not change them."""
    folders = {layout: tmp_path_factory.mktemp("sets") / layout for layout in LAYOUTS}
    for layout, folder in folders.items():
        run(*command(preset, layout, folder, "--quiet"))
    return folders


@pytest.fixture(scope="session")
def rows(sets):
    """The rows of each dataset's manifest."""
    return {
        layout: [json.loads(line) for line in (folder / MANIFEST[layout]).read_text().splitlines()]
        for layout, folder in sets.items()
    }
