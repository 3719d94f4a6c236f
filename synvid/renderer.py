"""Render scenes to frames. Nothing is random: the same scene and frame number give the same bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synvid.clip import Clip
from synvid.config.arguments import check_type, parse_frames, parse_integer
from synvid.config.schema import nearest_name
from synvid.errors import ConfigurationError
from synvid.numerics.jit import jit
from synvid.preset import Preset, load_preset
from synvid.raster.downsample import SAMPLES, average_rows, copy_rows
from synvid.raster.pixel_format import pack_colors
from synvid.raster.texels import SPARE
from synvid.raster.visibility import new_canvas, paint
from synvid.scene.kinematics import poses_at
from synvid.scene.sample import parse_seed, sample_scene
from synvid.scene.scene import Scene
from synvid.textures.crops import texture_crops

__all__ = ["generate", "make_clip", "render", "render_frames"]


#: Rows of an antialiased frame that are rendered at once; the samples of a band fit the CPU's cache.
_BAND = 32


@jit
def _background_pose(height, width, scale, top):
    """The pose that maps the square [-1, 1]**2 to the square around the frame.

    Its unit is a sample; there are `scale` samples per pixel along each axis, and `top` is the row of samples to start from.
    """
    span = scale * max(height, width) / 2.0
    return span, 0.0, scale * width / 2.0, 0.0, span, scale * height / 2.0 - top


@jit
def _render_plain(motion, powers, frames, outlines, colors, background, crops, out):
    """Render frames with one sample per pixel to `out`, uint8 (T, H, W, 3)."""
    _, height, width, _ = out.shape
    canvas = new_canvas(height, width, outlines[0].shape[1])
    stride = canvas.covered.shape[1] * 64
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
    """Render frames with SAMPLES x SAMPLES samples per pixel, averaged, band by band."""
    _, height, width, _ = out.shape
    canvas = new_canvas(_BAND * SAMPLES, width * SAMPLES, outlines[0].shape[1])
    stride = canvas.covered.shape[1] * 64
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


def render_frames(scene: Scene, frames: Iterable[int]) -> NDArray[np.uint8]:
    """Render frames of a scene to an array.

    Args:
        scene: the scene.
        frames: frame numbers in any order; the cost is proportional to their number.

    Returns:
        uint8 (T, H, W, 3), RGB.

    Raises:
        ConfigurationError: a number is not a frame of the scene, or a texture bank is missing.
        DatasetError: a texture bank is damaged.
    """
    numbers = np.array(parse_frames(frames, scene.num_frames), np.int64)
    out = np.empty((len(numbers), scene.height, scene.width, 3), np.uint8)
    outlines = (scene.vertices, scene.num_vertices, scene.bounding_radii)
    kernel = _render_antialiased if scene.antialias else _render_plain
    background = pack_colors(scene.background)
    kernel(
        scene.motion, scene.step_powers, numbers, outlines, pack_colors(scene.colors), background, texture_crops(scene), out
    )
    return out


def render(scene: Scene, frames: Iterable[int] | None = None) -> Clip:
    """Render a scene, or some of its frames.

    Args:
        scene: from `sample_scene`.
        frames: frame numbers in any order; None for all. The cost is proportional to their number.

    Returns:
        The clip; `clip.frames` is uint8 (T, H, W, 3), RGB.

    Raises:
        ConfigurationError: a number is not a frame of the scene.

    Examples:
        >>> from synvid import load_preset, render, sample_scene
        >>> render(sample_scene(load_preset("moving_circles")), frames=[0, 4, 8]).frames.shape
        (3, 256, 256, 3)
    """
    check_type("scene", scene, Scene, "a Scene from sample_scene(...)")
    frames = range(scene.num_frames) if frames is None else frames
    return Clip(frames=render_frames(scene, frames), fps=scene.fps, scene=scene)


def make_clip(
    preset: Preset | str | Path, seed: int = 0, index: int = 0, frames: Iterable[int] | None = None, **settings: Any
) -> Clip:
    """Load a preset, sample one of its scenes and render it.

    Args:
        preset: name of a preset, path of a YAML file, or a Preset.
        seed: random seed, 0..2**64-1.
        index: index of the clip, 0..2**64-1.
        frames: frame numbers in any order; None for all.
        settings: settings of the preset to change, with a double underscore for the dot: `objects__count=200`.

    Returns:
        The clip; `clip.frames` is uint8 (T, H, W, 3), RGB.

    Raises:
        ConfigurationError: no such preset, setting or frame, or a wrong value.

    Examples:
        >>> from synvid import make_clip
        >>> make_clip("moving_shapes", seed=0, index=7, frames=range(0, 64, 4), objects__count=200, video__width=128)
        Clip(16 frames of 128x256 at 25 fps, seed=0, index=7)
    """
    for name in settings:
        if "__" not in name:
            near = nearest_name(name, ["preset", "seed", "index", "frames", *Preset.setting_keys()])
            advice = f"did you mean {near.replace('.', '__')!r}?" if near else "settings are written as objects__count."
            raise ConfigurationError(f"make_clip: unknown argument {name!r}; {advice}")
    loaded = preset if isinstance(preset, Preset) else load_preset(preset)
    return render(sample_scene(loaded.override(settings, "make_clip", separator="__"), seed, index), frames)


def generate(preset: Preset, n: int, seed: int = 0, start: int = 0) -> Iterator[Clip]:
    """Render clips start, start + 1, ..., start + n - 1 of a preset, one at a time.

    Args:
        preset: from `load_preset`.
        n: number of clips.
        seed: random seed, 0..2**64-1.
        start: index of the first clip.

    Raises:
        ConfigurationError: an argument is of the wrong type or out of range.

    Examples:
        >>> from synvid import generate, load_preset
        >>> [clip.scene.index for clip in generate(load_preset("static_circles"), n=2, start=5)]
        [5, 6]
    """
    check_type("preset", preset, Preset, "a Preset from load_preset(...)")
    num_clips = parse_integer("n", n, 0, 2**64, "from 0 to 2**64")
    seed, start = parse_seed("seed", seed), parse_seed("start", start)
    return (render(sample_scene(preset, seed, index)) for index in range(start, start + num_clips))
