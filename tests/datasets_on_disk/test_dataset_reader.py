"""Reading a dataset with `synvid.open_dataset`."""

import hashlib
import pickle

import numpy as np
import pytest

import synvid
from datasets_on_disk.helpers import MANIFEST, N, both_layouts, command, run


@both_layouts
def test_dataset_is_a_sequence_of_manifest_rows(layout, sets, rows):
    """`len`, positive and negative indices and iteration give the manifest; other indices raise IndexError."""
    dataset = synvid.open_dataset(str(sets[layout]))
    assert len(dataset) == N
    assert [dataset[i] for i in range(N)] == rows[layout] == list(dataset)
    assert dataset[-1] == rows[layout][-1]
    assert dataset.scene(-1).index == N - 1
    with pytest.raises(IndexError):
        dataset[N]
    assert repr(dataset) == f"Dataset({str(sets[layout])!r}: 10 clips of small, seed 3)"
    assert pickle.loads(pickle.dumps(dataset)).rows == dataset.rows  # noqa: S301  # loaders' workers do


@both_layouts
def test_rendered_clips_have_the_recorded_hash(layout, sets):
    """`.render(i)` has the hash of the row, `.scene(i)` is its scene, and frames can be selected."""
    dataset = synvid.open_dataset(sets[layout])
    for i in range(N):
        clip = dataset.render(i)
        assert hashlib.sha256(clip.frames.tobytes()).hexdigest() == dataset[i]["sha256"]
        assert clip.scene.to_json() == dataset.scene(i).to_json()
        np.testing.assert_array_equal(dataset.render(i, [3, 0]).frames, clip.frames[[3, 0]])


@both_layouts
def test_decoded_frames_are_close_to_rendered_frames(layout, sets):
    """`.decode(i, frames)` gives the selected frames in their order, close to those of `.render(i, frames)`."""
    dataset = synvid.open_dataset(sets[layout])
    for i in range(N):
        frames = [dataset[i]["frames"] - 1, 0, 2, 0]
        decoded_clip, clip = dataset.decode(i, frames), dataset.render(i, frames)
        assert decoded_clip.fps == clip.fps == 25.0
        apart = abs(decoded_clip.frames.astype(float) - clip.frames)
        assert apart.mean() < 12  # small hard-edged shapes, chroma at half resolution
        others = abs(decoded_clip.frames.astype(float) - clip.frames[::-1])
        assert apart[:2].mean() < others[:2].mean()


@pytest.mark.parametrize("encoding", ["fast", "small", "yuv444"])
@pytest.mark.parametrize("encoder", ["pyav", "ffmpeg"])
@pytest.mark.parametrize(("width", "height"), [(32, 30), (30, 34), (34, 36)])
def test_sizes_that_are_no_multiples_of_16_decode_correctly(encoding, encoder, width, height, preset, tmp_path):
    """Clips with even sides that are no multiples of 4 or 16 decode as close to the rendered frames as others."""
    size = ["--set", f"video.width={width}", "--set", f"video.height={height}", "--set", "objects.count=3"]
    run(*command(preset, "files", tmp_path / "set", *size, "--encoding", encoding, "--encoder", encoder, "--n", 1))
    dataset = synvid.open_dataset(tmp_path / "set")
    assert abs(dataset.decode(0).frames.astype(float) - dataset.render(0).frames).mean() < 8


@both_layouts
@pytest.mark.parametrize("encoder", ["pyav", "ffmpeg"])
def test_lossless_clips_decode_to_the_rendered_frames(layout, encoder, preset, tmp_path):
    """With --encoding lossless, decoding gives exactly the rendered frames and their hash."""
    run(*command(preset, layout, tmp_path / "set", "--encoding", "lossless", "--encoder", encoder, "--n", 3))
    dataset = synvid.open_dataset(tmp_path / "set")
    for i in range(3):
        whole = dataset.decode(i).frames
        assert hashlib.sha256(whole.tobytes()).hexdigest() == dataset[i]["sha256"]
        np.testing.assert_array_equal(dataset.decode(i, [3, 1]).frames, dataset.render(i, [3, 1]).frames)


@both_layouts
def test_reading_missing_or_damaged_data_raises(layout, preset, tmp_path):
    """A truncated or missing shard and a damaged manifest raise DatasetError, a wrong frame ConfigurationError."""
    folder = tmp_path / "set"
    run(*command(preset, layout, folder))
    dataset = synvid.open_dataset(folder)
    for frame in (-1, dataset[0]["frames"]):
        with pytest.raises(synvid.ConfigurationError, match=f"frame {frame} is not in the clip"):
            dataset.decode(0, [frame])
    path = folder / (dataset[5].get("shard") or dataset[5]["file_name"])
    path.write_bytes(path.read_bytes()[: dataset[5].get("offset", 0) + 100])
    with pytest.raises(synvid.DatasetError, match=r"00000.*ends too soon"):
        dataset.decode(5)
    path.unlink()
    with pytest.raises(synvid.DatasetError, match=r"00000.*No such file"):
        dataset.decode(5)
    manifest = folder / MANIFEST[layout]
    lines = manifest.read_text().splitlines(keepends=True)
    manifest.write_text("".join(lines[:-1]))
    with pytest.raises(synvid.DatasetError, match="has 9 rows, not 10"):
        synvid.open_dataset(folder)
    manifest.write_text("".join([*lines[:4], "{}\n", *lines[5:]]))
    with pytest.raises(synvid.DatasetError, match="line 5: is damaged"):
        synvid.open_dataset(folder)
