"""One clip as plain arrays, and how it is drawn from a preset: the only place with randomness."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synvid import philox
from synvid.elementary import log, sin_cos_of
from synvid.errors import ConfigurationError
from synvid.kinds import Flag, Kind, Number, Vector
from synvid.motion import Kinematics, StepPowers, poses_at, step_powers
from synvid.outline import reach_of, sample_vertices
from synvid.philox import Stream
from synvid.preset import BANKS, Objects, Preset
from synvid.strict_yaml import short

__all__ = ["Scene", "Textures", "sample_scene"]

Array = NDArray[np.float64]

_POWER_LAW_POINTS = 200


@dataclass(frozen=True, eq=False)
class Textures:
    """What objects are cut from: one row an object, and the last the background's.

    Attributes:
        banks: names or paths.
        pool: only the first so many textures of each.
        choice: float64 (n + 1,) in [0, 1), which texture of all; -1 where there is a plain colour.
        crop: float64 (n + 1, 2) in [0, 1], how far to the right and down in the texture the crop lies.
        side: pixels that a whole texture is wide and high, at frame 0.
        nearest: the nearest texel, instead of a bilinear mean of four.
        saturate: an object's colour is added to its texture.
    """

    banks: tuple[str, ...]
    pool: int
    choice: Array
    crop: Array
    side: float
    nearest: bool
    saturate: bool


@dataclass(frozen=True, eq=False)
class Scene:
    """All that rendering needs: one row an object, back to front, the last nearest.

    Attributes:
        num_frames, height, width: size of the clip, frames and pixels.
        fps: frames per second.
        seed, index: where the scene came from.
        background: RGB.
        antialias: average 4 x 4 samples a pixel.
        colors: uint8 (n, 3), RGB.
        vertices: float64 (n, m, 2), outlines in unit coordinates, padded with zeros.
        num_vertices: int64 (n,), 0 for the unit circle.
        motion: how the objects move.
        textures: what they are filled with in place of colours, None where all are plain.
    """

    num_frames: int
    height: int
    width: int
    fps: float
    seed: int
    index: int
    background: tuple[int, int, int]
    antialias: bool
    colors: NDArray[np.uint8]
    vertices: Array
    num_vertices: NDArray[np.int64]
    motion: Kinematics
    textures: Textures | None = None

    @property
    def num_objects(self) -> int:
        """How many objects there are, seen or not."""
        return len(self.colors)

    @property
    def outlines(self) -> list[Array | None]:
        """Vertices of every object in unit coordinates, float64 (m, 2); None is the unit circle."""
        pairs = zip(self.vertices, self.num_vertices, strict=True)
        return [vertices[:count].copy() if count else None for vertices, count in pairs]

    @cached_property
    def step_powers(self) -> StepPowers:
        """Tables for `poses_at`."""
        return step_powers(self.motion, self.num_frames)

    @cached_property
    def reach(self) -> Array:
        """Distance of every outline's farthest point from its origin, float64 (n,)."""
        return reach_of(self.vertices, self.num_vertices)

    def poses(self, t: int) -> Array:
        """The affine maps from outline coordinates to pixels at frame t, float64 (n, 2, 3).

        Raises:
            ConfigurationError: t is not a frame of the clip.
        """
        t = self.frame_number(t)
        poses = np.empty((self.num_objects, 2, 3))
        poses_at(self.motion, self.step_powers, t, poses)
        return poses

    def frame_number(self, t: object) -> int:
        """T as an int, checked to be one of 0..num_frames - 1."""
        if isinstance(t, bool) or not isinstance(t, int | np.integer) or not 0 <= t < self.num_frames:
            raise ConfigurationError(f"frame {t!r} is not in the clip; its frames are 0 to {self.num_frames - 1}.")
        return int(t)

    def __repr__(self) -> str:
        return (
            f"Scene(seed={self.seed}, index={self.index}: {self.num_objects} objects, "
            f"{self.num_frames} frames of {self.width}x{self.height} at {self.fps:g} fps)"
        )

    def to_json(self) -> str:
        """The scene as JSON; floats are written so that they come back bit for bit."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        values["motion"] = self.motion._asdict()
        values["textures"] = None if self.textures is None else vars(self.textures)
        return json.dumps(values, default=lambda array: array.tolist())

    @classmethod
    def from_json(cls, text: str) -> Scene:
        """Read a scene that `to_json` wrote.

        Raises:
            ConfigurationError: the text is no JSON, or lacks a part, or parts disagree in length.
        """
        try:
            values = json.loads(text)
            motion = values.pop("motion")
            count = len(motion["radius"])
            parts = {name: _part(name, kind, values.pop(name)) for name, kind in _KINDS.items()}
            arrays = {name: _array(name, (count, *shape), values.pop(name)) for name, shape in _ARRAYS.items()}
            moving: dict[str, Any] = {name: _array(name, (count, *shape), motion.pop(name)) for name, shape in _MOTION.items()}
            moving["pivot"] = _array("pivot", (2,), motion.pop("pivot"))
            flags = {name: _part(name, Flag(), motion.pop(name)) for name in ("compound", "whole_pixels")}
            textures = _read_textures(values.pop("textures"), count)
            for name in (*values, *motion):
                raise ValueError(f"{name} is not a part of it")
            vertices, colors, num_vertices = arrays["vertices"], arrays["colors"], arrays["num_vertices"]
            if ((num_vertices % 1 != 0) | (num_vertices < 0) | (num_vertices > vertices.shape[1])).any():
                raise ValueError("num_vertices does not fit the vertices")
            if ((colors % 1 != 0) | (colors < 0) | (colors > 255)).any():
                raise ValueError("colors are not whole numbers from 0 to 255")
        except KeyError as error:
            raise ConfigurationError(f"this is not a scene as Scene.to_json writes it: {error} is missing.") from None
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise ConfigurationError(f"this is not a scene as Scene.to_json writes it: {error}.") from None
        return cls(
            **parts,
            colors=colors.astype(np.uint8),
            vertices=vertices,
            num_vertices=num_vertices.astype(np.int64),
            motion=Kinematics(**moving, **flags),
            textures=textures,
        )


def _read_textures(values: Any, count: int) -> Textures | None:
    if values is None:
        return None
    textures = Textures(
        banks=_part("banks", BANKS, values.pop("banks")),
        pool=_part("pool", Number(1, 10**9, whole=True), values.pop("pool")),
        choice=_array("choice", (count + 1,), values.pop("choice")),
        crop=_array("crop", (count + 1, 2), values.pop("crop")),
        side=_part("side", Number(1, 1e6), values.pop("side")),
        nearest=_part("nearest", Flag(), values.pop("nearest")),
        saturate=_part("saturate", Flag(), values.pop("saturate")),
    )
    for name in values:
        raise ValueError(f"textures.{name} is not a part of it")
    inside = (textures.choice < 1).all() and (textures.crop >= 0).all() and (textures.crop <= 1).all()
    if not inside or not textures.banks:
        raise ValueError("its textures are not in their banks")
    return textures


#: What the parts of a scene may be, when it is read.
_KINDS: Mapping[str, Kind] = {
    "num_frames": Number(1, 10_000, whole=True),
    "height": Number(16, 2048, whole=True),
    "width": Number(16, 2048, whole=True),
    "fps": Number(1, 1000),
    "seed": Number(0, 2**64 - 1, whole=True),
    "index": Number(0, 2**64 - 1, whole=True),
    "background": Vector(3, Number(0, 255, whole=True)),
    "antialias": Flag(),
}
#: Shapes of its arrays and of its motion's, for each object; -1 is any length.
_ARRAYS: Mapping[str, tuple[int, ...]] = {"colors": (3,), "vertices": (-1, 2), "num_vertices": ()}
_MOTION: Mapping[str, tuple[int, ...]] = {
    "radius": (),
    "center": (2,),
    "direction": (2,),
    "speed": (),
    "acceleration": (),
    "rotation": (),
    "scale": (2,),
    "shear": (2,),
}


def _part(name: str, kind: Kind, value: object) -> Any:
    try:
        return kind.parse(value)
    except ValueError:
        raise ValueError(f"{name} is {short(value)}; it must be {kind.words}") from None


def _array(name: str, shape: tuple[int, ...], values: object) -> Array:
    array = np.array(values, np.float64) if isinstance(values, list) else np.empty(0)
    fits = array.ndim == len(shape) and all(wants in (-1, has) for has, wants in zip(array.shape, shape, strict=True))
    if not fits or not np.isfinite(array).all():
        raise ValueError(f"{name} is no list of finite numbers of shape {shape}")
    return array


def sample_scene(preset: Preset, seed: int = 0, index: int = 0) -> Scene:
    """Draw clip `index` of a preset.

    Args:
        preset: from `load_preset`.
        seed: names the dataset, 0..2**64-1.
        index: names the clip in it, 0..2**64-1.

    Returns:
        The scene; the same on every machine.

    Raises:
        ConfigurationError: seed or index is no such number.

    >>> from synvid.preset import load_preset
    >>> sample_scene(load_preset("moving_shapes"), seed=0, index=7)
    Scene(seed=0, index=7: 500 objects, 125 frames of 256x256 at 25 fps)
    """
    for name, number in (("seed", seed), ("index", index)):
        if isinstance(number, bool) or not isinstance(number, int | np.integer) or not 0 <= number < 2**64:
            raise ConfigurationError(f"{name} is {number!r}; it must be a whole number from 0 to 2**64 - 1.")
    chosen = preset.of_clip(int(index))
    if chosen is None:
        raise ConfigurationError(f"clip {index} of {preset.name} is a real clip: it has no scene.")
    preset = chosen
    draw = _Draw(int(seed), int(index), preset.objects.count)
    video, objects = preset.video, preset.objects
    choice = np.floor(draw.uniform(Stream.SHAPE) * len(objects.shapes)).astype(np.int64)
    vertices, num_vertices = sample_vertices(objects.shapes, choice, draw.uniform(Stream.OUTLINE, 4))
    low, high = video.num_frames_range
    return Scene(
        num_frames=low + int(draw.some(Stream.NUM_FRAMES, 1)[0] * (high - low + 1)),
        height=video.height,
        width=video.width,
        fps=video.fps,
        seed=int(seed),
        index=int(index),
        background=_sample_background(preset, draw),
        antialias=video.antialias,
        colors=np.floor(draw.uniform(Stream.COLOR, 3) * 256).astype(np.uint8),
        vertices=vertices,
        num_vertices=num_vertices,
        motion=_sample_motion(preset, draw, choice, num_vertices),
        textures=_sample_textures(preset, draw) if preset.fill.textures else None,
    )


class _Draw:
    """Uniform numbers for the n objects of one clip."""

    def __init__(self, seed: int, index: int, count: int) -> None:
        self.seed, self.index, self.count = seed, index, count

    def some(self, stream: Stream, count: int) -> list[float]:
        """Numbers in [0, 1) of the whole clip."""
        numbers: list[float] = philox.uniform(self.seed, self.index, stream, (count,)).tolist()
        return numbers

    def uniform(self, stream: Stream, columns: int | None = None) -> Array:
        """Numbers in [0, 1), (n,) or (n, columns)."""
        shape = (self.count,) if columns is None else (self.count, columns)
        return philox.uniform(self.seed, self.index, stream, shape)

    def within(self, stream: Stream, *ranges: tuple[float, float]) -> Array:
        """Numbers within a range, (n,), or within several, (n, columns)."""
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
    red, green, blue = (int(u * 256) for u in draw.some(Stream.BACKGROUND, 3))
    return red, green, blue


def _sample_textures(preset: Preset, draw: _Draw) -> Textures:
    fill, video = preset.fill, preset.video
    textured = draw.uniform(Stream.TEXTURED) < fill.textured_share
    choice = np.where(textured, draw.uniform(Stream.TEXTURE), -1.0)
    behind = draw.some(Stream.BACKGROUND_TEXTURE, 1)[0] if video.background == "texture" else -1.0
    crop = draw.uniform(Stream.CROP, 2) if fill.crop == "random" else np.zeros((draw.count, 2))
    return Textures(
        banks=fill.textures,
        pool=fill.pool,
        choice=np.append(choice, behind),
        crop=np.vstack([crop, [0.5, 0.5]]),
        side=fill.texture_side * min(video.height, video.width),
        nearest=fill.sampling == "nearest",
        saturate=fill.saturate,
    )


def _sample_motion(preset: Preset, draw: _Draw, choice: NDArray[np.int64], num_vertices: NDArray[np.int64]) -> Kinematics:
    video, objects, motion, transform = preset.video, preset.objects, preset.motion, preset.transform
    radius = _sample_radius(objects, draw.uniform(Stream.RADIUS)) * min(video.height, video.width)
    center = draw.within(Stream.CENTER, objects.center_range, objects.center_range) * [video.width, video.height]
    if objects.whole_pixels:
        radius, center = np.maximum(np.floor(radius), 1.0), np.floor(center)
    center += np.where(num_vertices > 0, objects.polygon_offset * radius, 0.0)[:, None]
    rigid = np.isin(objects.shapes, transform.rigid_shapes)[choice]
    moves = np.where(rigid, 0.0, 1.0)
    return Kinematics(
        radius=radius,
        center=center,
        direction=sin_cos_of(draw.within(Stream.DIRECTION, motion.direction_range)),
        speed=draw.within(Stream.SPEED, motion.speed_range),
        acceleration=draw.within(Stream.ACCELERATION, motion.acceleration_range),
        rotation=draw.within(Stream.ROTATION, transform.rotation_range) * moves,
        scale=draw.within(Stream.SCALE, transform.scale_x_range, transform.scale_y_range) * moves[:, None],
        shear=draw.within(Stream.SHEAR, transform.shear_x_range, transform.shear_y_range) * moves[:, None],
        pivot=np.array(transform.pivot, np.float64),
        compound=transform.composition == "compound",
        whole_pixels=objects.whole_pixels,
    )


def _sample_radius(objects: Objects, u: Array) -> Array:
    """Radii as fractions of the short side, (n,)."""
    low, high = objects.radius_range
    if objects.radius_law == "exponential":
        return np.minimum(low - objects.radius_scale * log(1.0 - u), high)
    # The released code's table: density r**-3 - high**-3 at 200 points, the point whose cumulated share is nearest to u.
    points = low + (high - low) * (np.arange(_POWER_LAW_POINTS) / (_POWER_LAW_POINTS - 1))
    share = np.cumsum(1.0 / (points * points * points) - 1.0 / (high * high * high))
    share /= share[-1] if share[-1] > 0 else 1.0
    after = np.minimum(np.searchsorted(share, u), _POWER_LAW_POINTS - 1)
    before = np.maximum(after - 1, 0)
    return points[np.where(u - share[before] < share[after] - u, before, after)]
