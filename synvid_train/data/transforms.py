"""Transforms from video frames to model input: sampling of frames, crops and augmentations.

Random numbers come from the NumPy generator argument, or from libraries' global state inside `seeded`, which restores that
state. Frames are uint8 (T, H, W, 3) throughout.
"""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional

from synvid.errors import ConfigurationError
from synvid_train.model.videomae import MEAN, STD
from synvid_train.training_recipe import Views

__all__ = [
    "central_square",
    "check_randaugment",
    "evaluation_crops",
    "evaluation_views",
    "evaluation_windows",
    "finetune_view",
    "finetune_window",
    "multi_scale_crop",
    "pretrain_view",
    "resize",
    "sample_window",
    "scale_short_side",
    "seeded",
]


Frames = NDArray[np.uint8]


@contextlib.contextmanager
def seeded(*key: int) -> Iterator[None]:
    """Seed the global random states of Python, NumPy and torch's CPU; restore them at the end."""
    seed = int(np.random.SeedSequence(key).generate_state(1)[0])
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002  # timm draws from it
    with torch.random.fork_rng(devices=[]):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)  # noqa: NPY002


# ---- Time ---------------------------------------------------------------------------------------------------------
def sample_window(num_frames: int, count: int, stride: int, rng: np.random.Generator) -> list[int]:
    """Return `count` frame indices of a pre-training window, `stride` apart, with a uniformly random start.

    A short video repeats the last frame that the stride reaches.
    """
    start = int(rng.integers(0, max(num_frames - count * stride, 0) + 1))
    reachable = range(start, num_frames, stride)
    return [reachable[min(k, len(reachable) - 1)] for k in range(count)]


def finetune_window(num_frames: int, count: int, stride: int, rng: np.random.Generator) -> list[int]:
    """Return `count` frame indices of a fine-tuning window, as VideoMAE's code computes them.

    They are evenly spaced from the start to count * stride frames later, both included, and rounded down, so they lie
    slightly more than `stride` apart: 0, 4, 8, 12, 17, ..., 59, 63 for 16 at stride 4. In a video of at most count * stride
    frames, num_frames // stride indices are spaced over the whole video; the others are its last frame.
    """
    length = count * stride
    if num_frames <= length:
        spaced = num_frames // stride
        indices = np.append(np.linspace(0, num_frames, spaced), np.full(count - spaced, num_frames))
        return np.clip(indices, 0, num_frames - 1).astype(int).tolist()  # type: ignore[no-any-return]
    start = int(rng.integers(0, num_frames - length))
    return np.clip(np.linspace(start, start + length, count), start, start + length - 1).astype(int).tolist()  # type: ignore[no-any-return]


# ---- Space --------------------------------------------------------------------------------------------------------
def resize(frames: Frames, height: int, width: int) -> Frames:
    """Resize with bilinear interpolation, antialiased when shrinking, as Pillow does; (T, height, width, 3)."""
    if frames.shape[1:3] == (height, width):
        return frames
    planes = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
    scaled = functional.interpolate(planes, (height, width), mode="bilinear", antialias=True)
    return scaled.permute(0, 2, 3, 1).contiguous().numpy()


def central_square(frames: Frames, size: int) -> Frames:
    """Return the largest central square, resized to (T, size, size, 3)."""
    short = min(frames.shape[1:3])
    top, left = (frames.shape[1] - short) // 2, (frames.shape[2] - short) // 2
    return resize(frames[:, top : top + short, left : left + short], size, size)


def multi_scale_crop(
    frame_size: tuple[int, int], size: int, scales: Sequence[float], rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """Draw a crop of VideoMAE's MultiScaleCrop.

    Args:
        frame_size: height and width of the frame.
        size: side of the model's input; a crop side within 2 pixels of it is set to it.
        scales: possible sides of the crop as fractions of the frame's short side. Height and width use the same or
            neighbouring entries.
        rng: draws the two sides, and one of 13 fixed positions.

    Returns:
        (top, left, height, width).
    """
    height, width = frame_size
    short = min(height, width)
    sides = [min(size if abs(int(short * scale) - size) < 3 else max(int(short * scale), 1), short) for scale in scales]
    pairs = [(h, w) for i, h in enumerate(sides) for j, w in enumerate(sides) if abs(i - j) <= 1]
    h, w = pairs[rng.integers(len(pairs))]
    y, x = (height - h) // 4, (width - w) // 4
    corners = [(0, 0), (0, 4), (4, 0), (4, 4), (2, 2), (2, 0), (2, 4), (4, 2), (0, 2), (1, 1), (1, 3), (3, 1), (3, 3)]
    row, column = corners[rng.integers(len(corners))]
    return row * y, column * x, h, w


def pretrain_view(frames: Frames, size: int, scales: Sequence[float], rng: np.random.Generator) -> Frames:
    """Return a pre-training view: one MultiScaleCrop for all frames, no flip, no colour jitter; (T, size, size, 3)."""
    top, left, height, width = multi_scale_crop((frames.shape[1], frames.shape[2]), size, scales, rng)
    return resize(frames[:, top : top + height, left : left + width], size, size)


def _random_resized_crop(frame_size: tuple[int, int], views: Views, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Draw (top, left, height, width) as torchvision does: ten attempts, then the largest central crop in the aspect range."""
    height, width = frame_size
    low, high = views.crop_aspect_range
    for _ in range(10):
        area = height * width * rng.uniform(*views.crop_area_range)
        aspect = math.exp(rng.uniform(math.log(low), math.log(high)))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
    w = min(width, max(round(height * high), 1))
    h = min(height, max(round(width / low), 1))
    return (height - h) // 2, (width - w) // 2, h, w


def finetune_view(frames: Frames, size: int, views: Views, rng: np.random.Generator) -> Frames:
    """Return a fine-tuning view: RandAugment, RandomResizedCrop, flip, erasing, drawn once per clip; (T, size, size, 3)."""
    if views.randaugment:
        frames = _randaugment(frames, views.randaugment, int(rng.integers(2**63)))
    top, left, height, width = _random_resized_crop((frames.shape[1], frames.shape[2]), views, rng)
    frames = resize(frames[:, top : top + height, left : left + width], size, size)
    if views.flip and rng.random() < 0.5:
        frames = np.ascontiguousarray(frames[:, :, ::-1])
    if views.erasing:
        frames = _erase(frames, views.erasing, int(rng.integers(2**63)))
    return frames


def check_randaugment(config: str) -> None:
    """Check a RandAugment configuration; empty means none.

    Raises:
        ConfigurationError: timm does not accept it.
    """
    from synvid_train.model.timm_imports import rand_augment_transform

    try:
        if config:
            rand_augment_transform(config, {})
    except (AssertionError, ValueError):
        raise ConfigurationError(
            f"views.randaugment is {config!r}; it must be a form that timm accepts, such as rand-m9-mstd0.5-inc1."
        ) from None


def _randaugment(frames: Frames, config: str, seed: int) -> Frames:
    """Apply timm's RandAugment with the same random numbers to every frame."""
    from synvid_train.model.timm_imports import rand_augment_transform

    fill = tuple(round(255 * value) for value in MEAN)
    max_shift = int(min(frames.shape[1:3]) * 0.45)
    augment = rand_augment_transform(
        config, {"translate_const": max_shift, "img_mean": fill, "interpolation": Image.Resampling.BILINEAR}
    )
    augmented = []
    for frame in frames:
        with seeded(seed):
            augmented.append(np.asarray(augment(Image.fromarray(frame))))
    return np.stack(augmented)


def _erase(frames: Frames, probability: float, seed: int) -> Frames:
    """Apply timm's RandomErasing with the same box in all frames, filled with noise."""
    from synvid_train.model.timm_imports import RandomErasing

    count, height, width, _ = frames.shape
    with seeded(seed):
        erasing = RandomErasing(probability, mode="pixel", device="cpu")  # type: ignore[no-untyped-call]
        noise = erasing(torch.full((count * 3, height, width), torch.nan)).reshape(count, 3, height, width)
    pixels = noise.permute(0, 2, 3, 1).numpy() * np.array(STD, np.float32) + np.array(MEAN, np.float32)
    return np.where(np.isnan(pixels), frames, np.clip(np.nan_to_num(pixels) * 255, 0, 255).round()).astype(np.uint8)


def evaluation_views(frames: Frames, count: int, stride: int, size: int, clips: int, crops: int) -> Frames:
    """Return the evaluation views of a video; the caller averages the model's predictions over them.

    Args:
        frames: all frames, uint8 (N, H, W, 3).
        count: T, frames of the model's input.
        stride: step between the frames that are used.
        size: side of the model's input in pixels; the short side is resized to it.
        clips: number of windows in time, evenly spaced from start to end.
        crops: number of squares along the long side, evenly spaced; a single one is central.

    Returns:
        uint8 (clips * crops, T, size, size, 3).
    """
    frames = frames[::stride]
    windows = evaluation_windows(len(frames), count, clips)
    return evaluation_crops(scale_short_side(frames, size)[windows], size, crops)


def evaluation_windows(num_frames: int, count: int, clips: int) -> NDArray[np.intp]:
    """Return frame indices of evenly spaced windows, (clips, count); a short video repeats its last frame."""
    starts = _evenly_spaced(max(num_frames - count, 0), clips)
    return np.minimum(np.array(starts)[:, None] + np.arange(count), num_frames - 1)


def scale_short_side(frames: Frames, size: int) -> Frames:
    """Resize the short side to `size` pixels and the long one in proportion, rounded down."""
    short = min(frames.shape[1:3])
    return resize(frames, *(side * size // short for side in frames.shape[1:3]))


def evaluation_crops(windows: Frames, size: int, crops: int) -> Frames:
    """Cut evenly spaced squares along the long side: (clips, T, H, W, 3) to (clips * crops, T, size, size, 3)."""
    tops, lefts = (_evenly_spaced(side - size, crops) for side in windows.shape[2:4])
    return np.stack(
        [window[:, top : top + size, left : left + size] for window in windows for top, left in zip(tops, lefts, strict=True)]
    )


def _evenly_spaced(last: int, count: int) -> list[int]:
    """Return `count` integers from 0 to `last`; a single one is in the middle."""
    return [last // 2] if count == 1 else [int(last / (count - 1) * k) for k in range(count)]
