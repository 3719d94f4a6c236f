"""Metrics of datasets, and the JSON file that stores them: {"format": "synvid-metrics", "version": 1, "datasets": [...]}.

docs/analysis.md describes every key. Other programs may add properties of their own; each is shown under its label.
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


FORMAT, VERSION = "synvid-metrics", 1

#: Kinds of datasets: a rendered set, a preset rendered on the fly, a folder of videos, a folder of images.
KINDS = ("dataset", "preset", "videos", "images")

_TYPE_NAMES = {dict: "a mapping", list: "a list", str: "text", int: "a whole number"}


@dataclass(frozen=True)
class Property:
    """One measured property of a dataset.

    Attributes:
        label: name shown in tables and charts.
        unit: unit of the value and its interval; empty for a pure number.
        value: None where there is no value; `why` then tells the reason.
        ci95: 95 % interval over clips; None where there is none.
        why: reason for a missing value.
        details: further results as plain JSON: the points of a spectrum, a covariance, a histogram.
    """

    label: str
    unit: str
    value: float | None
    ci95: tuple[float, float] | None = None
    why: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_estimate(cls, label: str, unit: str, estimate: Estimate, why: str = "", **details: Any) -> Property:
        """Create a property from an estimate; `why` is kept only if the estimate has no value."""
        return cls(label, unit, estimate.value, estimate.ci95, why if estimate.value is None else "", details)


@dataclass(frozen=True)
class Sample:
    """A sample clip or image.

    Attributes:
        type: media type, `video/mp4` or `image/jpeg`.
        data: the file in base 64.
        caption: which clip or image it is.
    """

    type: str
    data: str
    caption: str


@dataclass(frozen=True)
class DatasetMetrics:
    """All metrics of one dataset.

    Attributes:
        name: joins the dataset with accuracies and with other metrics files.
        kind: one of `KINDS`.
        source: the path or preset that was measured.
        clips: number of clips that were measured.
        preset: name of the preset it was rendered from, if any; accuracies may be given for it instead.
        settings: settings of the measurement.
        properties: {key: property}.
        notes: remarks for the reader, for example on unreadable files.
        samples: sample clips.
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
    """Return the key of a distance to a reference dataset; each reference has its own key.

    Examples:
        >>> distance_key("color_distance", "UCF-101 (train)")
        'color_distance_to_ucf_101_train'
    """
    return f"{key}_to_{re.sub('[^a-z0-9]+', '_', reference.lower()).strip('_')}"


def to_json(results: Iterable[DatasetMetrics], *, samples: bool = True) -> str:
    """Return the text of a metrics file.

    Args:
        results: metrics of the datasets.
        samples: whether to include the sample clips, which take up most of the file.
    """
    datasets = [asdict(metrics if samples else replace(metrics, samples=())) for metrics in results]
    return json.dumps({"format": FORMAT, "version": VERSION, "datasets": datasets}, allow_nan=False) + "\n"


def load_metrics(path: Path) -> list[DatasetMetrics]:
    """Read a metrics file.

    Raises:
        ConfigurationError: the file is missing or malformed.
    """
    invalid = f"{path}: is not a metrics file; `synvid stats --out FILE.json` writes one"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}.") from None
    except (ValueError, RecursionError):
        raise ConfigurationError(f"{invalid}.") from None
    if isinstance(content, dict) and content.get("format") == "synvid-measures":
        raise ConfigurationError(f"{path}: was written by an older synvid; measure again, `synvid stats --out {path.name}`.")
    if not isinstance(content, dict) or content.get("format") != FORMAT or not isinstance(content.get("datasets"), list):
        raise ConfigurationError(f"{invalid}.")
    if content.get("version") != VERSION:
        raise ConfigurationError(
            f"{path}: has version {content.get('version')!r} of the format; this version of synvid reads {VERSION}."
        )
    if not content["datasets"]:
        raise ConfigurationError(f"{path}: contains no dataset.")
    results = []
    for number, item in enumerate(content["datasets"]):
        try:
            results.append(_parse_dataset(item))
        except (ValueError, KeyError, TypeError) as error:
            problem = f"{error} is missing" if isinstance(error, KeyError) else error
            raise ConfigurationError(f"{invalid}: in dataset {number}, {problem}.") from None
    return results


def _parse_dataset(item: Any) -> DatasetMetrics:
    _require("the dataset", item, dict)
    kind = _require("kind", item["kind"], str)
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}, not one of {', '.join(KINDS)}")
    notes, samples = _require("notes", item.get("notes", []), list), _require("samples", item.get("samples", []), list)
    properties = _require("properties", item["properties"], dict)
    return DatasetMetrics(
        name=_require("name", item["name"], str),
        kind=kind,
        source=_require("source", item["source"], str),
        clips=_require("clips", item["clips"], int),
        preset=None if item.get("preset") is None else _require("preset", item["preset"], str),
        settings=_require("settings", item.get("settings", {}), dict),
        properties={key: _parse_property(key, value) for key, value in properties.items()},
        notes=[_require("notes", note, str) for note in notes],
        samples=[
            Sample(*(_require(f"samples.{key}", sample[key], str) for key in ("type", "data", "caption")))
            for sample in samples
        ],
    )


def _parse_property(key: str, item: Any) -> Property:
    _require(key, item, dict)
    value, ends = item["value"], item.get("ci95")
    if ends is not None:
        low, high = (_require_number(f"{key}.ci95", end) for end in _require(f"{key}.ci95", ends, list))
        ends = low, high
    return Property(
        label=_require(f"{key}.label", item.get("label", key), str),
        unit=_require(f"{key}.unit", item.get("unit", ""), str),
        value=None if value is None else _require_number(f"{key}.value", value),
        ci95=ends,
        why=_require(f"{key}.why", item.get("why", ""), str),
        details=_require(f"{key}.details", item.get("details", {}), dict),
    )


def _require(name: str, value: Any, required: type) -> Any:
    if not isinstance(value, required) or isinstance(value, bool):
        raise ValueError(f"{name} is {str(value)[:60]!r}, not {_TYPE_NAMES[required]}")
    return value


def _require_number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} is {str(value)[:60]!r}, not a finite number")
    return float(value)


def merge_metrics(files: Mapping[str, Sequence[DatasetMetrics]]) -> list[DatasetMetrics]:
    """Merge the metrics of several files by the names of the datasets.

    Args:
        files: {path: contents of the file}.

    Returns:
        The datasets in order of first occurrence, each with the properties of all files.

    Raises:
        ConfigurationError: two files have different values of a property of the same dataset.
    """
    merged: dict[str, DatasetMetrics] = {}
    origin: dict[tuple[str, str], str] = {}
    for path, results in files.items():
        for metrics in results:
            earlier = merged.get(metrics.name)
            if earlier is None:
                merged[metrics.name] = metrics
                origin |= {(metrics.name, key): path for key in metrics.properties}
                continue
            for key, item in metrics.properties.items():
                same = earlier.properties.get(key)
                if same is not None and same.value != item.value:
                    raise ConfigurationError(
                        f"{path} and {origin[metrics.name, key]}: {key} of {metrics.name} is {item.value} in the first file "
                        f"and {same.value} in the second; leave one file out, or rename a dataset by `synvid stats NAME=PATH`."
                    )
                origin.setdefault((metrics.name, key), path)
            merged[metrics.name] = replace(
                earlier,
                preset=earlier.preset or metrics.preset,
                properties={**earlier.properties, **metrics.properties},
                notes=list(dict.fromkeys([*earlier.notes, *metrics.notes])),
                samples=earlier.samples or metrics.samples,
            )
    return list(merged.values())
