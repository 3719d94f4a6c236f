"""Clip: a sequence of frames that plays in a notebook and can be saved."""

import base64
import io
import re

import numpy as np
import pytest
import torch

import synvid
from synvid.video.decode import decode


@pytest.fixture
def clip(tiny):
    return synvid.make_clip("moving_shapes", 1, 2, **{key.replace(".", "__"): value for key, value in tiny.items()})


def test_clip_index_gives_a_frame(clip):
    """`clip[i]` is frame i, uint8 (H, W, 3), without a copy; negative indices count from the end."""
    for i in (0, 3, -1, np.int64(2), torch.tensor(2)):
        assert clip[i].shape == (32, 32, 3)
        assert clip[i].dtype == np.uint8
        np.testing.assert_array_equal(clip[i], clip.frames[int(i)])
    assert np.shares_memory(clip[1], clip.frames)


@pytest.mark.parametrize("index", [8, -9, 100])
def test_clip_index_out_of_range_raises(index, clip):
    """An index beyond the clip raises IndexError."""
    with pytest.raises(IndexError):
        clip[index]


@pytest.mark.parametrize("index", ["0", 1.0, None, [0, 1], (0, 1)], ids=repr)
def test_clip_index_of_a_wrong_type_raises(index, clip):
    """An index that is neither an integer nor a slice raises TypeError."""
    with pytest.raises(TypeError):
        clip[index]


@pytest.mark.parametrize(
    "part", [slice(1, 3), slice(None, None, 2), slice(None, None, -1), slice(5, 2), slice(2, 100)], ids=repr
)
def test_clip_slice_gives_a_clip(part, clip):
    """`clip[a:b]` is a clip of these frames, with the same scene and frames per second."""
    piece = clip[part]
    assert isinstance(piece, synvid.Clip)
    assert (piece.fps, piece.scene) == (clip.fps, clip.scene)
    np.testing.assert_array_equal(piece.frames, clip.frames[part])
    assert len(piece) == len(clip.frames[part])


def test_clip_iterates_over_frames(clip):
    """Iteration gives every frame in order; `len` and `reversed` agree with it."""
    frames = list(clip)
    assert len(frames) == len(clip) == clip.scene.num_frames
    np.testing.assert_array_equal(np.stack(frames), clip.frames)
    np.testing.assert_array_equal(np.stack(list(reversed(clip))), clip.frames[::-1])


def test_clip_plays_in_a_notebook(tiny):
    """`_repr_html_` returns a video element that plays the clip's frames; `repr` gives size, rate, seed and index."""
    clip = synvid.render(synvid.sample_scene(synvid.load_preset("moving_shapes", {**tiny, "video.width": 48}), 1, 2))
    assert repr(clip).startswith(f"Clip({len(clip)} frames of 48x32 at 25 fps")
    page = clip._repr_html_()
    for word in ("<video", "controls", "loop", "autoplay", "muted"):
        assert word in page
    data = base64.b64decode(re.search(r"base64,([^\"]+)\"", page).group(1))
    shown = decode(io.BytesIO(data))
    assert shown.shape == clip.frames.shape
    assert abs(shown.astype(int) - clip.frames).mean() < 25


def test_large_clip_is_shown_small():
    """The video in a notebook is at most 256 pixels wide and 4 MB, whatever the size of the clip."""
    overrides = {"video.width": 1280, "video.height": 721, "video.num_frames_range": [6, 6]}
    clip = synvid.render(synvid.sample_scene(synvid.load_preset("moving_shapes", overrides)))
    data = base64.b64decode(re.search(r"base64,([^\"]+)\"", clip._repr_html_()).group(1))
    assert decode(io.BytesIO(data)).shape == (6, 144, 256, 3)
    assert len(data) < 4_000_000


def test_save_writes_mp4(tiny, tmp_path):
    """`save` writes an MP4 file that decodes to the same frames if it is lossless; a wrong encoding writes nothing."""
    clip = synvid.render(synvid.sample_scene(synvid.load_preset("moving_shapes", {**tiny, "video.width": 33}), 1, 2))
    clip.save(tmp_path / "clip.mp4", encoding="lossless")
    np.testing.assert_array_equal(decode(str(tmp_path / "clip.mp4")), clip.frames)
    with pytest.raises(synvid.ConfigurationError, match="33x32"):
        clip.save(tmp_path / "odd.mp4")
    with pytest.raises(synvid.ConfigurationError, match="'best'"):
        clip.save(tmp_path / "odd.mp4", encoding="best")
    assert not (tmp_path / "odd.mp4").exists()


@pytest.mark.parametrize("name", ["clip.avi", "clip", "clip.mp4.txt", ".mp4"])
def test_save_other_suffix_raises(name, clip, tmp_path):
    """A file name that does not end in .mp4 raises ConfigurationError and writes nothing."""
    with pytest.raises(synvid.ConfigurationError, match=r"the file name must end in \.mp4"):
        clip.save(tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", [None, 5, b"clip.mp4"], ids=repr)
def test_save_path_of_a_wrong_type_raises(path, clip):
    """What is no path is named with its type."""
    with pytest.raises(synvid.ConfigurationError, match=r"give the path of a file ending in \.mp4"):
        clip.save(path)


def test_save_to_a_missing_folder_raises(clip, tmp_path):
    """A missing folder, and a folder of the file's name, raise DatasetError and leave no file."""
    with pytest.raises(synvid.DatasetError, match=r"there is no folder .*nowhere"):
        clip.save(tmp_path / "nowhere" / "clip.mp4")
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(synvid.DatasetError, match=r"folder\.mp4: cannot be written: "):
        clip.save(tmp_path / "folder.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["folder.mp4"]


def test_save_encoding_of_a_wrong_type_raises(clip, tmp_path):
    """An encoding that is not text is named with its type."""
    with pytest.raises(synvid.ConfigurationError, match=r"encoding is \['fast'\] \(list\)"):
        clip.save(tmp_path / "clip.MP4", encoding=["fast"])


def test_save_failure_keeps_the_old_file(clip, tmp_path, monkeypatch):
    """If writing fails, a file of that name keeps its content."""
    (tmp_path / "clip.mp4").write_text("old")
    monkeypatch.setattr("synvid.storage.atomic_io.os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(synvid.DatasetError, match=r"clip\.mp4: cannot be written: No space left"):
        clip.save(tmp_path / "clip.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]
    assert (tmp_path / "clip.mp4").read_text() == "old"
