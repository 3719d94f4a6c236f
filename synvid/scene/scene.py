"""One clip as plain arrays, and how it is drawn from a preset: the only place with randomness."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synvid.config.strict_yaml import short
from synvid.config.validators import Boolean, Number, Validator, Vector
from synvid.errors import ConfigurationError
from synvid.preset import BANK_LIST
from synvid.scene.kinematics import Kinematics, StepPowers, poses_at, step_powers
from synvid.scene.shapes import bounding_radius

__all__ = ["Scene", "Textures"]


Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Textures:
    """What objects are cut from: one row an object, and the last the background's.

    Attributes:
        banks: names or paths.
        max_textures: only the first so many textures of each.
        choice: float64 (n + 1,) in [0, 1), which texture of all; -1 where there is a plain colour.
        crop: float64 (n + 1, 2) in [0, 1], how far to the right and down in the texture the crop lies.
        side: pixels that a whole texture is wide and high, at frame 0.
        nearest: the nearest texel, instead of a bilinear mean of four.
        additive_tint: an object's colour is added to its texture.
    """

    banks: tuple[str, ...]
    max_textures: int
    choice: Array
    crop: Array
    side: float
    nearest: bool
    additive_tint: bool


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
        return bounding_radius(self.vertices, self.num_vertices)

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
            flags = {name: _part(name, Boolean(), motion.pop(name)) for name in ("compound", "integer_positions")}
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
        banks=_part("banks", BANK_LIST, values.pop("banks")),
        max_textures=_part("max_textures", Number(1, 10**9, whole=True), values.pop("max_textures")),
        choice=_array("choice", (count + 1,), values.pop("choice")),
        crop=_array("crop", (count + 1, 2), values.pop("crop")),
        side=_part("side", Number(1, 1e6), values.pop("side")),
        nearest=_part("nearest", Boolean(), values.pop("nearest")),
        additive_tint=_part("additive_tint", Boolean(), values.pop("additive_tint")),
    )
    for name in values:
        raise ValueError(f"textures.{name} is not a part of it")
    inside = (textures.choice < 1).all() and (textures.crop >= 0).all() and (textures.crop <= 1).all()
    if not inside or not textures.banks:
        raise ValueError("its textures are not in their banks")
    return textures


#: What the parts of a scene may be, when it is read.
_KINDS: Mapping[str, Validator] = {
    "num_frames": Number(1, 10_000, whole=True),
    "height": Number(16, 2048, whole=True),
    "width": Number(16, 2048, whole=True),
    "fps": Number(1, 1000),
    "seed": Number(0, 2**64 - 1, whole=True),
    "index": Number(0, 2**64 - 1, whole=True),
    "background": Vector(3, Number(0, 255, whole=True)),
    "antialias": Boolean(),
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


def _part(name: str, kind: Validator, value: object) -> Any:
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
