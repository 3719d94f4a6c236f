"""Sample a random scene from a preset."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from synvid.config.arguments import check_type, parse_integer
from synvid.errors import ConfigurationError
from synvid.numerics import rng
from synvid.numerics.portable_math import log, sin_cos_array
from synvid.numerics.streams import Stream
from synvid.preset import Objects, Preset
from synvid.scene.kinematics import Kinematics
from synvid.scene.scene import Array, Scene, Textures
from synvid.scene.shapes import sample_vertices

__all__ = ["parse_seed", "sample_scene"]


#: Radii in the table of the `power_law` distribution.
_POWER_LAW_POINTS = 200


def sample_scene(preset: Preset, seed: int = 0, index: int = 0) -> Scene:
    """Sample the scene of clip `index` of a preset.

    Args:
        preset: from `load_preset`.
        seed: random seed, 0..2**64-1.
        index: index of the clip, 0..2**64-1.

    Returns:
        The scene; the same on every machine.

    Raises:
        ConfigurationError: `preset` is not a Preset, seed or index is not in range, or the clip is a real one.

    Examples:
        >>> from synvid.preset import load_preset
        >>> sample_scene(load_preset("moving_shapes"), seed=0, index=7)
        Scene(seed=0, index=7: 500 objects, 125 frames of 256x256 at 25 fps)
    """
    check_type("preset", preset, Preset, "a Preset from load_preset(...)")
    seed, index = parse_seed("seed", seed), parse_seed("index", index)
    clip_preset = preset.preset_for_clip(index)
    if clip_preset is None:
        raise ConfigurationError(f"clip {index} of {preset.name} is cut from a real video; it has no scene.")
    preset = clip_preset
    draw = _Draw(seed, index, preset.objects.count)
    video, objects = preset.video, preset.objects
    choice = np.floor(draw.uniform(Stream.SHAPE) * len(objects.shapes)).astype(np.int64)
    vertices, num_vertices = sample_vertices(objects.shapes, choice, draw.uniform(Stream.OUTLINE, 4))
    low, high = video.num_frames_range
    return Scene(
        num_frames=low + int(draw.for_clip(Stream.NUM_FRAMES, 1)[0] * (high - low + 1)),
        height=video.height,
        width=video.width,
        fps=video.fps,
        seed=seed,
        index=index,
        background=_sample_background(preset, draw),
        antialias=video.antialias,
        colors=np.floor(draw.uniform(Stream.COLOR, 3) * 256).astype(np.uint8),
        vertices=vertices,
        num_vertices=num_vertices,
        motion=_sample_motion(preset, draw, choice, num_vertices),
        textures=_sample_textures(preset, draw) if preset.fill.textures else None,
    )


def parse_seed(name: str, value: object) -> int:
    """Return a seed or an index as an int.

    Raises:
        ConfigurationError: it is not a whole number from 0 to 2**64 - 1.
    """
    return parse_integer(name, value, 0, 2**64 - 1, "from 0 to 2**64 - 1")


class _Draw:
    """Uniform random numbers for one clip with `count` objects."""

    def __init__(self, seed: int, index: int, count: int) -> None:
        self.seed, self.index, self.count = seed, index, count

    def for_clip(self, stream: Stream, count: int) -> list[float]:
        """`count` numbers in [0, 1) that concern the whole clip."""
        numbers: list[float] = rng.uniform(self.seed, self.index, stream, (count,)).tolist()
        return numbers

    def uniform(self, stream: Stream, columns: int | None = None) -> Array:
        """Numbers in [0, 1) for each object, (n,) or (n, columns)."""
        shape = (self.count,) if columns is None else (self.count, columns)
        return rng.uniform(self.seed, self.index, stream, shape)

    def within(self, stream: Stream, *ranges: tuple[float, float]) -> Array:
        """Numbers in a range [low, high) for each object, (n,), or in several ranges, (n, len(ranges))."""
        numbers = np.empty((self.count, len(ranges)))
        drawn = self.uniform(stream, len(ranges)) if any(low != high for low, high in ranges) else numbers
        for column, (low, high) in enumerate(ranges):
            numbers[:, column] = low + (high - low) * drawn[:, column] if low != high else low
        return numbers[:, 0] if len(ranges) == 1 else numbers


def _sample_background(preset: Preset, draw: _Draw) -> tuple[int, int, int]:
    background = preset.video.background
    if isinstance(background, tuple):
        return background
    if background == "texture":
        return 0, 0, 0
    red, green, blue = (int(u * 256) for u in draw.for_clip(Stream.BACKGROUND, 3))
    return red, green, blue


def _sample_textures(preset: Preset, draw: _Draw) -> Textures:
    fill, video = preset.fill, preset.video
    is_textured = draw.uniform(Stream.TEXTURED) < fill.textured_fraction
    choice = np.where(is_textured, draw.uniform(Stream.TEXTURE), -1.0)
    background = draw.for_clip(Stream.BACKGROUND_TEXTURE, 1)[0] if video.background == "texture" else -1.0
    crop = draw.uniform(Stream.CROP, 2) if fill.crop == "random" else np.zeros((draw.count, 2))
    return Textures(
        banks=fill.textures,
        max_textures=fill.max_textures,
        choice=np.append(choice, background),
        crop=np.vstack([crop, [0.5, 0.5]]),
        side=fill.texture_size * min(video.height, video.width),
        nearest=fill.sampling == "nearest",
        additive_tint=fill.additive_tint,
    )


def _sample_motion(preset: Preset, draw: _Draw, choice: NDArray[np.int64], num_vertices: NDArray[np.int64]) -> Kinematics:
    video, objects, motion, transform = preset.video, preset.objects, preset.motion, preset.transform
    radius = _sample_radius(objects, draw.uniform(Stream.RADIUS)) * min(video.height, video.width)
    center = draw.within(Stream.CENTER, objects.center_range, objects.center_range) * [video.width, video.height]
    if objects.integer_positions:
        radius, center = np.maximum(np.floor(radius), 1.0), np.floor(center)
    center += np.where(num_vertices > 0, objects.polygon_offset * radius, 0.0)[:, None]
    is_untransformed = np.isin(objects.shapes, transform.untransformed_shapes)[choice]
    transforms = np.where(is_untransformed, 0.0, 1.0)
    return Kinematics(
        radius=radius,
        center=center,
        direction=sin_cos_array(draw.within(Stream.DIRECTION, motion.direction_range)),
        speed=draw.within(Stream.SPEED, motion.speed_range),
        acceleration=draw.within(Stream.ACCELERATION, motion.acceleration_range),
        rotation=draw.within(Stream.ROTATION, transform.rotation_range) * transforms,
        scale=draw.within(Stream.SCALE, transform.scale_x_range, transform.scale_y_range) * transforms[:, None],
        shear=draw.within(Stream.SHEAR, transform.shear_x_range, transform.shear_y_range) * transforms[:, None],
        pivot=np.array(transform.pivot, np.float64),
        compound=transform.composition == "compound",
        integer_positions=objects.integer_positions,
    )


def _sample_radius(objects: Objects, u: Array) -> Array:
    """Turn uniform numbers (n,) into radii (n,), as fractions of the short side."""
    low, high = objects.radius_range
    if objects.radius_distribution == "exponential":
        return np.minimum(low - objects.radius_scale * log(1.0 - u), high)
    # As in the released code: density r**-3 - high**-3 at 200 points; the point whose cumulative probability is nearest to u.
    points = low + (high - low) * (np.arange(_POWER_LAW_POINTS) / (_POWER_LAW_POINTS - 1))
    cumulative = np.cumsum(1.0 / (points * points * points) - 1.0 / (high * high * high))
    cumulative /= cumulative[-1] if cumulative[-1] > 0 else 1.0
    after = np.minimum(np.searchsorted(cumulative, u), _POWER_LAW_POINTS - 1)
    before = np.maximum(after - 1, 0)
    return points[np.where(u - cumulative[before] < cumulative[after] - u, before, after)]
