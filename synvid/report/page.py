"""One HTML page over several datasets, with nothing outside it: a table, what goes with accuracy, pictures and clips."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from synvid.formatting import format_count, format_number
from synvid.metrics.accuracy import PAPER, Accuracies, Correlation, correlate
from synvid.metrics.results import DatasetMetrics, Property
from synvid.report import plots
from synvid.version import __version__

__all__ = ["page"]


_TEMPLATE = Path(__file__).parent / "page.html"

Indexed = list[tuple[int, DatasetMetrics]]

#: How properties that `synvid stats` measures are defined; others bring a label, a unit, and `definition` in their details.
_DEFINITIONS = {
    "Spectrum exponent": "alpha of A / |f|^alpha, fitted to the amplitude spectrum of luma: central square, mean removed, "
    "Hann window, |F| averaged over orientations in quarter octaves, over frames and clips; least squares of logarithms from "
    "4 cycles a picture to 1/4 cycle a pixel. The exponent of the power is twice as large.",
    "Colour spread, lightness": "of the Gaussian of all pixels in CIE L*a*b* (D65): geometric mean of its three standard "
    "deviations; mean of L*.",
    "Colour distance": "KL(p|q) + KL(q|p) of the two Gaussians, in nats, without its bias by the jackknife. The reference is "
    "taken as exact.",
    "Black pixels": "no channel above 8 of 255.",
    "Frame difference, changing pixels": "mean absolute difference of the luma of consecutive frames; share of pixels that "
    "differ by more than 10 grey levels.",
    "Object speed, object acceleration": "of objects that own a pixel: how far their origin moves to the next frame, and by "
    "how much that differs a frame later. From the scene, not estimated.",
    "Optical flow": "mean length of the exact flow over all pixels; background counts with 0.",
    "Occlusion rate, leaving rate": "share of the objects' pixels that move behind a nearer object, or out of the frame, "
    "within one frame.",
    "Bare background": "share of the pixels that no object owns.",
    "Intervals": "95 % over clips, by BCa bootstrap with 1,000 resamples; of colour spread and distance by the jackknife. "
    "None of fewer than 20 clips. Intervals of correlations by Fisher's z over datasets.",
}


def page(records: Sequence[DatasetMetrics], accuracies: Accuracies, title: str = "Datasets compared") -> str:
    """Draw datasets on one page.

    Args:
        records: of the datasets, in the order in which they are shown.
        accuracies: what properties are compared with.
        title: of the page.

    Raises:
        ConfigurationError: matplotlib is not installed.
    """
    indexed = list(enumerate(records))
    parts = {
        "Table": _table(indexed, accuracies),
        "Accuracy": _against(indexed, accuracies),
        "Spectrum": _spectrum(indexed),
        "Colour": _colour(indexed),
        "Motion": _motion(indexed),
        "Clips": _clips(indexed),
        "Method": _method(records),
    }
    parts = {name: part for name, part in parts.items() if part}
    values = {
        "title": html.escape(title),
        "summary": html.escape(_summary(records)),
        "links": " ".join(f'<a href="#{name.lower()}">{name}</a>' for name in parts),
        "chips": "".join(_chip(k, record) for k, record in indexed),
        "sections": "\n".join(f'<section id="{name.lower()}">{part}</section>' for name, part in parts.items()),
        "version": __version__,
    }
    text = _TEMPLATE.read_text(encoding="utf-8")
    for key, value in values.items():
        text = text.replace(f"{{{{{key}}}}}", value)
    return text


def _summary(records: Sequence[DatasetMetrics]) -> str:
    clips = sum(record.clips for record in records if record.kind != "images")
    pictures = sum(record.clips for record in records if record.kind == "images")
    counts = [format_count(len(records), "dataset")]
    counts += [format_count(clips, "clip")] if clips else []
    counts += [format_count(pictures, "picture")] if pictures else []
    return ", ".join(counts) + ". Click on a name to see it alone, on more names to add them."


def _dot(k: int) -> str:
    return f'<span class="dot" style="background:{plots.color_of(k)}"></span>'


def _chip(k: int, record: DatasetMetrics) -> str:
    return f'<button class="chip" data-ds="{k}" aria-pressed="true">{_dot(k)}{k + 1} {html.escape(record.name)}</button>'


def _keys(indexed: Indexed) -> list[str]:
    """Keys of all properties, in the order in which datasets have them."""
    return list(dict.fromkeys(key for _, record in indexed for key in record.properties))


def _first(indexed: Indexed, key: str) -> Property:
    return next(record.properties[key] for _, record in indexed if key in record.properties)


# ---- Table ---------------------------------------------------------------------------------------------------------
def _table(indexed: Indexed, accuracies: Accuracies) -> str:
    keys = _keys(indexed)
    columns = [name for name in accuracies.columns if any(accuracies.of(record, name) is not None for _, record in indexed)]
    most = {
        key: max((abs(value) for _, record in indexed if (value := _value(record, key)) is not None), default=0)
        for key in keys
    }
    heads = [_head("Dataset", ""), _head("Clips", "")]
    heads += [_head(one.label, one.unit) for one in (_first(indexed, key) for key in keys)]
    heads += [_head(name, "accuracy, %") for name in columns]
    rows = []
    for k, record in indexed:
        name = html.escape(record.name)
        source = html.escape(f"{record.kind}: {record.source}")
        cells = [
            f'<td data-value="{name}">{_dot(k)}{k + 1} {name}<span class="unit">{source}</span></td>',
            f'<td data-value="{record.clips}">{record.clips:,}</td>',
        ]
        cells += [_cell(record.properties.get(key), most[key]) for key in keys]
        for column in columns:
            value = accuracies.of(record, column)
            cells.append('<td class="none">–</td>' if value is None else f'<td data-value="{value}">{value:.1f}</td>')
        rows.append(f'<tr class="ds-{k}">{"".join(cells)}</tr>')
    return (
        '<h2>What was measured</h2><p class="soft">Under each value its 95 % interval over clips. A dash says on pointing '
        "at it why there is no value; a click on a heading sorts.</p>"
        f'<div class="scroll"><table><thead><tr>{"".join(heads)}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


def _value(record: DatasetMetrics, key: str) -> float | None:
    return record.properties[key].value if key in record.properties else None


def _head(label: str, unit: str) -> str:
    below = f'<span class="unit">{html.escape(unit)}</span>' if unit else ""
    return f"<th><button>{html.escape(label)}</button>{below}</th>"


def _cell(one: Property | None, most: float) -> str:
    if one is None or one.value is None:
        why = "not measured" if one is None else one.why
        return f'<td class="none" title="{html.escape(why)}">–</td>'
    interval = (
        "" if one.ci95 is None else f'<span class="ci">{format_number(one.ci95[0])} to {format_number(one.ci95[1])}</span>'
    )
    bar = f'<span class="bar" style="width:{100 * abs(one.value) / most:.1f}%"></span>' if most else ""
    return f'<td data-value="{one.value!r}">{format_number(one.value)}{interval}{bar}</td>'


# ---- Accuracy ------------------------------------------------------------------------------------------------------
def _against(indexed: Indexed, accuracies: Accuracies) -> str:
    names = [record.name for _, record in indexed]
    panels = {}
    for column in accuracies.columns:
        charts = [chart for key in _keys(indexed) if (chart := _chart(indexed, key, accuracies, column, names))]
        if charts:
            panels[column] = charts
    if not panels:
        return (
            "<h2>What goes with accuracy</h2><p>Fewer than three datasets have an accuracy: "
            f"{html.escape(accuracies.path.name)} names {html.escape(', '.join(list(_named(accuracies))[:3]))} and so on. "
            "<code>synvid report --accuracy FILE.csv</code> takes your own.</p>"
        )
    tabs, bodies = [], []
    for place, (column, charts) in enumerate(panels.items()):
        chosen = str(place == 0).lower()
        tabs.append(
            f'<button role="tab" aria-controls="panel-{place}" aria-selected="{chosen}">{html.escape(column)}</button>'
        )
        hidden = "" if place == 0 else " hidden"
        bodies.append(f'<div class="grid" id="panel-{place}" role="tabpanel"{hidden}>{"".join(charts)}</div>')
    whose = "as the paper reports it (ViT-B)" if accuracies.path == PAPER else f"from {accuracies.path.name}"
    return (
        f'<h2>What goes with accuracy</h2><p class="soft">Accuracy {html.escape(whose)}; r is Pearson\'s correlation over '
        "datasets with its 95 % interval, ρ that of ranks. With few datasets the interval is wide, and nothing here says what "
        f'causes what.</p><div class="tabs" role="tablist">{"".join(tabs)}</div>{"".join(bodies)}'
    )


def _named(accuracies: Accuracies) -> dict[str, None]:
    return dict.fromkeys(name for column in accuracies.columns.values() for name in column)


def _chart(indexed: Indexed, key: str, accuracies: Accuracies, column: str, names: Sequence[str]) -> str:
    """A property against accuracy; nothing where fewer than three datasets have both."""
    shown, properties, values = [], [], []
    for k, record in indexed:
        accuracy, one = accuracies.of(record, column), record.properties.get(key)
        if accuracy is not None and one is not None and one.value is not None:
            shown.append((k, record))
            properties.append(one)
            values.append(accuracy)
    if len(shown) < 3:
        return ""
    found = correlate([one.value for one in properties if one.value is not None], values)
    figure = plots.scatter(shown, properties, values, f"{column}, %", found)
    return _figure(plots.svg(figure, names), f"<b>{html.escape(properties[0].label)}</b> {_words(found, len(shown))}")


def _words(found: Correlation | None, count: int) -> str:
    if found is None:
        return f"the same for all {count}: no correlation"
    ends = "" if found.ci95 is None else f" ({_signed(found.ci95[0])} to {_signed(found.ci95[1])})"
    return f"r = {_signed(found.pearson)}{ends}, ρ = {_signed(found.spearman)}, n&nbsp;=&nbsp;{found.n}"


def _signed(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "−")  # a minus sign, and none before zero


def _figure(content: str, caption: str = "") -> str:
    below = f"<figcaption>{caption}</figcaption>" if caption else ""
    return f'<figure><div class="chart">{content}</div>{below}</figure>'


# ---- Spectrum, colour, motion, clips -------------------------------------------------------------------------------
def _details(record: DatasetMetrics, key: str) -> Mapping[str, Any]:
    return record.properties[key].details if key in record.properties else {}


def _spectrum(indexed: Indexed) -> str:
    if not any("amplitude" in _details(record, "spectrum_exponent") for _, record in indexed):
        return ""
    names = [record.name for _, record in indexed]
    return (
        '<h2>Spectrum</h2><p class="soft">Points: mean amplitude. Lines: the fit, over the range that it was fitted to. '
        "Natural pictures have exponents between 0.5 and 2 (Torralba and Oliva 2003); the paper's best datasets lie between "
        f"1.2 and 1.4.</p>{_figure(plots.svg(plots.spectra(indexed), names))}"
    )


def _colour(indexed: Indexed) -> str:
    if not any("covariance" in _details(record, "color_spread") for _, record in indexed):
        return ""
    names = [record.name for _, record in indexed]
    return (
        '<h2>Colour</h2><p class="soft">All pixels of a dataset as a Gaussian in L*a*b*, seen from above (left) and from the '
        f"side (right).</p>{_figure(plots.svg(plots.colors(indexed), names))}"
    )


def _motion(indexed: Indexed) -> str:
    names = [record.name for _, record in indexed]
    figures = [
        plots.over_time(indexed, "black_share", "Black pixels", "share"),
        plots.over_time(indexed, "background_share", "Bare background", "share"),
        plots.over_time(indexed, "visible_objects", "Visible objects", "per frame"),
        plots.histogram(indexed),
    ]
    drawn = "".join(_figure(plots.svg(figure, names)) for figure in figures if figure is not None)
    return f'<h2>Over time</h2><div class="wide">{drawn}</div>' if drawn else ""


def _clips(indexed: Indexed) -> str:
    rows = []
    for k, record in indexed:
        shown = []
        for sample in record.samples:
            if sample.type not in ("video/mp4", "image/jpeg"):
                continue
            source, caption = f"data:{sample.type};base64,{html.escape(sample.data)}", html.escape(sample.caption)
            if sample.type == "video/mp4":
                shown.append(f'<video src="{source}" title="{caption}" loop autoplay muted playsinline></video>')
            else:
                shown.append(f'<img src="{source}" alt="{caption}" title="{caption}">')
        if shown:
            name = html.escape(record.name)
            rows.append(f'<figure class="ds-{k}">{"".join(shown)}<figcaption>{_dot(k)}{k + 1} {name}</figcaption></figure>')
    return f'<h2>Clips</h2><div class="grid clips">{"".join(rows)}</div>' if rows else ""


def _method(records: Sequence[DatasetMetrics]) -> str:
    known = dict(_DEFINITIONS)
    for one in (one for record in records for one in record.properties.values()):
        if "definition" in one.details:
            known.setdefault(one.label, str(one.details["definition"]))
    terms = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(text)}</dd>" for name, text in known.items())
    notes = "".join(f"<li>{html.escape(record.name)}: {html.escape(note)}</li>" for record in records for note in record.notes)
    said = f"<h2>Notes</h2><ul>{notes}</ul>" if notes else ""
    settings = sorted({_settings(record) for record in records if record.settings})
    how = f'<p class="soft">{html.escape(" · ".join(settings))}</p>' if settings else ""
    return f"{said}<details><summary>How it was measured</summary>{how}<dl>{terms}</dl></details>"


def _settings(record: DatasetMetrics) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in record.settings.items())
