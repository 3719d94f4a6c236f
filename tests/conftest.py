"""Settings of the environment and fixtures that several tests use."""

import os

import pytest

#: Texture banks that are built on first use are small in tests.
os.environ.setdefault("SYNVID_TEXTURES", "64")
#: With tests in parallel on few cores, several threads of torch would mostly wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

#: Overrides that make any preset fast to render.
TINY = {
    "video.width": 32,
    "video.height": 32,
    "objects.count": 20,
    "video.num_frames_range": [4, 8],
}


@pytest.fixture
def tiny():
    """Overrides that make any preset fast to render."""
    return dict(TINY)


#: A valid preset file.
GOOD_PRESET = """\
extends: moving_shapes
video: {width: 32, height: 32, num_frames_range: [4, 8]}
objects: {count: 20}
"""


@pytest.fixture
def input_folder(tmp_path, monkeypatch):
    """Change to a folder with a valid preset, invalid ones, a file, folders, and a dataset with an invalid recipe."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID", raising=False)
    (tmp_path / "preset.yaml").write_text(GOOD_PRESET)
    (tmp_path / "circle.yaml").write_text("extends: preset.yaml")
    (tmp_path / "wrong.yaml").write_text("objects: {count: -1}")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "folder.yaml" / "thesis.tex").write_text("mine")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "synvid.yaml").write_text("output_version: 1")
    return tmp_path
