"""Charts of metrics, by Matplotlib. Each function returns a figure, which `style.save_plot` and `style.to_svg` write."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synvid.metrics.accuracy import Correlation
from synvid.metrics.results import DatasetMetrics, Property
from synvid.report.style import dataset_color, escape_dollars, figure_style, line_style, marker

__all__ = [
    "IndexedMetrics",
    "plot_accuracy",
    "plot_colors",
    "plot_over_time",
    "plot_overview",
    "plot_spectra",
    "plot_speed_histogram",
]


#: Datasets with their positions on the page, which decide their colours and CSS classes.
IndexedMetrics = Sequence[tuple[int, DatasetMetrics]]


def _detail(item: Property | None, *keys: str) -> NDArray[np.float64]:
    """Return numbers from the details of a property; empty where they are missing or not all finite numbers."""
    value: Any = {} if item is None else item.details
    try:
        for key in keys:
            value = value[key]
        numbers = np.atleast_1d(np.array(value, np.float64))
    except (KeyError, ValueError, TypeError):
        return np.empty(0)
    return numbers if np.isfinite(numbers).all() else np.empty(0)


# ---- Spectrum ------------------------------------------------------------------------------------------------------
def plot_spectra(indexed: IndexedMetrics) -> Any:
    """Plot mean amplitude spectra with the fitted lines A / f**alpha, and the exponents with their intervals."""
    with figure_style() as figure_class:
        figure = figure_class(figsize=(10.4, max(4.2, 1.2 + 0.19 * len(indexed))), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1.25, 1.0))
        _draw_spectra(left, indexed)
        _draw_exponents(right, indexed)
        return figure


def _draw_spectra(axes: Any, indexed: IndexedMetrics) -> None:
    axes.set(xscale="log", yscale="log", xlabel="spatial frequency f, cycles per pixel", ylabel="amplitude, grey levels")
    axes.set_title("Amplitude spectrum, and the fit of A / f$^α$")
    for index, metrics in indexed:
        item = _exponent(metrics)
        frequency, amplitude, ends, a = (_detail(item, key) for key in ("frequency", "amplitude", "fit_range", "a"))
        if item is None or item.value is None or not a.size or not ends.size or frequency.shape != amplitude.shape:
            continue
        color = dataset_color(index)
        axes.plot(frequency, amplitude, marker(index), color=color, ms=3.2, alpha=0.55, mew=0, gid=f"ds-{index}-points")
        line = a * ends**-item.value
        label = f"{escape_dollars(metrics.name)}   α = {item.value:.2f}"
        axes.plot(ends, line, ls=line_style(index), color=color, label=label, gid=f"ds-{index}-line")
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    axes.yaxis.set_major_formatter(lambda y, _: f"{y:g}")


def _draw_exponents(axes: Any, indexed: IndexedMetrics) -> None:
    """Draw one row per dataset over the bands of natural images and of the paper's best datasets."""
    axes.set_title("Exponent α")
    axes.axvspan(0.5, 2.0, color="#f1f3f6", lw=0, zorder=0)
    axes.axvspan(1.2, 1.4, color="#d5e5dd", lw=0, zorder=0)
    rows = [(k, escape_dollars(metrics.name), item) for k, metrics in indexed if (item := _exponent(metrics)) is not None]
    for row, (index, _, item) in enumerate(rows):
        color = dataset_color(index)
        if item.ci95 is not None:
            axes.plot(item.ci95, [row, row], color=color, alpha=0.6, gid=f"ds-{index}-interval")
        axes.plot(item.value, row, marker(index), color=color, ms=5.5, mec="white", mew=0.7, gid=f"ds-{index}-point")
    axes.set_yticks(range(len(rows)), [f"{name}  {index + 1}" for index, name, _ in rows])
    axes.set(ylim=(len(rows) - 0.4, -0.6), xlabel="grey: natural; green: the paper's best")
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)


def _exponent(metrics: DatasetMetrics) -> Property | None:
    item = metrics.properties.get("spectrum_exponent")
    return None if item is None or item.value is None else item


# ---- Colour --------------------------------------------------------------------------------------------------------
def plot_colors(indexed: IndexedMetrics) -> Any:
    """Plot Gaussians of colours as ellipses of one standard deviation, in the planes a*, b* and b*, L*."""
    with figure_style() as figure_class:
        figure = figure_class(figsize=(9.4, 4.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        _draw_ellipses(left, indexed, (1, 2), "a*   green to red", "b*   blue to yellow")
        _draw_ellipses(right, indexed, (2, 0), "b*   blue to yellow", "L*   dark to light")
        left.set_title("Colours, one standard deviation around the mean")
        return figure


def _draw_ellipses(axes: Any, indexed: IndexedMetrics, plane: tuple[int, int], x_label: str, y_label: str) -> None:
    """Draw the ellipses in the plane of two of the coordinates L*, a*, b* (0, 1, 2)."""
    from matplotlib.patches import Ellipse

    gaussians = [(k, *gaussian) for k, metrics in indexed if (gaussian := _color_gaussian(metrics)) is not None]
    limit = 1.0
    for _, mean, covariance in gaussians:
        limit = max(limit, *(abs(mean[i]) + np.sqrt(max(covariance[i, i], 0.0)) for i in (1, 2)))
    limit *= 1.12
    low, high = (0.0, 100.0) if plane[1] == 0 else (-limit, limit)
    _draw_color_background(axes, plane, limit, low, high)
    axes.axhline(50.0 if plane[1] == 0 else 0.0, color="white", lw=0.9)
    axes.axvline(0.0, color="white", lw=0.9)
    for index, mean, covariance in gaussians:
        i, j = plane
        values, vectors = np.linalg.eigh(covariance[np.ix_(plane, plane)])
        width, height = 2.0 * np.sqrt(np.maximum(values[::-1], 1e-9))
        angle = float(np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1])))
        color, center = dataset_color(index), (mean[i], mean[j])
        ellipse = Ellipse(center, width, height, angle=angle, fill=False, ec=color, lw=1.8, ls=line_style(index))
        ellipse.set_gid(f"ds-{index}-ellipse")
        axes.add_patch(ellipse)
        axes.plot(*center, marker(index), color=color, ms=4.5, mec="white", mew=0.6, gid=f"ds-{index}-mean")
    axes.set(xlabel=x_label, ylabel=y_label, xlim=(-limit, limit), ylim=(low, high))
    axes.grid(visible=False)
    if plane[1] != 0:
        axes.set_aspect("equal")


def _color_gaussian(metrics: DatasetMetrics) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    mean, covariance = (_detail(metrics.properties.get("color_spread"), key) for key in ("mean", "covariance"))
    return (mean, covariance) if mean.shape == (3,) and covariance.shape == (3, 3) else None


def _draw_color_background(axes: Any, plane: tuple[int, int], limit: float, low: float, high: float) -> None:
    """Fill the axes with the colours of the plane, in pale tones."""
    from skimage.color import lab2rgb

    size = 48
    lab = np.zeros((size, size, 3))
    lab[..., 0] = 76.0
    lab[..., plane[0]] = np.linspace(-limit, limit, size)
    lab[..., plane[1]] = np.linspace(low, high, size)[:, None]
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # for colours outside sRGB
        pale = 0.62 + 0.38 * lab2rgb(lab)
    axes.imshow(
        pale,
        extent=(-limit, limit, low, high),
        origin="lower",
        aspect="auto",
        interpolation="bilinear",
        zorder=0,
        rasterized=True,
    )


# ---- Motion --------------------------------------------------------------------------------------------------------
def plot_over_time(indexed: IndexedMetrics, key: str, title: str, y_label: str) -> Any | None:
    """Plot a property over the course of the clips; None if no dataset has it."""
    with figure_style() as figure_class:
        figure = figure_class(figsize=(4.6, 3.1), layout="constrained")
        axes = figure.subplots()
        _draw_over_time(axes, indexed, key, title, y_label)
        return figure if axes.lines else None


def _draw_over_time(axes: Any, indexed: IndexedMetrics, key: str, title: str, y_label: str) -> None:
    axes.set(xlabel="time, fraction of the clip", ylabel=y_label)
    axes.set_title(title)
    for index, metrics in indexed:
        series = _detail(metrics.properties.get(key), "over_time")
        if len(series) > 1 and series.ndim == 1:
            times = np.linspace(0.0, 1.0, len(series))
            axes.plot(times, series, ls=line_style(index), color=dataset_color(index), gid=f"ds-{index}-line")
            axes.plot(times, series, marker(index), color=dataset_color(index), ms=3.5, mew=0, gid=f"ds-{index}-points")
    axes.set_ylim(bottom=0.0)


def plot_speed_histogram(indexed: IndexedMetrics) -> Any | None:
    """Plot the distribution of the speeds of visible objects; None if no dataset has it."""
    with figure_style() as figure_class:
        figure = figure_class(figsize=(4.6, 3.1), layout="constrained")
        axes = figure.subplots()
        _draw_speed_histogram(axes, indexed)
        return figure if axes.lines else None


def _draw_speed_histogram(axes: Any, indexed: IndexedMetrics) -> None:
    axes.set(xlabel="speed, pixels per frame", ylabel="fraction per pixel/frame")
    axes.set_title("Speed of visible objects")
    max_speed = 1.0
    for index, metrics in indexed:
        item = metrics.properties.get("object_speed")
        edges, fraction = _detail(item, "histogram", "edges"), _detail(item, "histogram", "fraction")
        if len(edges) > 1 and edges.shape == fraction.shape and item is not None and (item.value or 0.0) > 0:
            last_bin = min(int(np.searchsorted(np.cumsum(fraction), 0.995)) + 2, len(edges) - 1)
            max_speed = max(max_speed, edges[last_bin])
            axes.plot(
                (edges[:-1] + edges[1:]) / 2,
                fraction[:-1] / np.diff(edges),
                ls=line_style(index),
                lw=1.3,
                color=dataset_color(index),
                gid=f"ds-{index}-line",
            )
    axes.set(xlim=(0.0, max_speed))
    axes.set_ylim(bottom=0.0)


# ---- Accuracy ------------------------------------------------------------------------------------------------------
def plot_accuracy(
    indexed: IndexedMetrics,
    properties: Sequence[Property],
    accuracies: Sequence[float],
    y_label: str,
    correlation: Correlation | None,
) -> Any:
    """Plot accuracy over a property, with intervals and the least-squares line.

    Args:
        indexed: the datasets that have both.
        properties: the property of each dataset.
        accuracies: the accuracy of each dataset, per cent.
        y_label: name and unit of the accuracy.
        correlation: their correlation; None draws no line.
    """
    with figure_style() as figure_class:
        figure = figure_class(figsize=(3.7, 2.9), layout="constrained")
        axes = figure.subplots()
        x, y = np.array([item.value for item in properties], np.float64), np.array(accuracies)
        if correlation is not None:
            slope, offset = np.polyfit(x - x.mean(), y, 1)
            ends = np.array([x.min(), x.max()])
            axes.plot(ends, offset + slope * (ends - x.mean()), color="#c4c9d1", lw=1.4, zorder=1)
        for (index, _), item, value in zip(indexed, properties, accuracies, strict=True):
            color = dataset_color(index)
            if item.ci95 is not None:
                axes.plot(item.ci95, [value, value], color=color, lw=1.2, alpha=0.55, gid=f"ds-{index}-interval")
            axes.plot(item.value, value, marker(index), color=color, ms=6.5, mec="white", mew=0.8, gid=f"ds-{index}-point")
            axes.annotate(
                str(index + 1), (item.value, value), xytext=(5, 4), textcoords="offset points", fontsize=7, color=color,
                gid=f"ds-{index}-label",
            )  # fmt: skip
        unit = f", {properties[0].unit}" if properties[0].unit else ""
        axes.set(xlabel=escape_dollars(f"{properties[0].label}{unit}"), ylabel=escape_dollars(y_label))
        axes.margins(0.1)
        return figure


def plot_overview(results: Sequence[DatasetMetrics]) -> Any:
    """Plot spectra with their fits, colours, black pixels over time and speeds in one figure, for `synvid stats --plot`."""
    indexed = list(enumerate(results))
    with figure_style() as figure_class:
        figure = figure_class(figsize=(11.6, 8.2), layout="constrained")
        grid = figure.subplots(2, 2)
        _draw_spectra(grid[0, 0], indexed)
        if grid[0, 0].lines and len(results) <= 12:
            grid[0, 0].legend(loc="lower left", handlelength=1.6)
        _draw_ellipses(grid[0, 1], indexed, (1, 2), "a*   green to red", "b*   blue to yellow")
        grid[0, 1].set_title("Colours, one standard deviation around the mean")
        _draw_over_time(grid[1, 0], indexed, "black_fraction", "Black pixels", "fraction")
        _draw_speed_histogram(grid[1, 1], indexed)
        for axes in grid[1]:
            if not axes.lines:
                axes.set_visible(False)
        return figure
