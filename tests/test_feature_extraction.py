"""Extraction of feature vectors: workers, cache, choice of clips and windows."""

import contextlib
import os
import signal

import numpy as np
import pytest
from feature_networks import counting_extractor, long_clip, ramp_videos, window_recorder
from running import write_video

from synvid.errors import DatasetError
from synvid.sources.find_sources import resolve_source
from synvid_train.eval.compare import compare
from synvid_train.eval.feature_extraction import ClipSelection, extract_features
from synvid_train.eval.feature_extractors import find_extractor

pytestmark = pytest.mark.usefixtures("feature_cache")


def test_features_independent_of_workers(video_sets, mean_color_file, tmp_path):
    """Vectors are the same with zero and three workers."""
    network = find_extractor(str(mean_color_file))
    source = resolve_source(str(video_sets / "one"))
    features = [
        extract_features(source, network, ClipSelection(seed=5), workers, cache=tmp_path / f"cache{workers}")
        for workers in (0, 3)
    ]
    np.testing.assert_array_equal(features[0].vectors, features[1].vectors)


def test_cache_by_content_and_network(video_sets, tmp_path):
    """A copy elsewhere is a cache hit; changed files, another network, other frames or a damaged cache file are misses."""
    network, calls = counting_extractor()
    first = extract_features(resolve_source(str(video_sets / "one")), network, ClipSelection(), cache=tmp_path)
    assert len(calls) == 6
    copy = tmp_path / "copied"
    copy.mkdir()
    for path in sorted((video_sets / "one").iterdir()):
        (copy / path.name).write_bytes(path.read_bytes())
    second = extract_features(resolve_source(str(copy)), network, ClipSelection(), cache=tmp_path)
    np.testing.assert_array_equal(first.vectors, second.vectors)
    assert len(calls) == 6
    extract_features(resolve_source(str(copy)), network, ClipSelection(frames=3), cache=tmp_path)
    assert len(calls) == 12
    other, others = counting_extractor("another")
    extract_features(resolve_source(str(copy)), other, ClipSelection(), cache=tmp_path)
    assert len(others) == 6
    write_video(copy / "0.mp4", long_clip(99))
    third = extract_features(resolve_source(str(copy)), network, ClipSelection(), cache=tmp_path)
    assert len(calls) == 18
    assert (third.vectors != first.vectors).any()
    for path in tmp_path.glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-7])
    again = extract_features(resolve_source(str(copy)), network, ClipSelection(), cache=tmp_path)
    assert len(calls) == 24
    np.testing.assert_array_equal(again.vectors, third.vectors)


def test_unwritable_cache_is_not_an_error(video_sets, tmp_path, caplog):
    """Features are returned, and a warning says that they were not cached."""
    network, _ = counting_extractor()
    (tmp_path / "file").write_text("in the way")
    features = extract_features(resolve_source(str(video_sets / "one")), network, ClipSelection(), cache=tmp_path / "file")
    assert features.num_clips == 6
    assert "not cached" in caplog.text


def test_seed_selects_clips(video_sets, tmp_path):
    """The same seed selects the same clips, another seed others."""
    network, _ = counting_extractor()
    source = resolve_source(str(video_sets / "one"))
    keys = [list(source.keys(seed))[:3] for seed in (0, 0, 1)]
    assert keys[0] == keys[1] != keys[2]
    features = [extract_features(source, network, ClipSelection(max_clips=3, seed=seed), cache=tmp_path) for seed in (0, 1)]
    assert features[0].num_clips == 3
    assert (features[0].vectors != features[1].vectors).any()


def test_preset_equals_its_lossless_dataset(tmp_path, mean_color_file):
    """A lossless dataset, decoded, has the features of its preset, rendered on demand."""
    from synvid.cli.main import main as synvid

    changes = ["video.width=64", "video.height=48", "objects.count=30", "video.num_frames_range=[20, 24]"]
    options = [text for change in changes for text in ("--set", change)]
    with contextlib.suppress(SystemExit):
        synvid(
            ["render", "--preset", "moving_shapes", "--n", "8", "--out", str(tmp_path / "set"), "--encoding", "lossless",
             "-q", *options]
        )  # fmt: skip
    network = find_extractor(str(mean_color_file))
    rendered = resolve_source("moving_shapes", prepare=lambda preset: preset.override_text(changes))
    decoded = extract_features(resolve_source(str(tmp_path / "set")), network, ClipSelection(max_clips=8), cache=tmp_path)
    generated = extract_features(rendered, network, ClipSelection(max_clips=8), cache=tmp_path)
    ordered = (np.sort(side.vectors, axis=0) for side in (decoded, generated))  # the clips of a dataset come in another order
    np.testing.assert_allclose(*ordered, rtol=1e-5)


def test_windows_stride_and_seed(tmp_path):
    """Frames are `stride` apart and start where the seed says, whether cached or not."""
    source = ramp_videos(tmp_path / "ramps", 8)
    starts = {}
    for stride, seed in ((1, 0), (3, 0), (3, 1), (3, 0)):
        selection = ClipSelection(seed=seed)
        indices = extract_features(source, window_recorder(5, stride), selection, cache=tmp_path / "cache").vectors.round()
        np.testing.assert_allclose(np.diff(indices, axis=1), stride, atol=0.3)
        starts[stride, seed] = indices[:, 0].tolist()
    assert len(set(map(tuple, starts.values()))) == 3
    assert len(set(starts[3, 0])) > 2


def test_short_clips_repeat_last_frame_with_note(tmp_path):
    """Clips shorter than the window repeat their last frame, and a note counts them, also from the cache."""
    long, extractor, cache = ramp_videos(tmp_path / "long", 3, length=13), window_recorder(5, 3), tmp_path / "cache"
    ramp_videos(tmp_path / "mixed" / "long", 3, length=13)
    mixed = ramp_videos(tmp_path / "mixed", 2, length=12)
    assert extractor.span == 13
    for _ in range(2):
        records = compare([mixed, long], [extractor], cache=cache)
        note = (
            "Fréchet distance on a test: 2 of 5 clips have fewer than the 13 frames of the network's window; their last frame "
            "is repeated."
        )
        assert [note in record.notes for record in records] == [True, False]
        assert not any("fewer" in text for text in records[1].notes)
    indices = extract_features(mixed, extractor, ClipSelection(), cache=cache).vectors.round()
    assert sorted(row[4] - row[3] for row in indices.tolist()) == [0, 0, 3, 3, 3]
    assert extract_features(mixed, counting_extractor()[0], ClipSelection(), cache=cache).num_short == 0


def test_killed_worker_raises(video_sets, monkeypatch):
    """A killed worker process raises an error."""
    source, (network, _) = resolve_source(str(video_sets / "one")), counting_extractor("dying")
    monkeypatch.setattr(source, "read_frames", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(DatasetError, match="worker process that loads clips died"):
        extract_features(source, network, ClipSelection(), workers=1)
