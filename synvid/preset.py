"""Presets: distributions of clips, described by settings in YAML files."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

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
#: The presets are inside an installed package, and beside the package in a checkout of the repository.
_FOLDER = _PACKAGE / "presets" if (_PACKAGE / "presets").is_dir() else _PACKAGE.parent / "presets"

#: All kinds of textures, with the help text of `synvid textures build KIND`, whose first sentence is in the list of commands.
#: `synvid.textures.generators` makes all but `images`.
TEXTURE_KINDS: Mapping[str, str] = {
    "statistical": "Noise with the statistics of natural images. These are spectrum, wavelet marginals and colours.",
    "stylegan-oriented": "Untrained StyleGAN2 with oriented filters. The filters are edges, lines and points.",
    "stylegan-high-freq": "Untrained StyleGAN2 with high-frequency noise. It uses the whole bank of filters.",
    "stylegan-random": "Untrained StyleGAN2 with random weights. A texture takes seconds.",
    "stylegan-oriented-walk": "Animated stylegan-oriented. 50 frames each, a random walk of the latent vectors.",
    "stylegan-high-freq-walk": "Animated stylegan-high-freq. 50 frames each, a random walk of the latent vectors.",
    "images": "Square crops of the images in a folder. Reads JPEG, PNG and WebP files.",
}

#: Suffix of texture bank files.
BANK_SUFFIX = ".bank"

SHAPE_NAMES = ("circle", "triangle", "quadrilateral", "square", "oriented_square", "rectangle")

Pair = tuple[float, float]


# ---- The preset ---------------------------------------------------------------------------------------------------
_FACTOR = Interval(Number(-0.5, 0.5))


@dataclass(frozen=True)
class Video:
    """Size and length of a clip, background and antialiasing.

    Attributes:
        width, height: size of the frame in pixels.
        fps: frames per second.
        num_frames_range: length of a clip in frames.
        background: an RGB colour, 0..255; `random` for a random colour in each clip; `texture` for one of the textures in
            `fill.textures`, scaled to cover the frame.
        antialias: average 4 x 4 samples per pixel; otherwise one sample at the pixel's centre.
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
    """Number, shapes, sizes and initial positions of the objects. The short side of the frame is the unit of length.

    Attributes:
        count: number of objects in a clip.
        shapes: shapes to choose from, uniformly for each object.
        radius_distribution: `exponential`: the low end of `radius_range` plus an exponential variable of mean `radius_scale`,
            clipped at the high end. `power_law`: density r**-3 - high**-3 on 200 points of the range, as in the released code.
        radius_range: smallest and largest radius, as fractions of the short side.
        radius_scale: mean of the exponential variable, as a fraction of the short side.
        center_range: centre in the first frame, along each axis; 0 is the left (upper) edge of the frame, 1 the right (lower).
        polygon_offset: shift of polygons to the right and down, in radii.
        integer_positions: round radii and centres down to whole pixels.
    """

    count: int = setting(500, Number(0, 100_000, whole=True))
    shapes: tuple[str, ...] = setting(("circle",), Subset(SHAPE_NAMES, min_items=1))
    radius_distribution: str = setting("exponential", OneOf(("exponential", "power_law")))
    radius_range: Pair = setting((0.1, 1.0), Interval(Number(0.001, 10)))
    radius_scale: float = setting(0.07, Number(0, 10))
    center_range: Pair = setting((-0.5, 1.5), Interval(Number(-10, 10)))
    polygon_offset: float = setting(0.0, Number(-10, 10))
    integer_positions: bool = setting(False, Boolean())


@dataclass(frozen=True)
class Motion:
    """Motion of the centres: p(t) = p(0) + (v t + a t**2 / 2) d, t in frames. With a negative speed an object moves backwards.

    Attributes:
        speed_range: speed v, in pixels per frame.
        acceleration_range: acceleration a along the direction of motion, in pixels per frame**2.
        direction_range: angle of the direction d, in radians; 0 is to the right, pi/2 down.
    """

    speed_range: Pair = setting((0.0, 0.0), Interval(Number(-1000, 1000)))
    acceleration_range: Pair = setting((0.0, 0.0), Interval(Number(-100, 100)))
    direction_range: Pair = setting((-math.pi, math.pi), Interval(Number(-2 * math.pi, 2 * math.pi)))


@dataclass(frozen=True)
class Transform:
    """Rotation, scaling and shear of the objects from frame to frame.

    Attributes:
        rotation_range: rotation w, in radians per frame.
        scale_x_range, scale_y_range: scaling s per frame; the factor is 1 + s.
        shear_x_range, shear_y_range: shear h per frame.
        composition: `compound`: each frame applies scale, rotation and shear to the previous one, (Shear Rot Scale)**t.
            `linear`: the parameters grow with t, Rot(w t) Scale(1 + s t) Shear(h t).
        pivot: fixed point of the transform, in radii from the object's centre.
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
    """A list of texture banks: kinds of textures, or paths of bank files."""

    max_items = 4
    description = (
        f"a list of at most {max_items}, without duplicates, "
        f"each {', '.join(TEXTURE_KINDS)} or the path of a file ending in {BANK_SUFFIX}"
    )

    def parse(self, value: object) -> tuple[str, ...]:
        if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
            raise ValueError
        if len(value) > self.max_items or len(set(value)) < len(value):
            raise ValueError
        if not all(name in TEXTURE_KINDS or (name.endswith(BANK_SUFFIX) and name.isprintable()) for name in value):
            raise ValueError
        return tuple(value)

    def json_schema(self) -> dict[str, Any]:
        path = {"type": "string", "pattern": "^[^\\u0000-\\u001f\\u007f]*" + BANK_SUFFIX.replace(".", "[.]") + "$"}
        items = {"anyOf": [{"enum": list(TEXTURE_KINDS)}, path]}
        return {"type": "array", "items": items, "maxItems": self.max_items, "uniqueItems": True}


#: Validator of lists of texture banks.
BANK_LIST = _BankList()


@dataclass(frozen=True)
class Fill:
    """Textures of the objects. Each textured object shows a crop of a texture, which moves with the object.

    Attributes:
        textures: texture banks: kinds of textures such as `statistical` or `stylegan-oriented` (`synvid textures --help` lists
            them), or paths of bank files. Each bank textures the same fraction of objects. Empty: all objects have solid
            colours.
        max_textures: number of textures to use from each bank, from its start.
        textured_fraction: fraction of the objects that have a texture; the others have solid colours.
        texture_size: width of a whole texture, as a fraction of the short side. A wider object shows its whole texture,
            enlarged.
        crop: `random`: anywhere in the texture. `top_left`: its upper left corner, as in the released code.
        sampling: `bilinear` or `nearest` interpolation of texels.
        additive_tint: add the object's random colour to its texture, clipped at 255.
    """

    textures: tuple[str, ...] = setting((), BANK_LIST)
    max_textures: int = setting(300_000, Number(1, 10**9, whole=True))
    textured_fraction: float = setting(1.0, Number(0, 1))
    texture_size: float = setting(2.0, Number(0.1, 20))
    crop: str = setting("random", OneOf(("random", "top_left")))
    sampling: str = setting("bilinear", OneOf(("bilinear", "nearest")))
    additive_tint: bool = setting(False, Boolean())


class _MixtureSource(Validator):
    """The source of a mixture's other clips: a preset, or real videos."""

    description = "the name of a preset without a mixture of its own, or real"

    def parse(self, value: object) -> Preset | str:
        if value in ("", REAL):
            return str(value)
        preset = value if isinstance(value, Preset) else self._load(value)
        if preset.mixture.source:
            raise ValueError
        return preset

    def _load(self, value: object) -> Preset:
        try:
            if isinstance(value, str):
                return load_preset(value)
            if isinstance(value, Mapping):
                mixture = value.get("mixture")
                if isinstance(mixture, Mapping) and mixture.get("source"):  # no recursion
                    raise ValueError
                return Preset.from_dict(value, "preset")
        except RecursionError:  # a file whose mixture is the file itself
            raise ValueError from None
        raise ValueError

    def json_schema(self) -> dict[str, Any]:
        text = {"type": "string"}
        sections = {name: {"$ref": f"#/$defs/{name}"} for name in Preset.sections() if name != "mixture"}
        unmixed = {"fraction": {"const": 0}, "source": {"const": ""}}
        mixture = {"type": "object", "properties": unmixed, "additionalProperties": False}
        properties = {"name": text, "description": text, **sections, "mixture": mixture}
        return {"anyOf": [text, {"type": "object", "properties": properties, "additionalProperties": False}]}


#: The mixture source that stands for clips of video files.
REAL = "real"


@dataclass(frozen=True)
class Mixture:
    """Replacement of a fraction of the clips. Clip i is replaced if floor((i + 1) fraction) > floor(i fraction).

    So exactly floor(n fraction) of the first n clips are replaced.

    Attributes:
        fraction: fraction of the clips that are replaced.
        source: the preset whose clips, of the same seed and index, replace them, rendered at this preset's frame size; or
            `real` for clips of video files.
    """

    fraction: float = setting(0.0, Number(0, 1))
    source: Preset | str = setting("", _MixtureSource())

    def rank(self, index: int) -> int:
        """The number of clips before clip `index` that are replaced."""
        return math.floor(index * Fraction(str(self.fraction))) if self.source else 0

    def replaces(self, index: int) -> bool:
        """Whether clip `index` is replaced."""
        return self.rank(index + 1) > self.rank(index)


@dataclass(frozen=True)
class Preset(Config):
    """A distribution of clips; a preset, a seed and an index identify one clip, bit for bit.

    Attributes:
        name: `moving_shapes`, `reference/moving_shapes`, or the stem of the user's file.
        description: one line of text.

    Examples:
        >>> from synvid import load_preset
        >>> preset = load_preset("moving_shapes")
        >>> preset.objects.shapes, preset.motion.speed_range
        (('circle', 'triangle', 'quadrilateral'), (1.2, 3.0))
        >>> preset.override({"objects.count": 200}).objects.count
        200
    """

    renamed: ClassVar[Mapping[str, str]] = {
        "transform.rigid_shapes": "transform.untransformed_shapes",
        "objects.radius_law": "objects.radius_distribution",
        "objects.whole_pixels": "objects.integer_positions",
        "fill.textured_share": "fill.textured_fraction",
        "fill.texture_side": "fill.texture_size",
        "fill.pool": "fill.max_textures",
        "fill.saturate": "fill.additive_tint",
        "mixture.share": "mixture.fraction",
    }

    video: Video = field(default_factory=Video)
    objects: Objects = field(default_factory=Objects)
    motion: Motion = field(default_factory=Motion)
    transform: Transform = field(default_factory=Transform)
    fill: Fill = field(default_factory=Fill)
    mixture: Mixture = field(default_factory=Mixture)

    def check(self, source: str) -> None:
        """Raise ConfigurationError if settings contradict each other; `source` is the file or option to name."""
        if self.video.background == "texture" and not self.fill.textures:
            raise ConfigurationError(
                f"{source}: video.background is 'texture'; fill.textures must name a texture bank for it."
            )
        if self.mixture.fraction > 0 and not self.mixture.source:
            raise ConfigurationError(
                f"{source}: mixture.fraction is {self.mixture.fraction:g}; mixture.source must name a preset, or real."
            )

    def digest(self) -> str:
        """SHA-256 of the settings, without name and description."""
        settings = {key: value for key, value in self.to_dict().items() if key in self.sections()}
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()

    def preset_for_clip(self, index: int) -> Preset | None:
        """The preset from which clip `index` is sampled: this one or the mixture's source; None for a real clip."""
        source = self.mixture.source
        if not self.mixture.replaces(index):
            return dataclasses.replace(self, mixture=Mixture()) if source else self
        if not isinstance(source, Preset):
            return None
        return dataclasses.replace(source, video=dataclasses.replace(self.video, background=source.video.background))

    def banks(self) -> list[str]:
        """Names and paths of all texture banks, those of the mixture's source included."""
        mixed = [self.mixture.source] if isinstance(self.mixture.source, Preset) else []
        return list(dict.fromkeys(name for preset in (self, *mixed) for name in preset.fill.textures))

    def with_banks(self, paths: Mapping[str, str]) -> Preset:
        """Return a copy in which texture banks are replaced.

        Args:
            paths: {name: path} of the banks to replace.

        Raises:
            ConfigurationError: a path does not end in .bank, or two banks have the same path.
        """
        named = tuple(paths.get(name, name) for name in self.fill.textures)
        try:
            fill = dataclasses.replace(self.fill, textures=BANK_LIST.parse(named))
        except ValueError:
            message = f"the banks of {self.name} are {short(list(named))}; give {BANK_LIST.description}."
            raise ConfigurationError(message) from None
        source = self.mixture.source
        mixed = source.with_banks(paths) if isinstance(source, Preset) else source
        return dataclasses.replace(self, fill=fill, mixture=dataclasses.replace(self.mixture, source=mixed))


# ---- Finding and loading -------------------------------------------------------------------------------------------
def list_presets() -> list[str]:
    """Names of the presets in the package: the paper's progression first, those of the released code last.

    Examples:
        >>> "moving_shapes" in list_presets()
        True
    """

    def order(name: str) -> tuple[bool, int, int, str]:
        word = name.rpartition("/")[2].partition("_")[0]
        group = 0 if word in ("static", "moving", "accelerating") else 1 if word == "slow" else 2
        return "/" in name, group, len(_REGISTRY.lineage(_FOLDER / f"{name}.yaml")), name

    return sorted(_REGISTRY.names(), key=order)


def load_preset(name_or_path: str | Path, overrides: Mapping[str, object] | None = None) -> Preset:
    """Load a preset by name, or from a YAML file.

    Args:
        name_or_path: one of `list_presets()`, or the path of a file ending in .yaml or .yml.
        overrides: settings to change, {"objects.count": 200}.

    Raises:
        ConfigurationError: no such preset or file, an unknown key, or a wrong value.

    Examples:
        >>> load_preset("moving_shapes", {"objects.count": 200}).objects.count
        200
    """
    preset = _REGISTRY.load(name_or_path)
    return preset if overrides is None else preset.override(overrides)


def _resolve_paths(settings: dict[str, Any], folder: Path) -> None:
    """Make the paths in a preset file, which are relative to its folder, absolute."""
    fill, mixture = settings.get("fill"), settings.get("mixture")
    if isinstance(fill, dict) and isinstance(fill.get("textures"), list):
        fill["textures"] = [_resolve_path(name, folder, (BANK_SUFFIX,)) for name in fill["textures"]]
    if isinstance(mixture, dict) and isinstance(mixture.get("source"), dict):
        _resolve_paths(mixture["source"], folder)
    elif isinstance(mixture, dict) and "source" in mixture:
        mixture["source"] = _resolve_path(mixture["source"], folder, (".yaml", ".yml"))


def _resolve_path(name: Any, folder: Path, suffixes: tuple[str, ...]) -> Any:
    return str(folder / expand_user(name)) if isinstance(name, str) and name.endswith(suffixes) else name


_REGISTRY = ConfigRegistry(Preset, "preset", _FOLDER, "synvid presets", _resolve_paths)
