"""The page that `synvid report` writes: one self-contained HTML file with a table, charts and sample clips.

The functions here prepare what the Jinja2 template page.html shows; the template escapes every text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from synvid.formatting import format_count, format_number
from synvid.metrics.accuracy import PAPER, Accuracies, Correlation, correlate
from synvid.metrics.results import DatasetMetrics, Property, Sample
from synvid.report import plots
from synvid.report.style import dataset_color, to_svg
from synvid.templates import load_template
from synvid.version import __version__

__all__ = ["render_report"]


_SAMPLE_TYPES = ("video/mp4", "image/jpeg")

#: Definitions of the properties that `synvid stats` measures; those of other programs have theirs in details["definition"].
_DEFINITIONS = {
    "Spectrum exponent": "alpha of A / |f|^alpha, fitted to the amplitude spectrum of luma: central square, mean removed, "
    "Hann window, |F| averaged over orientations in quarter octaves, over frames and clips; least squares of logarithms from "
    "4 cycles per image to 1/4 cycle per pixel. The exponent of the power is twice as large.",
    "Colour spread, lightness": "of the Gaussian of all pixels in CIE L*a*b* (D65): geometric mean of its three standard "
    "deviations; mean of L*.",
    "Colour distance": "KL(p|q) + KL(q|p) of the two Gaussians, in nats, with its bias removed by the jackknife. The "
    "reference is taken as exact.",
    "Black pixels": "fraction of pixels with no channel above 8 of 255.",
    "Frame difference, changing pixels": "mean absolute difference of the luma of consecutive frames; fraction of pixels "
    "that differ by more than 10 grey levels.",
    "Object speed, object acceleration": "of objects with a visible pixel: how far their origin moves to the next frame, and "
    "the change of their velocity in the following frame. From the scene, not estimated.",
    "Optical flow": "mean length of the exact flow over all pixels; background pixels count as 0.",
    "Occlusion rate, leaving rate": "fraction of the objects' pixels that move behind a nearer object, or out of the frame, "
    "within one frame.",
    "Background": "fraction of pixels that no object covers.",
    "Intervals": "95 % over clips, by BCa bootstrap with 1,000 resamples; of colour spread and distance by the jackknife. "
    "None below 20 clips. Intervals of correlations by Fisher's z transform over datasets.",
}


@dataclass(frozen=True)
class _ReportDataset:
    """A dataset on the page.

    Attributes:
        index: its position, which decides its colour and CSS class.
        color: #rrggbb.
        metrics: its metrics.
    """

    index: int
    color: str
    metrics: DatasetMetrics

    @property
    def name(self) -> str:
        return self.metrics.name


@dataclass(frozen=True)
class _Column:
    label: str
    unit: str


@dataclass(frozen=True)
class _Cell:
    """A cell of the table.

    Attributes:
        value: sort key of the column; None for a missing value.
        text: the value as text.
        interval: its 95 % interval as text.
        bar: length of the bar below it, per cent of the column's width; None for no bar.
        why: the reason for a missing value, shown as a tooltip.
    """

    value: float | None
    text: str = ""
    interval: str = ""
    bar: str | None = None
    why: str = ""


@dataclass(frozen=True)
class _Row:
    dataset: _ReportDataset
    source: str
    clips: int
    cells: Sequence[_Cell]


@dataclass(frozen=True)
class _Chart:
    svg: Markup
    label: str
    correlation: str


def render_report(results: Sequence[DatasetMetrics], accuracies: Accuracies, title: str = "Datasets compared") -> str:
    """Return the HTML page that compares datasets.

    Args:
        results: metrics of the datasets, in the order of the page.
        accuracies: accuracies to correlate the properties with.
        title: title of the page.

    Raises:
        ConfigurationError: matplotlib is not installed.
    """
    datasets = [_ReportDataset(k, dataset_color(k), metrics) for k, metrics in enumerate(results)]
    sections = {
        "table": _table(datasets, accuracies),
        "accuracy": _accuracy(datasets, accuracies),
        "spectrum": _spectrum(datasets),
        "colour": _colour(datasets),
        "motion": _motion(datasets),
        "clips": _clips(datasets),
        "method": _method(results),
    }
    return load_template(Path(__file__).with_name("page.html")).render(
        title=title, summary=_summary(results), datasets=datasets, sections=sections, version=__version__
    )


def _summary(results: Sequence[DatasetMetrics]) -> str:
    clips = sum(metrics.clips for metrics in results if metrics.kind != "images")
    images = sum(metrics.clips for metrics in results if metrics.kind == "images")
    counts = [format_count(len(results), "dataset")]
    counts += [format_count(clips, "clip")] if clips else []
    counts += [format_count(images, "image")] if images else []
    return ", ".join(counts)


def _property_keys(datasets: Sequence[_ReportDataset]) -> list[str]:
    """Keys of all properties, in the order in which they first occur."""
    return list(dict.fromkeys(key for dataset in datasets for key in dataset.metrics.properties))


def _names(datasets: Sequence[_ReportDataset]) -> list[str]:
    return [dataset.name for dataset in datasets]


def _indexed(datasets: Sequence[_ReportDataset]) -> plots.IndexedMetrics:
    return [(dataset.index, dataset.metrics) for dataset in datasets]


# ---- Table ---------------------------------------------------------------------------------------------------------
def _table(datasets: Sequence[_ReportDataset], accuracies: Accuracies) -> dict[str, Any]:
    keys = _property_keys(datasets)
    names = [
        name for name in accuracies.columns if any(accuracies.get(dataset.metrics, name) is not None for dataset in datasets)
    ]
    by_key = {key: [dataset.metrics.properties.get(key) for dataset in datasets] for key in keys}
    first = {key: next(item for item in items if item is not None) for key, items in by_key.items()}
    max_values = {key: max(abs(item.value or 0) if item else 0 for item in items) for key, items in by_key.items()}
    columns = [_Column(first[key].label, first[key].unit) for key in keys]
    columns += [_Column(name, "accuracy, %") for name in names]
    rows = []
    for dataset in datasets:
        metrics = dataset.metrics
        cells = [_property_cell(metrics.properties.get(key), max_values[key]) for key in keys]
        cells += [_accuracy_cell(accuracies.get(metrics, name)) for name in names]
        rows.append(_Row(dataset, f"{metrics.kind}: {metrics.source}", metrics.clips, cells))
    return {"columns": columns, "rows": rows}


def _property_cell(item: Property | None, max_value: float) -> _Cell:
    if item is None or item.value is None:
        return _Cell(None, why="not measured" if item is None else item.why)
    interval = "" if item.ci95 is None else f"{format_number(item.ci95[0])} to {format_number(item.ci95[1])}"
    bar = f"{100 * abs(item.value) / max_value:.1f}" if max_value else None
    return _Cell(item.value, format_number(item.value), interval, bar)


def _accuracy_cell(accuracy: float | None) -> _Cell:
    return _Cell(accuracy, "" if accuracy is None else f"{accuracy:.1f}")


# ---- Accuracy ------------------------------------------------------------------------------------------------------
def _accuracy(datasets: Sequence[_ReportDataset], accuracies: Accuracies) -> dict[str, Any]:
    panels = {column: _charts(datasets, accuracies, column) for column in accuracies.columns}
    names = list(dict.fromkeys(name for column in accuracies.columns.values() for name in column))
    return {
        "panels": {column: charts for column, charts in panels.items() if charts},
        "source": "as the paper reports it (ViT-B)" if accuracies.path == PAPER else f"from {accuracies.path.name}",
        "file": accuracies.path.name,
        "names": ", ".join(names[:3]),
    }


def _charts(datasets: Sequence[_ReportDataset], accuracies: Accuracies, column: str) -> list[_Chart]:
    """Charts of each property against an accuracy, where at least three datasets have both."""
    charts = []
    for key in _property_keys(datasets):
        shown, properties, values = [], [], []
        for dataset in datasets:
            accuracy, item = accuracies.get(dataset.metrics, column), dataset.metrics.properties.get(key)
            if accuracy is not None and item is not None and item.value is not None:
                shown.append(dataset)
                properties.append(item)
                values.append(accuracy)
        if len(shown) >= 3:
            correlation = correlate([item.value for item in properties if item.value is not None], values)
            figure = plots.plot_accuracy(_indexed(shown), properties, values, f"{column}, %", correlation)
            text = _describe_correlation(correlation, len(shown))
            charts.append(_Chart(to_svg(figure, _names(datasets)), properties[0].label, text))
    return charts


def _describe_correlation(correlation: Correlation | None, count: int) -> str:
    if correlation is None:
        return f"the same for all {count}: no correlation"
    ends = correlation.ci95
    interval = "" if ends is None else f" ({_format_signed(ends[0])} to {_format_signed(ends[1])})"
    pearson, spearman = _format_signed(correlation.pearson), _format_signed(correlation.spearman)
    return f"r = {pearson}{interval}, ρ = {spearman}, n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{correlation.n}"


def _format_signed(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "−")  # a minus sign, and none before zero


# ---- Spectrum, colour, motion, clips, method -----------------------------------------------------------------------
def _has_detail(datasets: Sequence[_ReportDataset], key: str, detail: str) -> bool:
    properties = [dataset.metrics.properties.get(key) for dataset in datasets]
    return any(item is not None and detail in item.details for item in properties)


def _spectrum(datasets: Sequence[_ReportDataset]) -> Markup | None:
    if not _has_detail(datasets, "spectrum_exponent", "amplitude"):
        return None
    return to_svg(plots.plot_spectra(_indexed(datasets)), _names(datasets))


def _colour(datasets: Sequence[_ReportDataset]) -> Markup | None:
    if not _has_detail(datasets, "color_spread", "covariance"):
        return None
    return to_svg(plots.plot_colors(_indexed(datasets)), _names(datasets))


def _motion(datasets: Sequence[_ReportDataset]) -> list[Markup]:
    indexed = _indexed(datasets)
    figures = [
        plots.plot_over_time(indexed, "black_fraction", "Black pixels", "fraction"),
        plots.plot_over_time(indexed, "background_fraction", "Background", "fraction"),
        plots.plot_over_time(indexed, "visible_objects", "Visible objects", "per frame"),
        plots.plot_speed_histogram(indexed),
    ]
    return [to_svg(figure, _names(datasets)) for figure in figures if figure is not None]


def _clips(datasets: Sequence[_ReportDataset]) -> list[tuple[_ReportDataset, list[Sample]]]:
    """Each dataset with the samples that a page can play; datasets without any are left out."""
    playable = [
        (dataset, [sample for sample in dataset.metrics.samples if sample.type in _SAMPLE_TYPES]) for dataset in datasets
    ]
    return [(dataset, samples) for dataset, samples in playable if samples]


def _method(results: Sequence[DatasetMetrics]) -> Mapping[str, Any]:
    definitions = dict(_DEFINITIONS)
    for item in (item for metrics in results for item in metrics.properties.values()):
        if "definition" in item.details:
            definitions.setdefault(item.label, str(item.details["definition"]))
    return {
        "notes": [(metrics.name, note) for metrics in results for note in metrics.notes],
        "settings": sorted({_describe_settings(metrics) for metrics in results if metrics.settings}),
        "definitions": definitions,
    }


def _describe_settings(metrics: DatasetMetrics) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in metrics.settings.items())
