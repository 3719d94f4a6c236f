"""What several tests share."""

import os

import pytest

#: Banks of textures that are built when first needed are small here.
os.environ.setdefault("SYNVID_TEXTURES", "64")
#: Several threads of torch, beside other tests on few cores, wait for one another most of the time.
os.environ.setdefault("OMP_NUM_THREADS", "1")

#: A preset small enough to render in no time.
TINY = {
    "video.width": 32,
    "video.height": 32,
    "objects.count": 20,
    "video.num_frames_range": [4, 8],
}


@pytest.fixture
def tiny():
    """Overrides that make any preset quick."""
    return dict(TINY)
