"""Visualize a model: principal components of its attention keys as colours (Figure 5 of the paper).

synvid-train features --checkpoint runs/a/last.pt --data val.csv --out features/
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synvid.errors import DatasetError
from synvid.os_errors import wrap_os_errors
from synvid.storage.atomic_io import atomic_write
from synvid.video.encode import encode
from synvid_train.data.transforms import central_square
from synvid_train.model.videomae import SIZES, Encoder, normalize

__all__ = ["NUM_FRAMES", "attention_keys", "draw_features", "principal_colors"]


#: Frames drawn of each video, as in the paper.
NUM_FRAMES = 32


@torch.no_grad()
def attention_keys(encoder: Encoder, clips: Tensor) -> Tensor:
    """Return the keys of the last block's attention.

    Args:
        encoder: encoder of a VideoMAE or a classifier.
        clips: uint8 (B, T, S, S, 3).

    Returns:
        (B, N, D): k = norm1(x) W_k; keys have no bias.
    """
    width, depth, *_ = SIZES[encoder.architecture.size]
    tokens = encoder.features(normalize(clips), depth=depth - 1)
    block: Any = encoder.blocks[-1]
    return block.norm1(tokens) @ block.attn.qkv.weight[width : 2 * width].T  # type: ignore[no-any-return]


def principal_colors(keys: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Map the first three principal components to red, green and blue, each scaled from its 1st to its 99th percentile.

    Args:
        keys: float32 (..., D).

    Returns:
        uint8 (..., 3).
    """
    flat = keys.reshape(-1, keys.shape[-1]).astype(np.float64)
    centered = flat - flat.mean(axis=0)
    _, vectors = np.linalg.eigh(centered.T @ centered)
    axes = vectors[:, :-4:-1]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(3)])  # the sign of an eigenvector is arbitrary
    scores = centered @ axes
    low, high = np.percentile(scores, [1, 99], axis=0)
    scaled = (scores - low) / np.maximum(high - low, 1e-12)
    colors: NDArray[np.uint8] = np.round(np.clip(scaled, 0, 1) * 255).astype(np.uint8)
    return colors.reshape(*keys.shape[:-1], 3)


def draw_features(
    encoder: Encoder, videos: list[NDArray[np.uint8]], names: list[str], out: Path, device: torch.device, fps: float = 10.0
) -> None:
    """Write a video per input, frames on the left and features on the right, and a contact sheet `features.png`.

    Args:
        encoder: the model's encoder.
        videos: uint8 (T, H, W, 3) each; the first 32 frames are used, and the last one is repeated to fill the model's clips.
        names: file names without suffix, one per video.
        out: output folder.
        device: device to compute on.
        fps: frame rate of the output.

    Raises:
        DatasetError: `videos` is empty, or writing fails.
    """
    if not videos:
        raise DatasetError("no video could be read, so there is nothing to draw.")
    shape = encoder.architecture
    grid_side = shape.image_size // shape.patch_size
    length = max(NUM_FRAMES // shape.num_frames, 1) * shape.num_frames
    squares, keys = [], []
    for frames in videos:
        padded = frames[np.minimum(np.arange(length), len(frames) - 1)]
        square = central_square(padded, shape.image_size)
        clips = torch.from_numpy(square).reshape(-1, shape.num_frames, *square.shape[1:]).to(device)
        grid = attention_keys(encoder, clips).float().cpu().numpy()
        keys.append(grid.reshape(-1, grid_side, grid_side, SIZES[shape.size][0]))
        squares.append(square)
    colors = principal_colors(np.stack(keys))  # (videos, steps, grid_side, grid_side, 3)
    tiles = []
    with wrap_os_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        for name, square, color in zip(names, squares, colors, strict=True):
            enlarged = np.repeat(np.repeat(np.repeat(color, shape.patch_size, 1), shape.patch_size, 2), shape.tubelet_size, 0)
            pair = np.concatenate([square, enlarged], axis=2)
            pair = np.pad(pair, ((0, 0), (0, pair.shape[1] % 2), (0, 0), (0, 0)))
            atomic_write(out / f"{name}.mp4", encode(pair, fps, "small"))
            tiles.append(np.concatenate([pair[k] for k in np.linspace(0, len(pair) - 1, 4).astype(int)], axis=1))
        from PIL import Image

        Image.fromarray(np.concatenate(tiles[:12])).save(out / "features.png")
