"""From a scene to frames. No randomness: the same scene and frame give the same bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from synvid.clip import Clip
from synvid.numerics.jit import jit
from synvid.preset import Preset
from synvid.raster.pixel_format import pack_colors
from synvid.raster.resolve import SAMPLES, average_rows, copy_rows
from synvid.raster.texels import SPARE
from synvid.raster.visibility import new_canvas, paint
from synvid.scene.kinematics import poses_at
from synvid.scene.sample import sample_scene
from synvid.scene.scene import Scene
from synvid.textures.crops import texture_crops

__all__ = ["generate", "render", "render_frames"]


#: Antialiased frames are painted in bands of this many rows, so that the samples stay in the CPU's cache.
_BAND = 32


@jit
def _background_pose(height, width, scale, top):
    """From the square around the frame, -1..1 each way, to samples; `scale` samples a pixel, from row `top` on."""
    span = scale * max(height, width) / 2.0
    return span, 0.0, scale * width / 2.0, 0.0, span, scale * height / 2.0 - top


@jit
def _render_plain(motion, powers, frames, outlines, colors, background, crops, out):
    """One sample a pixel. `out` is uint8 (T, H, W, 3), written."""
    _, height, width, _ = out.shape
    canvas = new_canvas(height, width, outlines[0].shape[1])
    stride = canvas.owned.shape[1] * 64
    pixels = np.empty(height * stride + SPARE, np.uint32)
    poses = np.empty((motion.radius.size, 2, 3))
    for k in range(frames.size):
        poses_at(motion, powers, frames[k], poses)
        if crops is None:
            paint(poses, outlines, colors, background, canvas, pixels)
        else:
            textures = (crops, frames[k], _background_pose(height, width, 1.0, 0.0))
            paint(poses, outlines, colors, background, canvas, pixels, textures)
        copy_rows(pixels, stride, height, width, out[k].ravel())


@jit
def _render_antialiased(motion, powers, frames, outlines, colors, background, crops, out):
    """SAMPLES x SAMPLES samples a pixel, averaged: the same traversal on a finer canvas, band by band."""
    _, height, width, _ = out.shape
    canvas = new_canvas(_BAND * SAMPLES, width * SAMPLES, outlines[0].shape[1])
    stride = canvas.owned.shape[1] * 64
    pixels = np.empty(_BAND * SAMPLES * stride + SPARE, np.uint32)
    poses = np.empty((motion.radius.size, 2, 3))
    for k in range(frames.size):
        poses_at(motion, powers, frames[k], poses)
        poses *= SAMPLES
        for top in range(0, height, _BAND):
            if crops is None:
                paint(poses, outlines, colors, background, canvas, pixels)
            else:
                behind = _background_pose(height, width, float(SAMPLES), float(top * SAMPLES))
                paint(poses, outlines, colors, background, canvas, pixels, (crops, frames[k], behind))
            rows = min(_BAND, height - top)
            average_rows(pixels, stride, rows, width, out[k, top : top + rows].ravel())
            poses[:, 1, 2] -= _BAND * SAMPLES


def render_frames(scene: Scene, frames: Sequence[int]) -> NDArray[np.uint8]:
    """Render some frames of a scene.

    Args:
        scene: what to render.
        frames: their numbers, in any order; the cost is in proportion to how many they are.

    Returns:
        uint8 (T, H, W, 3), RGB.

    Raises:
        ConfigurationError: a number is not a frame of the clip, or a bank of textures is not there.
        DatasetError: a bank of textures is damaged.
    """
    numbers = np.array([scene.frame_number(t) for t in frames], np.int64)
    out = np.empty((len(numbers), scene.height, scene.width, 3), np.uint8)
    outlines = (scene.vertices, scene.num_vertices, scene.reach)
    kernel = _render_antialiased if scene.antialias else _render_plain
    background = pack_colors(scene.background)
    kernel(
        scene.motion, scene.step_powers, numbers, outlines, pack_colors(scene.colors), background, texture_crops(scene), out
    )
    return out


def render(scene: Scene, frames: Sequence[int] | None = None) -> Clip:
    """Render a scene, or some of its frames.

    Args:
        scene: from `sample_scene`.
        frames: frame numbers in any order; None for all. The cost is in proportion to how many they are.

    Returns:
        The clip; `clip.frames` is uint8 (T, H, W, 3), RGB.

    Raises:
        ConfigurationError: a number is not a frame of the clip.

    >>> from synvid import load_preset, render, sample_scene
    >>> render(sample_scene(load_preset("moving_circles")), frames=[0, 4, 8]).frames.shape
    (3, 256, 256, 3)
    """
    frames = range(scene.num_frames) if frames is None else frames
    return Clip(frames=render_frames(scene, frames), fps=scene.fps, scene=scene)


def generate(preset: Preset, n: int, seed: int = 0, start: int = 0) -> Iterator[Clip]:
    """Render clips start, start + 1, ..., start + n - 1 of a preset, one at a time.

    Args:
        preset: from `load_preset`.
        n: how many.
        seed: names the dataset.
        start: index of the first.
    """
    for index in range(start, start + n):
        yield render(sample_scene(preset, seed, index))
