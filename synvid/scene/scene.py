"""The scene: the content of one clip as plain arrays, and its JSON form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synvid.config.arguments import parse_frame
from synvid.config.strict_yaml import short
from synvid.config.validators import Boolean, Number, Validator, Vector
from synvid.errors import ConfigurationError
from synvid.formatting import format_count
from synvid.preset import BANK_LIST
from synvid.scene.kinematics import Kinematics, StepPowers, poses_at, step_powers
from synvid.scene.shapes import bounding_radius

__all__ = ["Scene", "Textures"]


Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Textures:
    """The textures of a scene: one row per object, and a last row for the background.

    Attributes:
        banks: names or paths of the texture banks.
        max_textures: number of textures to use from each bank, from its start.
        choice: float64 (n + 1,) in [0, 1), selects a texture among those of all banks; -1 for a solid colour.
        crop: float64 (n + 1, 2) in [0, 1], horizontal and vertical position of the crop in the texture.
        side: width and height of a whole texture at frame 0, in pixels.
        nearest: use the nearest texel instead of bilinear interpolation.
        additive_tint: add an object's colour to its texture.
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
    """The content of one clip. Arrays have one row per object, ordered back to front: the last object is nearest.

    Attributes:
        num_frames: number of frames.
        height: height of the frame in pixels.
        width: width of the frame in pixels.
        fps: frames per second.
        seed: seed that the scene was sampled with.
        index: index that the scene was sampled with.
        background: RGB colour, 0..255.
        antialias: average 4 x 4 samples per pixel.
        colors: uint8 (n, 3), RGB colour of each object.
        vertices: float64 (n, m, 2), outline of each object in unit coordinates, padded with zeros.
        num_vertices: int64 (n,), number of vertices; 0 for the unit circle.
        motion: motion of the objects.
        textures: textures of the objects and the background; None if all have solid colours.

    Examples:
        >>> from synvid import Scene, load_preset, sample_scene
        >>> scene = sample_scene(load_preset("moving_shapes"), seed=0, index=7)
        >>> scene.num_objects, scene.poses(0).shape
        (500, (500, 2, 3))
        >>> Scene.from_json(scene.to_json())
        Scene(seed=0, index=7: 500 objects, 125 frames of 256x256 at 25 fps)
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
        """The number of objects, visible or not."""
        return len(self.colors)

    @property
    def outlines(self) -> list[Array | None]:
        """The vertices of each object in unit coordinates, float64 (m, 2); None for the unit circle."""
        pairs = zip(self.vertices, self.num_vertices, strict=True)
        return [vertices[:count].copy() if count else None for vertices, count in pairs]

    @cached_property
    def step_powers(self) -> StepPowers:
        """Matrix powers for `poses_at`."""
        return step_powers(self.motion, self.num_frames)

    @cached_property
    def bounding_radii(self) -> Array:
        """Distance of each outline's farthest point from its origin, float64 (n,)."""
        return bounding_radius(self.vertices, self.num_vertices)

    def poses(self, t: int) -> Array:
        """The affine maps from outline coordinates to pixels at frame t, float64 (n, 2, 3).

        Raises:
            ConfigurationError: t is not a frame of the scene.
        """
        poses = np.empty((self.num_objects, 2, 3))
        poses_at(self.motion, self.step_powers, parse_frame(t, self.num_frames), poses)
        return poses

    def __repr__(self) -> str:
        return (
            f"Scene(seed={self.seed}, index={self.index}: {format_count(self.num_objects, 'object')}, "
            f"{format_count(self.num_frames, 'frame')} of {self.width}x{self.height} at {self.fps:g} fps)"
        )

    def to_json(self) -> str:
        """The scene as JSON; `from_json` restores it bit for bit."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        values["motion"] = self.motion._asdict()
        values["textures"] = None if self.textures is None else vars(self.textures)
        return json.dumps(values, default=lambda array: array.tolist())

    @classmethod
    def from_json(cls, text: str) -> Scene:
        """Read a scene written by `to_json`.

        Raises:
            ConfigurationError: the text is not valid JSON, a field is missing, unknown or wrong, or array lengths differ.
        """
        try:
            values = json.loads(text)
            motion = values.pop("motion")
            count = len(motion["radius"])
            scalars = {name: _parse_value(name, validator, values.pop(name)) for name, validator in _SCALARS.items()}
            arrays = {name: _parse_array(name, (count, *shape), values.pop(name)) for name, shape in _ARRAYS.items()}
            kinematics: dict[str, Any] = {
                name: _parse_array(name, (count, *shape), motion.pop(name)) for name, shape in _KINEMATICS.items()
            }
            kinematics["pivot"] = _parse_array("pivot", (2,), motion.pop("pivot"))
            flags = {name: _parse_value(name, Boolean(), motion.pop(name)) for name in ("compound", "integer_positions")}
            textures = _parse_textures(values.pop("textures"), count)
            for name in (*values, *motion):
                raise ValueError(f"unknown field {name!r}")
            vertices, colors, num_vertices = arrays["vertices"], arrays["colors"], arrays["num_vertices"]
            if ((num_vertices % 1 != 0) | (num_vertices < 0) | (num_vertices > vertices.shape[1])).any():
                raise ValueError("num_vertices does not match the vertices")
            if ((colors % 1 != 0) | (colors < 0) | (colors > 255)).any():
                raise ValueError("colors are not whole numbers from 0 to 255")
        except KeyError as error:
            old = next((name for name, new in _RENAMED.items() if new == error.args[0] and f'"{name}"' in text), None)
            if old is not None:
                raise ConfigurationError(
                    f"the scene was written by an older synvid: {old} is now called {_RENAMED[old]}; rename it."
                ) from None
            raise ConfigurationError(f"not a scene written by Scene.to_json: {error} is missing.") from None
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise ConfigurationError(f"not a scene written by Scene.to_json: {error}.") from None
        return cls(
            **scalars,
            colors=colors.astype(np.uint8),
            vertices=vertices,
            num_vertices=num_vertices.astype(np.int64),
            motion=Kinematics(**kinematics, **flags),
            textures=textures,
        )


def _parse_textures(values: Any, count: int) -> Textures | None:
    if values is None:
        return None
    textures = Textures(
        banks=_parse_value("banks", BANK_LIST, values.pop("banks")),
        max_textures=_parse_value("max_textures", Number(1, 10**9, whole=True), values.pop("max_textures")),
        choice=_parse_array("choice", (count + 1,), values.pop("choice")),
        crop=_parse_array("crop", (count + 1, 2), values.pop("crop")),
        side=_parse_value("side", Number(1, 1e6), values.pop("side")),
        nearest=_parse_value("nearest", Boolean(), values.pop("nearest")),
        additive_tint=_parse_value("additive_tint", Boolean(), values.pop("additive_tint")),
    )
    for name in values:
        raise ValueError(f"unknown field 'textures.{name}'")
    in_range = (textures.choice < 1).all() and (textures.crop >= 0).all() and (textures.crop <= 1).all()
    if not in_range or not textures.banks:
        raise ValueError("its textures are not in their banks")
    return textures


#: Fields of a scene's JSON that older versions wrote under another name.
_RENAMED = {"whole_pixels": "integer_positions", "pool": "max_textures", "saturate": "additive_tint"}
#: Validators of the scalar fields of a scene's JSON.
_SCALARS: Mapping[str, Validator] = {
    "num_frames": Number(1, 10_000, whole=True),
    "height": Number(16, 2048, whole=True),
    "width": Number(16, 2048, whole=True),
    "fps": Number(1, 1000),
    "seed": Number(0, 2**64 - 1, whole=True),
    "index": Number(0, 2**64 - 1, whole=True),
    "background": Vector(3, Number(0, 255, whole=True)),
    "antialias": Boolean(),
}
#: Shapes of the arrays of a scene and of its motion, without the axis of objects; -1 is any length.
_ARRAYS: Mapping[str, tuple[int, ...]] = {"colors": (3,), "vertices": (-1, 2), "num_vertices": ()}
_KINEMATICS: Mapping[str, tuple[int, ...]] = {
    "radius": (),
    "center": (2,),
    "direction": (2,),
    "speed": (),
    "acceleration": (),
    "rotation": (),
    "scale": (2,),
    "shear": (2,),
}


def _parse_value(name: str, validator: Validator, value: object) -> Any:
    try:
        return validator.parse(value)
    except ValueError:
        raise ValueError(f"{name} is {short(value)}; it must be {validator.description}") from None


def _parse_array(name: str, shape: tuple[int, ...], values: object) -> Array:
    array = np.array(values, np.float64) if isinstance(values, list) else np.empty(0)
    matches = array.ndim == len(shape) and all(size in (-1, actual) for actual, size in zip(array.shape, shape, strict=True))
    if not matches or not np.isfinite(array).all():
        raise ValueError(f"{name} is not a list of finite numbers of shape {shape}")
    return array
