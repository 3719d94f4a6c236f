"""What a model sees of a video: which frames, which part of them, and how they are changed.

Everything random is drawn from a NumPy generator that is given, or from libraries' global state inside `seeded`, which puts
that state back. Frames are uint8 (T, H, W, 3) throughout.
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
    "pretrain_view",
    "resize",
    "sample_window",
    "scale_short_side",
    "seeded",
]


Frames = NDArray[np.uint8]


@contextlib.contextmanager
def seeded(*key: int) -> Iterator[None]:
    """Seed the global random states of Python, NumPy and torch's CPU, and put them back at the end."""
    number = int(np.random.SeedSequence(key).generate_state(1)[0])
    before = random.getstate(), np.random.get_state()  # noqa: NPY002  # timm draws from it
    with torch.random.fork_rng(devices=[]):
        random.seed(number)
        np.random.seed(number)  # noqa: NPY002
        torch.manual_seed(number)
        try:
            yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])  # noqa: NPY002


# ---- Time ---------------------------------------------------------------------------------------------------------
def sample_window(num_frames: int, count: int, stride: int, rng: np.random.Generator) -> list[int]:
    """Frame numbers of a training window: the start is uniform; a short video repeats the last frame it reaches."""
    start = int(rng.integers(0, max(num_frames - count * stride, 0) + 1))
    return _steps(start, num_frames, count, stride)


def finetune_window(num_frames: int, count: int, stride: int, rng: np.random.Generator) -> list[int]:
    """Frame numbers of a window of fine-tuning, as VideoMAE's code has them.

    They are spread evenly from the start to count * stride frames later, both included, and rounded down, so that they lie a
    little more than `stride` apart: 0, 4, 8, 12, 17, ..., 59, 63 for 16 at stride 4. A video that is no longer is spread
    likewise over num_frames // stride of them; the rest are its very last frame.
    """
    length = count * stride
    if num_frames <= length:
        reached = num_frames // stride
        numbers = np.append(np.linspace(0, num_frames, reached), np.full(count - reached, num_frames))
        return np.clip(numbers, 0, num_frames - 1).astype(int).tolist()  # type: ignore[no-any-return]
    start = int(rng.integers(0, num_frames - length))
    return np.clip(np.linspace(start, start + length, count), start, start + length - 1).astype(int).tolist()  # type: ignore[no-any-return]


def _steps(start: int, num_frames: int, count: int, stride: int) -> list[int]:
    reachable = range(start, num_frames, stride)
    return [reachable[min(k, len(reachable) - 1)] for k in range(count)]


# ---- Space --------------------------------------------------------------------------------------------------------
def resize(frames: Frames, height: int, width: int) -> Frames:
    """Bilinear, antialiased when it shrinks, as Pillow does it."""
    if frames.shape[1:3] == (height, width):
        return frames
    planes = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
    scaled = functional.interpolate(planes, (height, width), mode="bilinear", antialias=True)
    return scaled.permute(0, 2, 3, 1).contiguous().numpy()


def central_square(frames: Frames, size: int) -> Frames:
    """The central square, (T, size, size, 3)."""
    short = min(frames.shape[1:3])
    top, left = (frames.shape[1] - short) // 2, (frames.shape[2] - short) // 2
    return resize(frames[:, top : top + short, left : left + short], size, size)


def multi_scale_crop(
    frame: tuple[int, int], size: int, scales: Sequence[float], rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """A crop of VideoMAE's MultiScaleCrop, (top, left, height, width).

    Its sides are shares of the short side, no more than one place apart in `scales`; it lies at one of 13 fixed places.
    """
    height, width = frame
    short = min(height, width)
    sides = [min(size if abs(int(short * scale) - size) < 3 else max(int(short * scale), 1), short) for scale in scales]
    pairs = [(h, w) for i, h in enumerate(sides) for j, w in enumerate(sides) if abs(i - j) <= 1]
    h, w = pairs[rng.integers(len(pairs))]
    y, x = (height - h) // 4, (width - w) // 4
    corners = [(0, 0), (0, 4), (4, 0), (4, 4), (2, 2), (2, 0), (2, 4), (4, 2), (0, 2), (1, 1), (1, 3), (3, 1), (3, 3)]
    row, column = corners[rng.integers(len(corners))]
    return row * y, column * x, h, w


def pretrain_view(frames: Frames, size: int, scales: Sequence[float], rng: np.random.Generator) -> Frames:
    """The view of pre-training: one MultiScaleCrop for all frames, no flip, no jitter; (T, size, size, 3)."""
    top, left, height, width = multi_scale_crop((frames.shape[1], frames.shape[2]), size, scales, rng)
    return resize(frames[:, top : top + height, left : left + width], size, size)


def _random_resized_crop(frame: tuple[int, int], views: Views, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """(top, left, height, width), as torchvision draws it: ten tries, then the largest centred crop of a right shape."""
    height, width = frame
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
    """The view of fine-tuning: RandAugment, RandomResizedCrop, flip, erasing, drawn once a clip; (T, size, size, 3)."""
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
    """Refuse a RandAugment that timm does not know.

    Raises:
        ConfigurationError: it is none.
    """
    from synvid_train.model.timm_imports import rand_augment_transform

    try:
        if config:
            rand_augment_transform(config, {})
    except (AssertionError, ValueError):
        raise ConfigurationError(f"views.randaugment is {config!r}; timm knows forms such as rand-m9-mstd0.5-inc1.") from None


def _randaugment(frames: Frames, config: str, seed: int) -> Frames:
    """Timm's RandAugment with the same draws for every frame."""
    from synvid_train.model.timm_imports import rand_augment_transform

    fill = tuple(round(255 * value) for value in MEAN)
    shift = int(min(frames.shape[1:3]) * 0.45)
    augment = rand_augment_transform(
        config, {"translate_const": shift, "img_mean": fill, "interpolation": Image.Resampling.BILINEAR}
    )
    changed = []
    for frame in frames:
        with seeded(seed):
            changed.append(np.asarray(augment(Image.fromarray(frame))))
    return np.stack(changed)


def _erase(frames: Frames, probability: float, seed: int) -> Frames:
    """Timm's RandomErasing with one box for all frames, filled with noise."""
    from synvid_train.model.timm_imports import RandomErasing

    count, height, width, _ = frames.shape
    with seeded(seed):
        erasing = RandomErasing(probability, mode="pixel", device="cpu")  # type: ignore[no-untyped-call]
        noise = erasing(torch.full((count * 3, height, width), torch.nan)).reshape(count, 3, height, width)
    pixels = noise.permute(0, 2, 3, 1).numpy() * np.array(STD, np.float32) + np.array(MEAN, np.float32)
    return np.where(np.isnan(pixels), frames, np.clip(np.nan_to_num(pixels) * 255, 0, 255).round()).astype(np.uint8)


def evaluation_views(frames: Frames, count: int, stride: int, size: int, clips: int, crops: int) -> Frames:
    """The views of a test, whose softmax is averaged.

    Args:
        frames: the whole video.
        count: T of the model.
        stride: every so many frames one is taken.
        size: of the model's frames; the short side is scaled to it.
        clips: stretches in time, spread evenly from the first to the last.
        crops: along the long side, spread evenly; one is the central one.

    Returns:
        uint8 (clips * crops, T, size, size, 3).
    """
    frames = frames[::stride]
    windows = evaluation_windows(len(frames), count, clips)
    return evaluation_crops(scale_short_side(frames, size)[windows], size, crops)


def evaluation_windows(num_frames: int, count: int, clips: int) -> NDArray[np.intp]:
    """Frame numbers of the stretches of a test, (clips, count), spread evenly; a short video repeats its last frame."""
    starts = _spread(max(num_frames - count, 0), clips)
    return np.minimum(np.array(starts)[:, None] + np.arange(count), num_frames - 1)


def scale_short_side(frames: Frames, size: int) -> Frames:
    """The short side becomes `size` pixels, the long one is in proportion, rounded down."""
    short = min(frames.shape[1:3])
    return resize(frames, *(side * size // short for side in frames.shape[1:3]))


def evaluation_crops(windows: Frames, size: int, crops: int) -> Frames:
    """Squares along the long side of each stretch: (clips, T, H, W, 3) to (clips * crops, T, size, size, 3)."""
    tops, lefts = (_spread(side - size, crops) for side in windows.shape[2:4])
    return np.stack(
        [window[:, top : top + size, left : left + size] for window in windows for top, left in zip(tops, lefts, strict=True)]
    )


def _spread(room: int, count: int) -> list[int]:
    """`count` places from 0 to `room`; one alone stands in the middle."""
    return [room // 2] if count == 1 else [int(room / (count - 1) * k) for k in range(count)]
