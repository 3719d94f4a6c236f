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
