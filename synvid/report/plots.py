"""Pictures of measures, by matplotlib: each is a figure that can be saved, or put into a page as SVG."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from synvid.errors import ConfigurationError
from synvid.metrics.accuracy import Correlation
from synvid.metrics.results import DatasetMetrics, Property

__all__ = ["color_of", "colors", "histogram", "over_time", "overview", "save_plot", "scatter", "spectra", "svg"]


#: Told apart by most eyes; datasets beyond the tenth take them again with another mark.
_PALETTE = (
    "#3366cc", "#e4572e", "#159a72", "#8a4fc7", "#d9921a", "#1798b5", "#c43c7c", "#6d7d2a", "#86603f", "#59636e",
)  # fmt: skip
_MARKS, _LINES = "osD^v", ("-", (0, (5, 2)), (0, (1, 1.4)), (0, (5, 1.5, 1, 1.5)))
_INK, _FAINT, _GRID = "#2b2f36", "#8b929c", "#e7e9ed"

_STYLE: Any = {
    "axes.edgecolor": "#c9ced6", "axes.labelcolor": _INK, "axes.axisbelow": True, "axes.grid": True,
    "axes.spines.right": False, "axes.spines.top": False, "axes.titlesize": 10.5, "axes.titleweight": "bold",
    "axes.titlelocation": "left", "axes.titlecolor": _INK, "axes.labelsize": 9, "font.size": 9, "grid.color": _GRID,
    "grid.linewidth": 0.8, "legend.frameon": False, "legend.fontsize": 8, "lines.linewidth": 1.7,
    "lines.solid_capstyle": "round", "svg.fonttype": "none", "svg.hashsalt": "synvid", "text.color": _INK,
    "xtick.color": _FAINT, "xtick.labelcolor": _INK, "ytick.color": _FAINT, "ytick.labelcolor": _INK,
    "xtick.labelsize": 8.5, "ytick.labelsize": 8.5,
}  # fmt: skip

#: Datasets with their positions on the page, which decide colours and CSS classes.
IndexedMetrics = Sequence[tuple[int, DatasetMetrics]]


@contextlib.contextmanager
def _drawing() -> Iterator[Any]:
    """Matplotlib's figure class, in our style."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        raise ConfigurationError("drawing needs matplotlib, which is not installed: pip install 'synvid[report]'.") from None
    with mpl.rc_context(_STYLE):
        yield Figure


def color_of(number: int) -> str:
    """The colour of dataset `number` in all pictures, #rrggbb."""
    return _PALETTE[number % len(_PALETTE)]


def _mark(number: int) -> str:
    return _MARKS[number // len(_PALETTE) % len(_MARKS)]


def _line(number: int) -> Any:
    return _LINES[number // len(_PALETTE) % len(_LINES)]


def plain(text: str) -> str:
    """A text of somebody else's as matplotlib draws it as it is: dollar signs would begin a formula."""
    return text.replace("$", r"\$")


def svg(figure: Any, names: Sequence[str]) -> Markup:
    """A figure as an <svg> element to stand inside a page.

    It has no ids of its own, and what belongs to dataset k is a group of class `ds-k` with its name as tooltip.
    """
    with _drawing():
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' (width|height)="[\d.]+pt"', "", text, count=2)

    def group(match: re.Match[str]) -> str:
        number = int(match[1])
        return Markup('<g class="ds ds-{}"><title>{}</title>').format(number, names[number])

    text = re.sub(r'<g id="ds-(\d+)(?:-\w+)?">', group, text)
    return Markup(re.sub(r'<g id="[a-zA-Z]\w*?_\d+">', "<g>", text))  # noqa: S704  # matplotlib escapes its texts


def save_plot(figure: Any, suffix: str) -> bytes:
    """A figure as the bytes of a file.

    Args:
        figure: from one of the functions here.
        suffix: .png, .svg or .pdf.

    Raises:
        ConfigurationError: another suffix.
    """
    if suffix not in (".png", ".svg", ".pdf"):
        raise ConfigurationError(f"--plot: a picture ends in .png, .svg or .pdf, not {suffix!r}.")
    file = io.BytesIO()
    with _drawing():
        figure.savefig(file, format=suffix[1:], dpi=160, metadata={"Date": None} if suffix == ".svg" else None)
    return file.getvalue()


# ---- Spectrum ------------------------------------------------------------------------------------------------------
def spectra(indexed: IndexedMetrics) -> Any:
    """Mean amplitude spectra with the fitted lines A / f**alpha, and the exponents with their intervals."""
    with _drawing() as figure_class:
        figure = figure_class(figsize=(10.4, max(4.2, 1.2 + 0.19 * len(indexed))), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1.25, 1.0))
        _spectra(left, indexed)
        _exponents(right, indexed)
        return figure


def _spectra(axes: Any, indexed: IndexedMetrics) -> None:
    axes.set(xscale="log", yscale="log", xlabel="spatial frequency f, cycles per pixel", ylabel="amplitude, grey levels")
    axes.set_title("Amplitude spectrum, and the fit of A / f$^α$")
    for number, record in indexed:
        one = _exponent(record)
        frequency, amplitude, ends, a = (_numbers(one, key) for key in ("frequency", "amplitude", "fit_range", "a"))
        if one is None or one.value is None or not a.size or not ends.size or frequency.shape != amplitude.shape:
            continue
        color = color_of(number)
        axes.plot(frequency, amplitude, _mark(number), color=color, ms=3.2, alpha=0.55, mew=0, gid=f"ds-{number}-points")
        line = a * ends**-one.value
        label = f"{plain(record.name)}   α = {one.value:.2f}"
        axes.plot(ends, line, ls=_line(number), color=color, label=label, gid=f"ds-{number}-line")
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    axes.yaxis.set_major_formatter(lambda y, _: f"{y:g}")


def _numbers(one: Property | None, *keys: str) -> NDArray[np.float64]:
    """Numbers among the details of a property; none where there are none, or not only numbers."""
    found: Any = {} if one is None else one.details
    try:
        for key in keys:
            found = found[key]
        numbers = np.atleast_1d(np.array(found, np.float64))
    except (KeyError, ValueError, TypeError):
        return np.empty(0)
    return numbers if np.isfinite(numbers).all() else np.empty(0)


def _exponents(axes: Any, indexed: IndexedMetrics) -> None:
    """A row a dataset, over the bands of natural pictures and of the paper's best datasets."""
    axes.set_title("Exponent α")
    axes.axvspan(0.5, 2.0, color="#f1f3f6", lw=0, zorder=0)
    axes.axvspan(1.2, 1.4, color="#d5e5dd", lw=0, zorder=0)
    rows = [(number, plain(record.name), one) for number, record in indexed if (one := _exponent(record)) is not None]
    for row, (number, _, one) in enumerate(rows):
        color = color_of(number)
        if one.ci95 is not None:
            axes.plot(one.ci95, [row, row], color=color, alpha=0.6, gid=f"ds-{number}-interval")
        axes.plot(one.value, row, _mark(number), color=color, ms=5.5, mec="white", mew=0.7, gid=f"ds-{number}-point")
    axes.set_yticks(range(len(rows)), [f"{name}  {number + 1}" for number, name, _ in rows])
    axes.set(ylim=(len(rows) - 0.4, -0.6), xlabel="grey: natural; green: the paper's best")
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)


def _exponent(record: DatasetMetrics) -> Property | None:
    one = record.properties.get("spectrum_exponent")
    return None if one is None or one.value is None else one


# ---- Colour --------------------------------------------------------------------------------------------------------
def colors(indexed: IndexedMetrics) -> Any:
    """Gaussians of colours as ellipses of one standard deviation, in the planes a*, b* and b*, L*."""
    with _drawing() as figure_class:
        figure = figure_class(figsize=(9.4, 4.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        _ellipses(left, indexed, (1, 2), "a*   green to red", "b*   blue to yellow")
        _ellipses(right, indexed, (2, 0), "b*   blue to yellow", "L*   dark to light")
        left.set_title("Colours, one standard deviation around the mean")
        return figure


def _ellipses(axes: Any, indexed: IndexedMetrics, planes: tuple[int, int], x_label: str, y_label: str) -> None:
    from matplotlib.patches import Ellipse

    some = [(number, *found) for number, record in indexed if (found := _gaussian(record)) is not None]
    reach = 1.0
    for _, mean, covariance in some:
        reach = max(reach, *(abs(mean[i]) + np.sqrt(max(covariance[i, i], 0.0)) for i in (1, 2)))
    reach *= 1.12
    low, high = (0.0, 100.0) if planes[1] == 0 else (-reach, reach)
    _wash(axes, planes, reach, low, high)
    axes.axhline(50.0 if planes[1] == 0 else 0.0, color="white", lw=0.9)
    axes.axvline(0.0, color="white", lw=0.9)
    for number, mean, covariance in some:
        i, j = planes
        values, vectors = np.linalg.eigh(covariance[np.ix_(planes, planes)])
        width, height = 2.0 * np.sqrt(np.maximum(values[::-1], 1e-9))
        angle = float(np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1])))
        ellipse = Ellipse(
            (mean[i], mean[j]), width, height, angle=angle, fill=False, ec=color_of(number), lw=1.8, ls=_line(number)
        )
        ellipse.set_gid(f"ds-{number}-ellipse")
        axes.add_patch(ellipse)
        axes.plot(
            mean[i], mean[j], _mark(number), color=color_of(number), ms=4.5, mec="white", mew=0.6, gid=f"ds-{number}-mean"
        )
    axes.set(xlabel=x_label, ylabel=y_label, xlim=(-reach, reach), ylim=(low, high))
    axes.grid(visible=False)
    if planes[1] != 0:
        axes.set_aspect("equal")


def _gaussian(record: DatasetMetrics) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    mean, covariance = (_numbers(record.properties.get("color_spread"), key) for key in ("mean", "covariance"))
    return (mean, covariance) if mean.shape == (3,) and covariance.shape == (3, 3) else None


def _wash(axes: Any, planes: tuple[int, int], reach: float, low: float, high: float) -> None:
    """The colours themselves, pale, behind."""
    from skimage.color import lab2rgb

    size = 48
    lab = np.zeros((size, size, 3))
    lab[..., 0] = 76.0
    lab[..., planes[0]] = np.linspace(-reach, reach, size)
    lab[..., planes[1]] = np.linspace(low, high, size)[:, None]
    with np.errstate(all="ignore"):
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of colours that no screen shows
            pale = 0.62 + 0.38 * lab2rgb(lab)
    axes.imshow(
        pale,
        extent=(-reach, reach, low, high),
        origin="lower",
        aspect="auto",
        interpolation="bilinear",
        zorder=0,
        rasterized=True,
    )


# ---- Motion --------------------------------------------------------------------------------------------------------
def over_time(indexed: IndexedMetrics, key: str, title: str, y_label: str) -> Any | None:
    """A property over the course of the clips; None where no dataset has it."""
    with _drawing() as figure_class:
        figure = figure_class(figsize=(4.6, 3.1), layout="constrained")
        axes = figure.subplots()
        _over_time(axes, indexed, key, title, y_label)
        return figure if axes.lines else None


def _over_time(axes: Any, indexed: IndexedMetrics, key: str, title: str, y_label: str) -> None:
    axes.set(xlabel="time, share of the clip", ylabel=y_label)
    axes.set_title(title)
    for number, record in indexed:
        series = _numbers(record.properties.get(key), "over_time")
        if len(series) > 1 and series.ndim == 1:
            times = np.linspace(0.0, 1.0, len(series))
            axes.plot(times, series, ls=_line(number), color=color_of(number), gid=f"ds-{number}-line")
            axes.plot(times, series, _mark(number), color=color_of(number), ms=3.5, mew=0, gid=f"ds-{number}-points")
    axes.set_ylim(bottom=0.0)


def histogram(indexed: IndexedMetrics) -> Any | None:
    """How speeds of visible objects are distributed; None where no dataset knows them."""
    with _drawing() as figure_class:
        figure = figure_class(figsize=(4.6, 3.1), layout="constrained")
        axes = figure.subplots()
        _histogram(axes, indexed)
        return figure if axes.lines else None


def _histogram(axes: Any, indexed: IndexedMetrics) -> None:
    axes.set(xlabel="speed, pixels per frame", ylabel="share per pixel/frame")
    axes.set_title("Speed of visible objects")
    last = 1.0
    for number, record in indexed:
        one = record.properties.get("object_speed")
        edges, share = _numbers(one, "histogram", "edges"), _numbers(one, "histogram", "share")
        if len(edges) > 1 and edges.shape == share.shape and one is not None and (one.value or 0.0) > 0:
            last = max(last, edges[min(int(np.searchsorted(np.cumsum(share), 0.995)) + 2, len(edges) - 1)])
            axes.plot(
                (edges[:-1] + edges[1:]) / 2,
                share[:-1] / np.diff(edges),
                ls=_line(number),
                lw=1.3,
                color=color_of(number),
                gid=f"ds-{number}-line",
            )
    axes.set(xlim=(0.0, last))
    axes.set_ylim(bottom=0.0)


# ---- Against accuracy ----------------------------------------------------------------------------------------------
def scatter(
    indexed: IndexedMetrics,
    properties: Sequence[Property],
    accuracies: Sequence[float],
    y_label: str,
    found: Correlation | None,
) -> Any:
    """One property against accuracy, with intervals and the line of least squares.

    Args:
        indexed: the datasets that have both.
        properties: of each.
        accuracies: of each, per cent.
        y_label: what was measured.
        found: their correlation; without one there is no line.
    """
    with _drawing() as figure_class:
        figure = figure_class(figsize=(3.7, 2.9), layout="constrained")
        axes = figure.subplots()
        x, y = np.array([one.value for one in properties], np.float64), np.array(accuracies)
        if found is not None:
            slope, offset = np.polyfit(x - x.mean(), y, 1)
            ends = np.array([x.min(), x.max()])
            axes.plot(ends, offset + slope * (ends - x.mean()), color="#c4c9d1", lw=1.4, zorder=1)
        for (number, _), one, value in zip(indexed, properties, accuracies, strict=True):
            color = color_of(number)
            if one.ci95 is not None:
                axes.plot(one.ci95, [value, value], color=color, lw=1.2, alpha=0.55, gid=f"ds-{number}-interval")
            axes.plot(one.value, value, _mark(number), color=color, ms=6.5, mec="white", mew=0.8, gid=f"ds-{number}-point")
            axes.annotate(
                str(number + 1), (one.value, value), xytext=(5, 4), textcoords="offset points", fontsize=7, color=color,
                gid=f"ds-{number}-label",
            )  # fmt: skip
        unit = f", {properties[0].unit}" if properties[0].unit else ""
        axes.set(xlabel=plain(f"{properties[0].label}{unit}"), ylabel=plain(y_label))
        axes.margins(0.1)
        return figure


def overview(records: Sequence[DatasetMetrics]) -> Any:
    """One picture of what `synvid stats` measured: spectra with their fits, colours, black over time, speeds."""
    indexed = list(enumerate(records))
    with _drawing() as figure_class:
        figure = figure_class(figsize=(11.6, 8.2), layout="constrained")
        grid = figure.subplots(2, 2)
        _spectra(grid[0, 0], indexed)
        if grid[0, 0].lines and len(records) <= 12:
            grid[0, 0].legend(loc="lower left", handlelength=1.6)
        _ellipses(grid[0, 1], indexed, (1, 2), "a*   green to red", "b*   blue to yellow")
        grid[0, 1].set_title("Colours, one standard deviation around the mean")
        _over_time(grid[1, 0], indexed, "black_share", "Black pixels", "share")
        if not grid[1, 0].lines:
            grid[1, 0].set_visible(False)
        _histogram(grid[1, 1], indexed)
        if not grid[1, 1].lines:
            grid[1, 1].set_visible(False)
        return figure
