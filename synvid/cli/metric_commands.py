"""The commands `synvid stats` and `synvid report`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from synvid.cli.console import Console
from synvid.cli.options import ClickCommand, json_option, quiet_option, set_option, textures_options
from synvid.errors import ConfigurationError
from synvid.formatting import format_count, format_number, format_size
from synvid.textures.resolve import parse_texture_options

if TYPE_CHECKING:
    from synvid.metrics.color import ColorGaussian
    from synvid.metrics.results import DatasetMetrics

__all__ = ["check_output_file", "out_option", "print_results", "report", "source_options", "stats"]


_FILE = click.Path(path_type=Path, dir_okay=False)


def source_options(command: ClickCommand) -> ClickCommand:
    """Which clips are measured: --max-clips, --kind, --seed, and those that change presets."""
    for option in (
        textures_options,
        set_option(),
        click.option("--seed", type=click.IntRange(0, 2**64 - 1), default=0, show_default=True, help="Of the random clips."),
        click.option("--kind", type=click.Choice(["videos", "images"]), help="What to measure in a folder that holds both."),
        click.option(
            "--max-clips", type=click.IntRange(1, 10**6), default=1000, show_default=True, help="Clips at most, at random."
        ),
    ):
        command = option(command)
    return command


out_option = click.option("--out", type=_FILE, help="JSON file, for `synvid report`.")


@click.command()
@click.argument("paths", nargs=-1, metavar="[NAME=]PATH...")
@source_options
@click.option("--moments", type=click.IntRange(2, 64), default=4, show_default=True, help="Of each clip, evenly spread.")
@click.option("--against", metavar="PATH", help="Reference of colours: as PATH, or a JSON file of one dataset.")
@out_option
@click.option("--plot", type=_FILE, help="Picture: .png, .svg or .pdf; the spectra and their fits, colours, motion.")
@click.option("--samples", type=click.IntRange(0, 64), default=2, show_default=True, help="Clips to keep in --out.")
@json_option
@quiet_option
def stats(
    paths: tuple[str, ...], max_clips: int, moments: int, against: str | None, kind: str | None, out: Path | None,
    plot: Path | None, samples: int, seed: int, settings: tuple[str, ...], textures: tuple[str, ...], images: Path | None,
    as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Measure spectrum, colour and motion of datasets.

    synvid stats moving_shapes data/ jhmdb=~/jhmdb --out measures.json

    A PATH is a rendered set, a preset, or a folder of videos or pictures. Intervals are 95 % over clips, of 20 clips or more.
    """
    from synvid.metrics.measure import measure
    from synvid.sources.resolve import resolve_sources

    if not paths:
        raise ConfigurationError("name what to measure, for example `synvid stats moving_shapes`.")
    check_output_file(out)
    _check_plot(plot)
    other = [] if against is None or against.endswith(".json") or against in paths else [against]
    console = Console(quiet)
    sources = resolve_sources([*paths, *other], kind, seed, settings, parse_texture_options(textures), images, console)

    def run(text: str, reference: tuple[str, ColorGaussian] | None) -> DatasetMetrics:
        source = sources[text]
        return measure(source, max_clips, moments, seed, reference, samples, console.progress(source.name))

    reference, known = _reference(against, paths, lambda text: run(text, None))
    records = [known if known is not None and text == against else run(text, reference) for text in paths]
    print_results(records, out, as_json, console)
    if plot is not None:
        _draw(records, plot, console)


@click.command()
@click.argument("files", nargs=-1, type=_FILE)
@click.option("--out", type=_FILE, default="report.html", show_default=True, help="The page.")
@click.option("--accuracy", type=_FILE, help="CSV of name and accuracies in per cent.  [default: those of the paper]")
@click.option("--title", default="Datasets compared", show_default=True, help="Of the page.")
@quiet_option
def report(files: tuple[Path, ...], out: Path, accuracy: Path | None, title: str, quiet: bool) -> None:
    """Draw what was measured as one HTML page.

    synvid report measures.json more.json --out report.html
    """
    from synvid.metrics.accuracy import PAPER, read_accuracies
    from synvid.metrics.results import load_metrics, merge_metrics
    from synvid.os_errors import wrap_os_errors
    from synvid.report.page import page
    from synvid.storage.atomic_io import atomic_write

    if not files:
        raise ConfigurationError("name files of measures, for example `synvid report measures.json`.")
    if out.suffix.lower() not in (".html", ".htm"):
        raise ConfigurationError(f"--out {out}: a page ends in .html.")
    accuracies = read_accuracies(accuracy or PAPER)
    records = merge_metrics({str(path): load_metrics(path) for path in files})
    text = page(records, accuracies, title)
    with wrap_os_errors(out):
        atomic_write(out, text)
    Console(quiet).message(f"{out}: {format_count(len(records), 'dataset')}, {format_size(len(text))}.")


def check_output_file(out: Path | None) -> None:
    """Refuse what would only be refused after the work."""
    if out is not None and out.suffix.lower() != ".json":
        raise ConfigurationError(f"--out {out}: a file of measures ends in .json.")


def _check_plot(plot: Path | None) -> None:
    if plot is not None and plot.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise ConfigurationError(f"--plot {plot}: a picture ends in .png, .svg or .pdf.")
    if plot is not None:
        from synvid.report.plots import overview

        overview([])  # says so if matplotlib is missing


def _reference(
    against: str | None, paths: tuple[str, ...], run: Callable[[str], DatasetMetrics]
) -> tuple[tuple[str, ColorGaussian] | None, DatasetMetrics | None]:
    """The colours of the reference, and its record where it is among what is measured."""
    if against is None:
        return None, None
    import dataclasses

    from synvid.metrics.measure import gaussian_of
    from synvid.metrics.results import Property, distance_key, load_metrics

    if against.endswith(".json"):
        records = load_metrics(Path(against))
        if len(records) > 1:
            names = ", ".join(record.name for record in records)
            raise ConfigurationError(f"--against {against}: holds {len(records)} datasets ({names}); give a file of one.")
        return gaussian_of(records[0], f"--against {against}"), None
    record = run(against)
    reference = gaussian_of(record, f"--against {against}")
    if against not in paths:
        return reference, None
    itself = Property(f"Colour distance to {record.name}", "nats", None, why="it is the reference itself")
    return reference, dataclasses.replace(
        record, properties={**record.properties, distance_key("color_distance", record.name): itself}
    )


def print_results(records: list[DatasetMetrics], out: Path | None, as_json: bool, console: Console) -> None:
    """Print what was measured, with its notes, and write it to `out`."""
    from synvid.metrics.results import to_json
    from synvid.os_errors import wrap_os_errors
    from synvid.storage.atomic_io import atomic_write

    for record in records:
        for note in record.notes:
            console.message(f"{record.name}: {note}")
    if as_json:
        click.echo(to_json(records, samples=False), nl=False)
    else:
        click.echo("\n\n".join(table(record) for record in records))
    if out is not None:
        with wrap_os_errors(out):
            atomic_write(out, to_json(records))
        console.message(f"{out}: {format_count(len(records), 'dataset')}; `synvid report {out}` draws them.")


def _draw(records: list[DatasetMetrics], plot: Path, console: Console) -> None:
    from synvid.os_errors import wrap_os_errors
    from synvid.report.plots import overview, save_plot
    from synvid.storage.atomic_io import atomic_write

    with wrap_os_errors(plot):
        atomic_write(plot, save_plot(overview(records), plot.suffix.lower()))
    console.message(f"{plot}: drawn.")


def table(record: DatasetMetrics) -> str:
    """What was measured, a line a property."""
    from synvid.metrics.bootstrap import LEAST_CLIPS

    what = "picture" if record.kind == "images" else "clip"
    lines = [f"{record.name}: {format_count(record.clips, what)}, {record.source}"]
    width = max((len(one.label) for one in record.properties.values()), default=0)
    missing: dict[str, list[str]] = {}
    for one in record.properties.values():
        if one.value is None:
            missing.setdefault(one.why, []).append(one.label)
            continue
        interval = "" if one.ci95 is None else f"{format_number(one.ci95[0])} to {format_number(one.ci95[1])}"
        lines.append(f"  {one.label:{width}}  {format_number(one.value):>9}  {interval:22} {one.unit}".rstrip())
    lines += [f"  Without a value: {', '.join(labels)}; {why}." for why, labels in missing.items()]
    if record.clips < LEAST_CLIPS:
        lines.append(f"  No intervals: they need {LEAST_CLIPS} {what}s.")
    return "\n".join(lines)
