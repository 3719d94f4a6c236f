"""Presets: a distribution of clips as data, loaded from YAML and checked to the last key."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from synvid.config.registry import ConfigRegistry
from synvid.config.schema import Config, setting
from synvid.config.strict_yaml import short
from synvid.config.validators import AnyOf, Boolean, Interval, Number, OneOf, Subset, Validator, Vector
from synvid.errors import ConfigurationError
from synvid.paths import expand_user

__all__ = [
    "BANK_LIST",
    "BANK_SUFFIX",
    "REAL",
    "TEXTURE_KINDS",
    "Fill",
    "Mixture",
    "Motion",
    "Objects",
    "Preset",
    "Transform",
    "Video",
    "list_presets",
    "load_preset",
]


_PACKAGE = Path(__file__).parent
#: In an installed package the presets lie inside it; in a checkout they stand beside it, where people see them.
_FOLDER = _PACKAGE / "presets" if (_PACKAGE / "presets").is_dir() else _PACKAGE.parent / "presets"

#: Textures that synvid makes; `synvid.textures.generators` has how.
TEXTURE_KINDS = (
    "statistical",
    "stylegan-oriented",
    "stylegan-high-freq",
    "stylegan-random",
    "stylegan-oriented-walk",
    "stylegan-high-freq-walk",
    "images",
)
#: How the name of a file of textures ends.
BANK_SUFFIX = ".bank"

SHAPE_NAMES = ("circle", "triangle", "quadrilateral", "square", "oriented_square", "rectangle")

Pair = tuple[float, float]


# ---- The preset ---------------------------------------------------------------------------------------------------
_FACTOR = Interval(Number(-0.5, 0.5))


@dataclass(frozen=True)
class Video:
    """The frame and the clip.

    Attributes:
        width, height: pixels.
        fps: frames per second.
        num_frames_range: length of a clip in frames.
        background: RGB, 0..255; `random`, a colour a clip; or `texture`, one of the textures of `fill`, as large as the frame.
        antialias: average 4 x 4 samples a pixel instead of taking the one at its centre.
    """

    width: int = setting(256, Number(16, 2048, whole=True))
    height: int = setting(256, Number(16, 2048, whole=True))
    fps: float = setting(25.0, Number(1, 1000))
    num_frames_range: tuple[int, int] = setting((100, 200), Interval(Number(1, 10_000, whole=True)))
    background: tuple[int, int, int] | str = setting(
        (0, 0, 0), AnyOf(Vector(3, Number(0, 255, whole=True)), OneOf(("random", "texture")))
    )
    antialias: bool = setting(False, Boolean())


@dataclass(frozen=True)
class Objects:
    """What lies on the canvas. The short side of the frame is the unit of length.

    Attributes:
        count: objects in a clip.
        shapes: each object has one of these, uniformly.
        radius_distribution: `exponential`: the low end plus an exponential variable of mean `radius_scale`, capped at the high
            end. `power_law`: density r**-3 - high**-3 on 200 points of the range, as the released code has it.
        radius_range: smallest and largest radius, as fractions of the short side.
        radius_scale: of the exponential law, as a fraction of the short side.
        center_range: of the first frame's centre; 0 is the left (upper) edge of the frame, 1 the right (lower) one.
        polygon_offset: polygons lie this many radii to the right of and below their centre.
        integer_positions: radii, centres and positions are rounded down to whole pixels.
    """

    count: int = setting(500, Number(0, 100_000, whole=True))
    shapes: tuple[str, ...] = setting(("circle",), Subset(SHAPE_NAMES, least=1))
    radius_distribution: str = setting("exponential", OneOf(("exponential", "power_law")))
    radius_range: Pair = setting((0.1, 1.0), Interval(Number(0.001, 10)))
    radius_scale: float = setting(0.07, Number(0, 10))
    center_range: Pair = setting((-0.5, 1.5), Interval(Number(-10, 10)))
    polygon_offset: float = setting(0.0, Number(-10, 10))
    integer_positions: bool = setting(False, Boolean())


@dataclass(frozen=True)
class Motion:
    """How centres move: p(t) = p(0) + (v t + a t**2 / 2) d, t in frames. An object whose speed turns negative comes back.

    Attributes:
        speed_range: v, pixels per frame.
        acceleration_range: a, pixels per frame**2, along the direction of motion.
        direction_range: of d, radians; 0 is to the right, pi/2 down.
    """

    speed_range: Pair = setting((0.0, 0.0), Interval(Number(-1000, 1000)))
    acceleration_range: Pair = setting((0.0, 0.0), Interval(Number(-100, 100)))
    direction_range: Pair = setting((-math.pi, math.pi), Interval(Number(-2 * math.pi, 2 * math.pi)))


@dataclass(frozen=True)
class Transform:
    """How objects turn, stretch and slant from frame to frame.

    Attributes:
        rotation_range: radians per frame.
        scale_x_range, scale_y_range: s per frame; the factor is 1 + s.
        shear_x_range, shear_y_range: h per frame.
        composition: `compound`: every frame applies scale, rotation and shear once more, (Shear Rot Scale)**t.
            `linear`: the parameters grow with t, Rot(w t) Scale(1 + s t) Shear(h t).
        pivot: the fixed point, in radii from the object's centre.
        untransformed_shapes: shapes that are never transformed.
    """

    rotation_range: Pair = setting((0.0, 0.0), Interval(Number(-2 * math.pi, 2 * math.pi)))
    scale_x_range: Pair = setting((0.0, 0.0), _FACTOR)
    scale_y_range: Pair = setting((0.0, 0.0), _FACTOR)
    shear_x_range: Pair = setting((0.0, 0.0), _FACTOR)
    shear_y_range: Pair = setting((0.0, 0.0), _FACTOR)
    composition: str = setting("compound", OneOf(("compound", "linear")))
    pivot: Pair = setting((0.0, 0.0), Vector(2, Number(-10, 10)))
    untransformed_shapes: tuple[str, ...] = setting((), Subset(SHAPE_NAMES))


class _BankList(Validator):
    """Banks of textures."""

    most = 4
    words = (
        f"a list of at most {most}, none twice, each {', '.join(TEXTURE_KINDS)} or the path of a file ending in {BANK_SUFFIX}"
    )

    def parse(self, value: object) -> tuple[str, ...]:
        if not isinstance(value, list | tuple) or len(value) > self.most or not all(isinstance(name, str) for name in value):
            raise ValueError
        right = all(name in TEXTURE_KINDS or (name.endswith(BANK_SUFFIX) and name.isprintable()) for name in value)
        if not right or len(set(value)) < len(value):
            raise ValueError
        return tuple(value)


#: What a list of banks may be.
BANK_LIST = _BankList()


@dataclass(frozen=True)
class Fill:
    """What objects are filled with besides colours: crops of textures, attached to them.

    Attributes:
        textures: banks, from each of which as many objects have their texture: `statistical`, `stylegan-oriented`, ...
            (`synvid textures --help` lists them), or paths of banks. None: all objects have solid colours.
        max_textures: only the first so many textures of each bank.
        textured_fraction: of the objects; the others have solid colours.
        texture_size: of a whole texture, as a fraction of the short side. An object that is wider has all of its texture,
            enlarged.
        crop: `random`: anywhere in the texture. `top_left`: its upper left corner, as the released code has it.
        sampling: `bilinear`, or `nearest`.
        additive_tint: the object's random colour is added to its texture, at most 255.
    """

    textures: tuple[str, ...] = setting((), BANK_LIST)
    max_textures: int = setting(300_000, Number(1, 10**9, whole=True))
    textured_fraction: float = setting(1.0, Number(0, 1))
    texture_size: float = setting(2.0, Number(0.1, 20))
    crop: str = setting("random", OneOf(("random", "top_left")))
    sampling: str = setting("bilinear", OneOf(("bilinear", "nearest")))
    additive_tint: bool = setting(False, Boolean())


class _MixtureSource(Validator):
    """Where the other clips of a mixture come from."""

    words = "the name of a preset without a mixture of its own, or real"

    def parse(self, value: object) -> Preset | str:
        if value in ("", REAL):
            return str(value)
        if isinstance(value, Preset):
            return value
        try:
            preset = load_preset(value) if isinstance(value, str) else Preset.from_dict(value, "mixture")  # type: ignore[arg-type]
        except (ConfigurationError, TypeError, AttributeError, RecursionError):
            raise ValueError from None
        if preset.mixture.source:
            raise ValueError
        return preset


#: In a mixture, clips cut from video files.
REAL = "real"


@dataclass(frozen=True)
class Mixture:
    """Some clips are replaced by others: clip i is if floor((i + 1) fraction) > floor(i fraction), so any n have floor(n fraction).

    Attributes:
        fraction: of the clips.
        source: another preset, whose clips of the same seed and index take their place in frames of this preset's size; or
            `real`, video files.
    """

    fraction: float = setting(0.0, Number(0, 1))
    source: Preset | str = setting("", _MixtureSource())

    def rank(self, index: int) -> int:
        """How many clips before this one are replaced."""
        return math.floor(index * Fraction(str(self.fraction))) if self.source else 0

    def replaces(self, index: int) -> bool:
        """Whether a clip is replaced."""
        return self.rank(index + 1) > self.rank(index)


@dataclass(frozen=True)
class Preset(Config):
    """A distribution of clips: with a seed and an index it names one of them, bit for bit.

    Attributes:
        name: `moving_shapes`, `reference/moving_shapes`, or the stem of a file of your own.
        description: one line.
    """

    video: Video = field(default_factory=Video)
    objects: Objects = field(default_factory=Objects)
    motion: Motion = field(default_factory=Motion)
    transform: Transform = field(default_factory=Transform)
    fill: Fill = field(default_factory=Fill)
    mixture: Mixture = field(default_factory=Mixture)

    def check(self, source: str) -> None:
        """Refuse settings that do not go together."""
        if self.video.background == "texture" and not self.fill.textures:
            raise ConfigurationError(
                f"{source}: video.background is 'texture'; fill.textures must name a bank to take it from."
            )
        if self.mixture.fraction > 0 and not self.mixture.source:
            raise ConfigurationError(
                f"{source}: mixture.fraction is {self.mixture.fraction:g}; mixture.source must name a preset, or real."
            )

    def digest(self) -> str:
        """SHA-256 of the settings; name and description do not count."""
        settings = {key: value for key, value in self.to_dict().items() if key in self.sections()}
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()

    def preset_for_clip(self, index: int) -> Preset | None:
        """The preset that a clip is drawn from, this one or the mixture's; None for a real clip."""
        source = self.mixture.source
        if not self.mixture.replaces(index):
            return dataclasses.replace(self, mixture=Mixture()) if source else self
        if not isinstance(source, Preset):
            return None
        return dataclasses.replace(source, video=dataclasses.replace(self.video, background=source.video.background))

    def banks(self) -> list[str]:
        """Names and paths of all banks that clips are filled from."""
        mixed = [self.mixture.source] if isinstance(self.mixture.source, Preset) else []
        return list(dict.fromkeys(name for preset in (self, *mixed) for name in preset.fill.textures))

    def with_banks(self, paths: Mapping[str, str]) -> Preset:
        """The preset with some banks, {name: path}, in the place of others.

        Raises:
            ConfigurationError: one bank for two, or no file of a bank.
        """
        named = tuple(paths.get(name, name) for name in self.fill.textures)
        try:
            fill = dataclasses.replace(self.fill, textures=BANK_LIST.parse(named))
        except ValueError:
            raise ConfigurationError(f"the banks of {self.name} are {short(list(named))}; give {BANK_LIST.words}.") from None
        source = self.mixture.source
        mixed = source.with_banks(paths) if isinstance(source, Preset) else source
        return dataclasses.replace(self, fill=fill, mixture=dataclasses.replace(self.mixture, source=mixed))


# ---- Finding and loading -------------------------------------------------------------------------------------------
def list_presets() -> list[str]:
    """Names of all presets that come with synvid: the paper's progression first, the released code's last.

    >>> "moving_shapes" in list_presets()
    True
    """

    def order(name: str) -> tuple[bool, int, int, str]:
        word = name.rpartition("/")[2].partition("_")[0]
        group = 0 if word in ("static", "moving", "accelerating") else 1 if word == "slow" else 2
        return "/" in name, group, len(_REGISTRY.lineage(_FOLDER / f"{name}.yaml")), name

    return sorted(_REGISTRY.names(), key=order)


def load_preset(name_or_path: str | Path, overrides: Mapping[str, object] | None = None) -> Preset:
    """Load a preset by name, or a YAML file of your own.

    Args:
        name_or_path: one of `list_presets()`, or the path of a file ending in .yaml or .yml.
        overrides: settings to change, {"objects.count": 200}.

    Raises:
        ConfigurationError: no such preset or file, an unknown key, or a value of the wrong kind.

    >>> load_preset("moving_shapes", {"objects.count": 200}).objects.count
    200
    """
    preset = _REGISTRY.load(name_or_path)
    return preset.override(overrides) if overrides else preset


def _anchor(settings: dict[str, Any], folder: Path) -> None:
    """Make the paths in a preset's file, which are relative to it, absolute."""
    fill, mixture = settings.get("fill"), settings.get("mixture")
    if isinstance(fill, dict) and isinstance(fill.get("textures"), list):
        fill["textures"] = [_anchored(name, folder, (BANK_SUFFIX,)) for name in fill["textures"]]
    if isinstance(mixture, dict) and isinstance(mixture.get("source"), dict):
        _anchor(mixture["source"], folder)
    elif isinstance(mixture, dict) and "source" in mixture:
        mixture["source"] = _anchored(mixture["source"], folder, (".yaml", ".yml"))


def _anchored(name: Any, folder: Path, suffixes: tuple[str, ...]) -> Any:
    return str(folder / expand_user(name)) if isinstance(name, str) and name.endswith(suffixes) else name


_REGISTRY = ConfigRegistry(Preset, "preset", _FOLDER, "synvid presets", _anchor)
