"""Settings of the environment and fixtures that several tests use."""

import os
import platform

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

#: For tests of kernels compiled for the processors that `NUMBA_CPU_NAME` names.
needs_x86 = pytest.mark.skipif(
    platform.machine().lower() not in {"x86_64", "amd64"}, reason="nehalem and haswell are x86-64 processors"
)


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


@pytest.fixture(scope="session")
def video_sets(tmp_path_factory):
    """A folder of small sets of videos and images, to be read only."""
    import numpy as np
    from PIL import Image
    from running import noise_clip, write_video

    folder = tmp_path_factory.mktemp("sets")
    for k in range(6):
        noise = noise_clip(k, frames=20)
        write_video(folder / "one" / f"{k}.mp4", noise)
        write_video(folder / "two" / f"{k}.mp4", noise_clip(k + 6, frames=20, height=40 + 8 * k) // 2)
        write_video(folder / "still" / f"{k}.mp4", np.repeat(noise_clip(k, frames=1), 20, axis=0))
        write_video(folder / "short" / f"{k}.mp4", noise_clip(k, frames=5))
        write_video(folder / "black" / f"{k}.mp4", np.zeros((20, 48, 64, 3)))
        write_video(folder / "grey" / f"{k}.mp4", np.repeat(noise[..., :1], 3, axis=3))
    write_video(folder / "single" / "a.mp4", noise_clip(3, frames=20))
    write_video(folder / "some_broken" / "a.mp4", noise_clip(3, frames=20))
    write_video(folder / "some_broken" / "b.mp4", noise_clip(4, frames=20))
    for name in ("all_broken", "empty", "images", "pixels"):
        (folder / name).mkdir()
    for name in ("some_broken", "all_broken"):
        (folder / name / "broken.mp4").write_bytes(b"this is no video")
    for k in range(4):
        Image.fromarray(noise_clip(k, 1, 40 + k, 50)[0].astype(np.uint8)).save(folder / "images" / f"{k}.png")
    for k in range(3):
        Image.fromarray(np.full((1, 1, 3), 80 * k, np.uint8)).save(folder / "pixels" / f"{k}.png")
    return folder


@pytest.fixture(scope="session")
def mean_color_file(tmp_path_factory):
    """A TorchScript file `mean.pt` of a network of frames: the mean colours of their four quarters."""
    from feature_networks import MeanColors, save_script

    return save_script(MeanColors(), tmp_path_factory.mktemp("network") / "mean.pt")


@pytest.fixture(scope="session")
def feature_cache_folder(tmp_path_factory):
    """A cache of features for the tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def feature_cache(feature_cache_folder, monkeypatch):
    """Keep the features of a test apart from the user's cache."""
    monkeypatch.setattr("synvid_train.eval.feature_extraction.cache_folder", lambda: feature_cache_folder)
