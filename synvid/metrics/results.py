"""What measuring a dataset gives, and the file it is kept in: {"format": "synvid-measures", "version": 1, "datasets": [...]}.

docs/analysis.md describes every key. Other programs may add properties: what reads the file shows each by its label.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from synvid.errors import ConfigurationError
from synvid.metrics.bootstrap import Estimate

__all__ = [
    "FORMAT",
    "KINDS",
    "VERSION",
    "DatasetMetrics",
    "Property",
    "Sample",
    "distance_key",
    "load_metrics",
    "merge_metrics",
    "to_json",
]


FORMAT, VERSION = "synvid-measures", 1

#: What a dataset may be: a rendered set, a preset rendered on the fly, a folder of videos, of pictures.
KINDS = ("dataset", "preset", "videos", "images")


@dataclass(frozen=True)
class Property:
    """One number that says something of a dataset.

    Attributes:
        label: what a table calls it.
        unit: of the value and its interval; empty where it has none.
        value: None where there is none, and then `why` says so.
        ci95: its interval over clips; None where it cannot be told.
        why: one sentence in place of a value.
        details: what else is known: the points of a spectrum, a covariance, a histogram. Plain JSON.
    """

    label: str
    unit: str
    value: float | None
    ci95: tuple[float, float] | None = None
    why: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, label: str, unit: str, estimate: Estimate, why: str = "", **details: Any) -> Property:
        """A property with the value of an estimate, or with the sentence that says why it has none."""
        missing = estimate.value is None
        return cls(label, unit, estimate.value, estimate.ci95, why if missing else "", details)


@dataclass(frozen=True)
class Sample:
    """A clip or picture to look at.

    Attributes:
        type: `video/mp4` or `image/jpeg`.
        data: the file, in base 64.
        caption: which one it is.
    """

    type: str
    data: str
    caption: str


@dataclass(frozen=True)
class DatasetMetrics:
    """All that was measured of one dataset.

    Attributes:
        name: by which it is joined with accuracies and with other files.
        kind: one of `KINDS`.
        source: the path or preset that was measured.
        clips: how many were measured.
        preset: name of the preset it was rendered from, if any; accuracies may go by it, too.
        settings: how it was measured.
        properties: {key: property}.
        notes: sentences a reader should know, of files that could not be read for instance.
        samples: some clips.
    """

    name: str
    kind: str
    source: str
    clips: int
    preset: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    properties: Mapping[str, Property] = field(default_factory=dict)
    notes: Sequence[str] = ()
    samples: Sequence[Sample] = ()


def distance_key(key: str, reference: str) -> str:
    """The key of a property that is a distance: those to another reference are another property.

    >>> key_to("color_distance", "UCF-101 (train)")
    'color_distance_to_ucf_101_train'
    """
    return f"{key}_to_{re.sub('[^a-z0-9]+', '_', reference.lower()).strip('_')}"


def to_json(records: Iterable[DatasetMetrics], *, samples: bool = True) -> str:
    """The text of a file of measures.

    Args:
        records: of the datasets.
        samples: with the clips to look at, which are most of the file.
    """
    datasets = [asdict(record if samples else replace(record, samples=())) for record in records]
    return json.dumps({"format": FORMAT, "version": VERSION, "datasets": datasets}, allow_nan=False) + "\n"


def load_metrics(path: Path) -> list[DatasetMetrics]:
    """Read a file of measures.

    Raises:
        ConfigurationError: there is no such file, or it is not as `to_json` writes it.
    """
    foreign = f"{path}: is no file of measures; `synvid stats --out FILE.json` writes one"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}.") from None
    except (ValueError, RecursionError):
        raise ConfigurationError(f"{foreign}.") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT or not isinstance(content.get("datasets"), list):
        raise ConfigurationError(f"{foreign}.")
    if content.get("version") != VERSION:
        raise ConfigurationError(f"{path}: has version {content.get('version')!r} of the format; this synvid reads {VERSION}.")
    if not content["datasets"]:
        raise ConfigurationError(f"{path}: holds no dataset.")
    records = []
    for number, one in enumerate(content["datasets"]):
        try:
            records.append(_record(one))
        except (ValueError, KeyError, TypeError) as error:
            problem = f"{error} is missing" if isinstance(error, KeyError) else error
            raise ConfigurationError(f"{foreign}: in its dataset {number}, {problem}.") from None
    return records


def _record(one: Any) -> DatasetMetrics:
    _need("the dataset", one, dict)
    kind = _need("kind", one["kind"], str)
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}, not one of {', '.join(KINDS)}")
    notes, samples = _need("notes", one.get("notes", []), list), _need("samples", one.get("samples", []), list)
    parts = _need("properties", one["properties"], dict)
    return DatasetMetrics(
        name=_need("name", one["name"], str),
        kind=kind,
        source=_need("source", one["source"], str),
        clips=_need("clips", one["clips"], int),
        preset=None if one.get("preset") is None else _need("preset", one["preset"], str),
        settings=_need("settings", one.get("settings", {}), dict),
        properties={key: _property(key, part) for key, part in parts.items()},
        notes=[_need("notes", note, str) for note in notes],
        samples=[
            Sample(*(_need(f"samples.{key}", sample[key], str) for key in ("type", "data", "caption"))) for sample in samples
        ],
    )


def _property(key: str, part: Any) -> Property:
    _need(key, part, dict)
    value, ends = part["value"], part.get("ci95")
    if ends is not None:
        low, high = (_number(f"{key}.ci95", end) for end in _need(f"{key}.ci95", ends, list))
        ends = low, high
    return Property(
        label=_need(f"{key}.label", part.get("label", key), str),
        unit=_need(f"{key}.unit", part.get("unit", ""), str),
        value=None if value is None else _number(f"{key}.value", value),
        ci95=ends,
        why=_need(f"{key}.why", part.get("why", ""), str),
        details=_need(f"{key}.details", part.get("details", {}), dict),
    )


def _need(name: str, value: Any, kind: type) -> Any:
    if not isinstance(value, kind) or isinstance(value, bool):
        words = {dict: "a mapping", list: "a list", str: "text", int: "a whole number"}
        raise ValueError(f"{name} is {str(value)[:60]!r}, not {words[kind]}")
    return value


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} is {str(value)[:60]!r}, not a finite number")
    return float(value)


def merge_metrics(files: Mapping[str, Sequence[DatasetMetrics]]) -> list[DatasetMetrics]:
    """Join what several files say of the same dataset, by name.

    Args:
        files: {path: what it holds}.

    Returns:
        The datasets in the order in which they first come, each with the properties of all files.

    Raises:
        ConfigurationError: two files have different values of one property.
    """
    joined: dict[str, DatasetMetrics] = {}
    first: dict[tuple[str, str], str] = {}
    for path, records in files.items():
        for record in records:
            known = joined.get(record.name)
            if known is None:
                joined[record.name] = record
                first |= {(record.name, key): path for key in record.properties}
                continue
            for key, one in record.properties.items():
                other = known.properties.get(key)
                if other is not None and other.value != one.value:
                    raise ConfigurationError(
                        f"{path} and {first[record.name, key]}: {key} of {record.name} is {one.value} here and {other.value} "
                        "there; leave one file out, or give the datasets names of their own by `synvid stats NAME=PATH`."
                    )
                first.setdefault((record.name, key), path)
            joined[record.name] = replace(
                known,
                preset=known.preset or record.preset,
                properties={**known.properties, **record.properties},
                notes=list(dict.fromkeys([*known.notes, *record.notes])),
                samples=known.samples or record.samples,
            )
    return list(joined.values())
