"""Frame windows, crops, evaluation views and augmentations of training and evaluation."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

torch = pytest.importorskip("torch")

from synvid_train.data.transforms import (  # noqa: E402
    evaluation_views,
    finetune_view,
    finetune_window,
    multi_scale_crop,
    pretrain_view,
    resize,
    sample_window,
    seeded,
)
from synvid_train.train.finetune import _make_mixup  # noqa: E402
from synvid_train.training_recipe import TrainingRecipe, Views  # noqa: E402


def _noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


# ---- Windows -------------------------------------------------------------------------------------------------------
def test_sample_window_short_video():
    """A video of 10 frames at stride 4 gives 0, 4, 8 from its start, then repeats the last of them."""
    assert sample_window(10, 5, 4, np.random.default_rng(0)) == [0, 4, 8, 8, 8]
    assert sample_window(1, 4, 4, np.random.default_rng(0)) == [0, 0, 0, 0]


def test_sample_window_start_is_uniform():
    """In 67 frames a window of 16 at stride 4 starts at 0, 1, 2 or 3 with equal probability."""
    starts = [sample_window(67, 16, 4, np.random.default_rng(i))[0] for i in range(4000)]
    assert np.bincount(starts).tolist() == pytest.approx([1000] * 4, abs=120)


@given(st.integers(1, 300), st.integers(1, 32), st.integers(1, 8), st.integers(0, 9))
@settings(deadline=None)
def test_sample_window_stride_and_range(num_frames, count, stride, seed):
    """All indices are frames of the video, `stride` apart until the last one within reach."""
    window = sample_window(num_frames, count, stride, np.random.default_rng(seed))
    assert len(window) == count
    assert set(np.diff(window)) <= {0, stride}
    assert 0 <= window[0] <= window[-1] < num_frames


class FixedRng:
    """Random generator that returns a fixed number and records the range it is asked for."""

    def __init__(self, number):
        self.number = number

    def integers(self, low, high):
        self.range = low, high
        return self.number


def test_finetune_window_long_video():
    """16 frames at stride 4 are linspace(s, s + 64, 16) rounded down, with the last one clipped to the window."""
    rng = FixedRng(5)
    expected = [0, 4, 8, 12, 17, 21, 25, 29, 34, 38, 42, 46, 51, 55, 59, 63]
    assert finetune_window(100, 16, 4, rng) == [5 + number for number in expected]
    assert rng.range == (0, 36)  # the end is drawn from 64 to 99


@pytest.mark.parametrize(
    ("num_frames", "expected"),
    [
        (64, [0, 4, 8, 12, 17, 21, 25, 29, 34, 38, 42, 46, 51, 55, 59, 63]),
        (40, [0, 4, 8, 13, 17, 22, 26, 31, 35, *[39] * 7]),  # linspace(0, 40, 10)
        (10, [0, *[9] * 15]),  # linspace(0, 10, 2)
        (3, [2] * 16),
        (1, [0] * 16),
    ],
)
def test_finetune_window_short_video(num_frames, expected):
    """Indices of a short video are spaced from its first frame to its last, which fills the rest."""
    assert finetune_window(num_frames, 16, 4, np.random.default_rng(0)) == expected


# ---- Crops ---------------------------------------------------------------------------------------------------------
@given(st.integers(16, 400), st.integers(16, 400), st.integers(0, 10**6))
@settings(deadline=None)
def test_multi_scale_crop_inside_frame(height, width, seed):
    """The crop is inside the frame, and its sides are the same or neighbouring scales of the short side."""
    scales = (1, 0.875, 0.75, 0.66)
    top, left, h, w = multi_scale_crop((height, width), 10**6, scales, np.random.default_rng(seed))
    sides = [max(int(min(height, width) * s), 1) for s in scales]
    assert 0 <= top <= height - h
    assert 0 <= left <= width - w
    assert any(h == a and w == b for i, a in enumerate(sides) for j, b in enumerate(sides) if abs(i - j) <= 1)


def test_multi_scale_crop_sides_and_positions():
    """All ten pairs of sides and all 13 positions occur; a side within 2 pixels of the model's becomes the model's."""
    crops = {multi_scale_crop((256, 256), 224, (1, 0.875, 0.75, 0.66), np.random.default_rng(i)) for i in range(4000)}
    pairs = {(a, b) for a in (256, 224, 192, 168) for b in (256, 224, 192, 168) if abs(a - b) <= 32}
    assert {crop[2:] for crop in crops} == pairs
    assert len(pairs) == 10
    assert len({crop[:2] for crop in crops if crop[2:] == (192, 192)}) == 13
    assert {
        crop[2] for crop in (multi_scale_crop((226, 226), 224, (1, 1, 1, 1), np.random.default_rng(i)) for i in range(9))
    } == {224}


def test_resize_equals_pillow():
    """Frames are resized as by Pillow, up to rounding."""
    frames = _noise(2, 61, 83, 3)
    resized = resize(frames, 32, 48)
    expected = np.stack([np.asarray(Image.fromarray(f).resize((48, 32), Image.Resampling.BILINEAR)) for f in frames])
    assert np.abs(resized.astype(int) - expected).max() <= 2


def test_pretrain_view_no_flip_no_jitter():
    """A pre-training view is a resized crop of the frames and nothing else."""
    frames = np.broadcast_to(np.arange(64, dtype=np.uint8)[None, None, :, None] * 4, (2, 64, 64, 3)).copy()
    for seed in range(20):
        view = pretrain_view(frames, 32, (1, 0.875, 0.75, 0.66), np.random.default_rng(seed))
        assert view.shape == (2, 32, 32, 3)
        assert (np.diff(view[0, 0, :, 0].astype(int)) >= 0).all()  # the left side stays dark


# ---- Evaluation views ----------------------------------------------------------------------------------------------
def test_evaluation_views_cover_time_and_width():
    """Views are evenly spaced over time and the long side; the first and last touch the ends."""
    frames = np.zeros((40, 32, 64, 3), np.uint8)
    frames[..., 0] = np.arange(40)[:, None, None]
    frames[..., 1] = np.arange(64)[None, None]
    views = evaluation_views(frames, 4, 2, 32, clips=3, crops=3)
    assert views.shape == (9, 4, 32, 32, 3)
    assert views[:, 0, 0, 0, :2].tolist() == [[t, x] for t in (0, 16, 32) for x in (0, 16, 32)]
    assert views[-1, -1, 0, -1].tolist() == [38, 63, 0]
    assert evaluation_views(frames, 4, 2, 32, 1, 1)[0, 0, 0, 0, :2].tolist() == [16, 16]


def test_evaluation_views_short_and_upright_video():
    """A video shorter than the clip repeats its last frame; an upright video is cropped along its height."""
    frames = _noise(1, 64, 32, 3)
    views = evaluation_views(frames, 4, 4, 32, 2, 3)
    assert views.shape == (6, 4, 32, 32, 3)
    assert (views == views[:, :1]).all()
    assert not (views[0] == views[1]).all()


def test_evaluation_views_crop_positions():
    """Video of 320 x 240 is resized to 298 x 224, so crops start at 0, 37 and 74."""
    frames = np.broadcast_to(np.linspace(0, 255, 320).astype(np.uint8)[:, None], (4, 240, 320, 3))
    crops = evaluation_views(frames, 4, 1, 224, 1, 3)
    scaled = evaluation_views(frames, 4, 1, 224, 1, 75)  # one crop per pixel: 75 of them fit into 298
    assert (scaled[1:, :, :, 0] == scaled[:-1, :, :, 1]).all()
    assert [(scaled == view).all(axis=(1, 2, 3, 4)).argmax() for view in crops] == [0, 37, 74]


# ---- Augmentations -------------------------------------------------------------------------------------------------
def test_finetune_view_randaugment_same_in_all_frames():
    """Equal frames stay equal: RandAugment draws its operations and strengths once per clip."""
    frames = np.repeat(_noise(1, 40, 40, 3), 6, axis=0)
    views = Views(randaugment="rand-m9-mstd0.5-inc1", crop_area_range=(1, 1), crop_aspect_range=(1, 1))
    num_changed = 0
    for seed in range(12):
        view = finetune_view(frames, 40, views, np.random.default_rng(seed))
        assert (view == view[:1]).all()
        num_changed += not (view == frames).all()
    assert num_changed > 6


def test_finetune_view_erasing_same_box_in_all_frames():
    """The same box is erased in every frame and channel, with noise that differs."""
    frames = np.full((5, 40, 40, 3), 7, np.uint8)
    views = Views(erasing=1.0, crop_area_range=(1, 1), crop_aspect_range=(1, 1))
    view = finetune_view(frames, 40, views, np.random.default_rng(1))
    erased = (view != 7).any(axis=-1)
    rows, columns = np.nonzero(erased.any(axis=0))
    box = (slice(None), slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1))
    assert (rows.max(), columns.max()) != (39, 39) or (rows.min(), columns.min()) != (0, 0)
    assert erased[box].mean() > 0.99
    assert erased.sum() == erased[box].sum()
    assert not (view[0] == view[1]).all()


def test_finetune_view_flip():
    """Half of the views are mirrored, all frames of a clip together."""
    frames = np.repeat(_noise(1, 16, 16, 3), 3, axis=0)
    views = Views(flip=True, crop_area_range=(1, 1), crop_aspect_range=(1, 1))
    unchanged = []
    for seed in range(60):
        view = finetune_view(frames, 16, views, np.random.default_rng(seed))
        assert (view == view[:1]).all()
        unchanged.append((view == frames).all())
        assert unchanged[-1] or (view == frames[:, :, ::-1]).all()
    assert 15 < sum(unchanged) < 45


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.0, 1.0), (0.8, 0.0), (0.8, 1.0)])
def test_mixing_area_equals_label_weight(mixup, cutmix):
    """The fraction of a clip that shows the other clip is the weight of its label, in every frame."""
    recipe = TrainingRecipe().override({"objective.mixup": mixup, "objective.cutmix": cutmix})
    mix = _make_mixup(recipe, 2)
    clips = torch.zeros(2, 5, 16, 16, 3)
    clips[1] = 1
    for seed in range(20):
        with seeded(seed):
            mixed, target = mix(clips, torch.tensor([0, 1]))
        assert mixed.shape == clips.shape
        assert (mixed == mixed[:, :1, :, :, :1]).all()  # one box, or one weight, for all frames and channels
        assert mixed[0].mean().item() == pytest.approx(target[0, 1].item(), abs=1e-5)


def test_seeded_restores_random_state():
    """Global random states are restored, and numbers drawn inside depend on the key only."""
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)

    def draw():
        return random.random(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002

    with seeded(1, 2):
        first = draw()
    after = draw()
    with seeded(1, 2):
        assert draw() == first
    with seeded(1, 3):
        assert draw() != first
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)
    assert draw() == after
