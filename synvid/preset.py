"""Presets: a distribution of clips as data, loaded from YAML and checked to the last key."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import yaml

from synvid.errors import ConfigurationError
from synvid.kinds import Choice, Flag, Interval, Kind, Names, Number, Vector
from synvid.strict_yaml import load_yaml, read_yaml, short

__all__ = ["Motion", "Objects", "Preset", "Transform", "Video", "list_presets", "load_preset", "parse_override"]

_PACKAGE = Path(__file__).parent
#: In an installed package the presets lie inside it; in a checkout they stand beside it, where people see them.
_FOLDER = _PACKAGE / "presets" if (_PACKAGE / "presets").is_dir() else _PACKAGE.parent / "presets"

SHAPE_NAMES = ("circle", "triangle", "quadrilateral", "square", "oriented_square", "rectangle")

Pair = tuple[float, float]


def _setting(default: Any, kind: Kind) -> Any:
    return field(default=default, metadata={"kind": kind})


# ---- The preset ---------------------------------------------------------------------------------------------------
_FACTOR = Interval(Number(-0.5, 0.5))


@dataclass(frozen=True)
class Video:
    """The frame and the clip.

    Attributes:
        width, height: pixels.
        fps: frames per second.
        num_frames_range: length of a clip in frames.
        background: RGB, 0..255.
        antialias: average 4 x 4 samples a pixel instead of taking the one at its centre.
    """

    width: int = _setting(256, Number(16, 2048, whole=True))
    height: int = _setting(256, Number(16, 2048, whole=True))
    fps: float = _setting(25.0, Number(1, 1000))
    num_frames_range: tuple[int, int] = _setting((100, 200), Interval(Number(1, 10_000, whole=True)))
    background: tuple[int, int, int] = _setting((0, 0, 0), Vector(3, Number(0, 255, whole=True)))
    antialias: bool = _setting(False, Flag())


@dataclass(frozen=True)
class Objects:
    """What lies on the canvas. The short side of the frame is the unit of length.

    Attributes:
        count: objects in a clip.
        shapes: each object has one of these, uniformly.
        radius_law: `exponential`: the low end plus an exponential variable of mean `radius_scale`, capped at the high
            end. `power`: density r**-3 - high**-3 on 200 points of the range, as the released code has it.
        radius_range: smallest and largest radius, as fractions of the short side.
        radius_scale: of the exponential law, as a fraction of the short side.
        center_range: of the first frame's centre; 0 is the left (upper) edge of the frame, 1 the right (lower) one.
        polygon_offset: polygons lie this many radii to the right of and below their centre.
        whole_pixels: radii, centres and positions are rounded down to whole pixels.
    """

    count: int = _setting(500, Number(1, 100_000, whole=True))
    shapes: tuple[str, ...] = _setting(("circle",), Names(SHAPE_NAMES, least=1))
    radius_law: str = _setting("exponential", Choice(("exponential", "power")))
    radius_range: Pair = _setting((0.1, 1.0), Interval(Number(0.001, 10)))
    radius_scale: float = _setting(0.07, Number(0, 10))
    center_range: Pair = _setting((-0.5, 1.5), Interval(Number(-10, 10)))
    polygon_offset: float = _setting(0.0, Number(-10, 10))
    whole_pixels: bool = _setting(False, Flag())


@dataclass(frozen=True)
class Motion:
    """How centres move: p(t) = p(0) + (v t + a t**2 / 2) d, t in frames. An object whose speed turns negative comes back.

    Attributes:
        speed_range: v, pixels per frame.
        acceleration_range: a, pixels per frame**2, along the direction of motion.
        direction_range: of d, radians; 0 is to the right, pi/2 down.
    """

    speed_range: Pair = _setting((0.0, 0.0), Interval(Number(-1000, 1000)))
    acceleration_range: Pair = _setting((0.0, 0.0), Interval(Number(-100, 100)))
    direction_range: Pair = _setting((-math.pi, math.pi), Interval(Number(-2 * math.pi, 2 * math.pi)))


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
        rigid_shapes: shapes that are never transformed.
    """

    rotation_range: Pair = _setting((0.0, 0.0), Interval(Number(-2 * math.pi, 2 * math.pi)))
    scale_x_range: Pair = _setting((0.0, 0.0), _FACTOR)
    scale_y_range: Pair = _setting((0.0, 0.0), _FACTOR)
    shear_x_range: Pair = _setting((0.0, 0.0), _FACTOR)
    shear_y_range: Pair = _setting((0.0, 0.0), _FACTOR)
    composition: str = _setting("compound", Choice(("compound", "linear")))
    pivot: Pair = _setting((0.0, 0.0), Vector(2, Number(-10, 10)))
    rigid_shapes: tuple[str, ...] = _setting((), Names(SHAPE_NAMES))


@dataclass(frozen=True)
class Preset:
    """A distribution of clips: with a seed and an index it names one of them, bit for bit.

    Attributes:
        name: `moving_shapes`, `reference/moving_shapes`, or the stem of a file of your own.
        description: one line.
    """

    name: str = "custom"
    description: str = ""
    video: Video = field(default_factory=Video)
    objects: Objects = field(default_factory=Objects)
    motion: Motion = field(default_factory=Motion)
    transform: Transform = field(default_factory=Transform)

    SECTIONS: ClassVar[Mapping[str, type]] = {
        "video": Video,
        "objects": Objects,
        "motion": Motion,
        "transform": Transform,
    }

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any], source: str = "preset") -> Preset:
        """Build a preset from nested mappings; keys that are absent keep their defaults.

        Args:
            settings: {"objects": {"count": 200}, ...}.
            source: what an error names as the place, a file or an option.

        Raises:
            ConfigurationError: an unknown key, or a value of the wrong kind.
        """
        known = ["name", "description", *cls.SECTIONS]
        for key in settings:
            _require_known(key, known, source)
        parts: dict[str, Any] = {}
        for key in ("name", "description"):
            text = settings.get(key, "")
            if not isinstance(text, str) or not text.isprintable():
                raise ConfigurationError(f"{source}: {key} is {short(text)}; it must be text of one line.")
            if text:
                parts[key] = text
        for key, section in cls.SECTIONS.items():
            parts[key] = _build_section(section, key, settings.get(key, {}), source)
        return cls(**parts)

    def to_dict(self) -> dict[str, Any]:
        """All settings as plain lists, numbers and text; `from_dict` gives the preset back."""
        return json.loads(json.dumps(dataclasses.asdict(self)))  # type: ignore[no-any-return]  # tuples become lists

    def to_yaml(self) -> str:
        """All settings as a YAML document that `load_preset` reads."""
        return yaml.dump(self.to_dict(), sort_keys=False, default_flow_style=None, width=100)

    def digest(self) -> str:
        """SHA-256 of the settings; name and description do not count."""
        settings = {key: value for key, value in self.to_dict().items() if key in self.SECTIONS}
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()

    def override(self, overrides: Mapping[str, object], source: str = "override") -> Preset:
        """The preset with some settings changed, {"objects.count": 200}.

        Raises:
            ConfigurationError: an unknown key, or a value of the wrong kind.
        """
        settings = self.to_dict()
        leaves = [f"{section}.{item.name}" for section, part in self.SECTIONS.items() for item in dataclasses.fields(part)]
        for key, value in overrides.items():
            _require_known(key, leaves, source)
            section, _, leaf = key.partition(".")
            settings[section][leaf] = value
        return Preset.from_dict(settings, source)


def _require_known(key: object, known: Iterable[str], source: str) -> None:
    known = list(known)
    if key in known:
        return
    near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
    if not near:  # `count` for `objects.count`
        near = [name for name in known if name.rpartition(".")[2] == key][:1]
    advice = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}."
    raise ConfigurationError(f"{source}: unknown key {str(key)[:80]!r}; {advice}")


def _build_section(section: type, key: str, settings: object, source: str) -> Any:
    if not isinstance(settings, Mapping):
        raise ConfigurationError(f"{source}: {key} is {short(settings)}; it must be a mapping of settings.")
    kinds: dict[str, Kind] = {item.name: item.metadata["kind"] for item in dataclasses.fields(section)}
    values = {}
    for name, value in settings.items():
        _require_known(f"{key}.{name}", [f"{key}.{known}" for known in kinds], source)
        try:
            values[name] = kinds[name].parse(value)
        except ValueError:
            words = kinds[name].words
            raise ConfigurationError(f"{source}: {key}.{name} is {short(value)}; it must be {words}.") from None
    return section(**values)


# ---- Finding and loading -------------------------------------------------------------------------------------------
def list_presets() -> list[str]:
    """Names of all presets that come with synvid: the paper's progression first, the released code's last.

    >>> "moving_shapes" in list_presets()
    True
    """

    def order(name: str) -> tuple[bool, bool, int, str]:
        return "/" in name, "slow_" in name, len(_lineage(_FOLDER / f"{name}.yaml")), name

    names = [path.relative_to(_FOLDER).with_suffix("").as_posix() for path in _FOLDER.rglob("*.yaml")]
    return sorted(names, key=order)


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
    path = _locate(str(name_or_path), Path())
    merged: dict[str, Any] = {"name": _name_of(path)}
    for ancestor in reversed(_lineage(path)):
        settings = read_yaml(ancestor)
        settings.pop("extends", None)
        if ancestor != path:
            settings.pop("name", None)
        Preset.from_dict(settings, str(ancestor))  # so that an error names the file that holds the key
        for key, value in settings.items():
            merged[key] = {**merged.get(key, {}), **value} if isinstance(value, dict) else value
    preset = Preset.from_dict(merged, str(path))
    return preset.override(overrides) if overrides else preset


def parse_override(text: str) -> tuple[str, object]:
    """Split `objects.count=200` into key and value; the value is YAML.

    Raises:
        ConfigurationError: there is no `=`, or the value is no YAML.
    """
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ConfigurationError(f"--set {text!r}: write it as KEY=VALUE, for example objects.count=200.")
    return key.strip(), load_yaml(value, f"--set {text!r}")


def _name_of(path: Path) -> str:
    if path.is_relative_to(_FOLDER):
        return path.relative_to(_FOLDER).with_suffix("").as_posix()
    return path.stem


def _locate(name: str, base: Path) -> Path:
    """The file of a preset; paths are relative to `base`."""
    if name.endswith((".yaml", ".yml")):
        try:
            path = base / Path(name).expanduser()
            if path.is_file():
                return path.resolve()
        except (OSError, RuntimeError):  # a name too long, or of a user who is not there
            path = base / name
        raise ConfigurationError(f"{short(str(path))[1:-1]}: no such preset file.")
    names = [path.relative_to(_FOLDER).with_suffix("").as_posix() for path in _FOLDER.rglob("*.yaml")]
    if name in names:
        return (_FOLDER / f"{name}.yaml").resolve()
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
    advice = f"did you mean {near[0]!r}? " if near else ""
    raise ConfigurationError(f"no preset {name[:80]!r}; {advice}`synvid presets` lists them, a file ends in .yaml.")


def _lineage(path: Path) -> list[Path]:
    """The file and all that it extends, nearest first."""
    chain = [path]
    while True:
        parent = read_yaml(chain[-1]).get("extends")
        if parent is None:
            return chain
        if not isinstance(parent, str):
            raise ConfigurationError(f"{chain[-1]}: extends is {short(parent)}; it must be the name of one preset.")
        try:
            located = _locate(parent, chain[-1].parent)
        except ConfigurationError as error:
            raise ConfigurationError(f"{chain[-1]}: extends {parent!r}: {error}") from None
        if located in chain:
            raise ConfigurationError(f"{chain[-1]}: extends {parent!r}, which extends it in turn.")
        chain.append(located)
