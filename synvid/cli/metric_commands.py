"""The commands `synvid stats` and `synvid report`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from synvid.cli.console import Console
from synvid.cli.metric_options import check_output_file, out_option, print_results, source_options
from synvid.cli.options import FILE, json_option, quiet_option
from synvid.errors import ConfigurationError
from synvid.formatting import format_count, format_size
from synvid.textures.resolve_banks import parse_texture_options

if TYPE_CHECKING:
    from synvid.metrics.color import ColorGaussian
    from synvid.metrics.results import DatasetMetrics

__all__ = ["report", "stats"]


@click.command()
@click.argument("paths", nargs=-1, metavar="[NAME=]PATH...")
@source_options
@click.option(
    "--pairs-per-clip",
    type=click.IntRange(2, 64),
    default=4,
    show_default=True,
    help="Number of frame pairs measured in each clip, evenly spaced.",
)
@click.option(
    "--reference",
    metavar="PATH",
    help="Also measure the colour distance to this dataset: a PATH, or a metrics file (.json) of one dataset.",
)
@out_option
@click.option("--plot", type=FILE, help="Plot spectra, colour and motion to this .png, .svg or .pdf file.")
@click.option(
    "--samples",
    type=click.IntRange(0, 64),
    default=2,
    show_default=True,
    help="Number of sample clips per dataset to store in --out.",
)
@json_option
@quiet_option
def stats(
    paths: tuple[str, ...], max_clips: int, pairs_per_clip: int, reference: str | None, kind: str | None, out: Path | None,
    plot: Path | None, samples: int, seed: int, settings: tuple[str, ...], textures: tuple[str, ...], images: Path | None,
    as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Measure spectrum, colour and motion of datasets.

    synvid stats moving_shapes data/ jhmdb=~/jhmdb --out metrics.json

    PATH is a rendered dataset, a preset, or a folder of videos or images. The intervals are 95 % confidence intervals
    over clips; they need at least 20 clips.
    """
    from synvid.metrics.measure import measure
    from synvid.sources.find_sources import resolve_sources

    if not paths:
        raise ConfigurationError("name a dataset to measure, for example `synvid stats moving_shapes`.")
    check_output_file(out)
    _check_plot(plot)
    is_extra = reference is not None and not reference.endswith(".json") and reference not in paths
    console = Console(quiet)
    sources = resolve_sources(
        [*paths, *([reference] if reference and is_extra else [])],
        kind,
        seed,
        settings,
        parse_texture_options(textures),
        images,
        console,
    )

    def run(text: str, colors: tuple[str, ColorGaussian] | None) -> DatasetMetrics:
        source = sources[text]
        return measure(source, max_clips, pairs_per_clip, seed, colors, samples, console.progress(source.name))

    colors, measured = _reference_colors(reference, paths, lambda text: run(text, None))
    records = [measured if measured is not None and text == reference else run(text, colors) for text in paths]
    print_results(records, out, as_json, console)
    if plot is not None:
        _draw(records, plot, console)


@click.command()
@click.argument("files", nargs=-1, type=FILE)
@click.option("--out", type=FILE, default="report.html", show_default=True, help="HTML file to write.")
@click.option(
    "--accuracy",
    type=FILE,
    help="CSV file with the accuracy of models trained on each dataset, in percent.  [default: the paper's numbers]",
)
@click.option("--title", default="Datasets compared", show_default=True, help="Title of the page.")
@quiet_option
def report(files: tuple[Path, ...], out: Path, accuracy: Path | None, title: str, quiet: bool) -> None:
    """Draw metrics files as one HTML page.

    synvid report metrics.json more.json --out report.html

    FILES are written by `synvid stats --out` and `synvid-train compare --out`.
    """
    from synvid.metrics.accuracy import PAPER, read_accuracies
    from synvid.metrics.results import load_metrics, merge_metrics
    from synvid.os_errors import wrap_os_errors
    from synvid.report.page import render_report
    from synvid.storage.atomic_io import atomic_write

    if not files:
        raise ConfigurationError("name one or more metrics files, for example `synvid report metrics.json`.")
    if out.suffix.lower() not in (".html", ".htm"):
        raise ConfigurationError(f"--out {out}: the file name must end in .html.")
    accuracies = read_accuracies(accuracy or PAPER)
    records = merge_metrics({str(path): load_metrics(path) for path in files})
    text = render_report(records, accuracies, title)
    with wrap_os_errors(out):
        atomic_write(out, text)
    Console(quiet).message(f"{out}: {format_count(len(records), 'dataset')}, {format_size(len(text))}.")


def _check_plot(plot: Path | None) -> None:
    """Refuse `--plot` before the work begins if its suffix is unknown or Matplotlib is missing."""
    if plot is not None and plot.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise ConfigurationError(f"--plot {plot}: the file name must end in .png, .svg or .pdf.")
    if plot is not None:
        from synvid.report.plots import plot_overview

        plot_overview([])  # imports Matplotlib


def _reference_colors(
    reference: str | None, paths: tuple[str, ...], run: Callable[[str], DatasetMetrics]
) -> tuple[tuple[str, ColorGaussian] | None, DatasetMetrics | None]:
    """The reference's name and colour distribution; and its metrics, if it is also one of the datasets to measure."""
    if reference is None:
        return None, None
    from synvid.metrics.measure import color_reference
    from synvid.metrics.results import Property, distance_key, load_metrics

    if reference.endswith(".json"):
        records = load_metrics(Path(reference))
        if len(records) > 1:
            names = ", ".join(record.name for record in records)
            raise ConfigurationError(
                f"--reference {reference}: holds {len(records)} datasets ({names}); it must hold only one."
            )
        return color_reference(records[0], f"--reference {reference}"), None
    record = run(reference)
    colors = color_reference(record, f"--reference {reference}")
    if reference not in paths:
        return colors, None
    no_distance = Property(f"Colour distance to {record.name}", "nats", None, why="it is the reference itself")
    properties = {**record.properties, distance_key("color_distance", record.name): no_distance}
    return colors, dataclasses.replace(record, properties=properties)


def _draw(records: list[DatasetMetrics], plot: Path, console: Console) -> None:
    from synvid.os_errors import wrap_os_errors
    from synvid.report.plots import plot_overview
    from synvid.report.style import save_plot
    from synvid.storage.atomic_io import atomic_write

    with wrap_os_errors(plot):
        atomic_write(plot, save_plot(plot_overview(records), plot.suffix.lower()))
    console.message(f"{plot}: plot written.")
