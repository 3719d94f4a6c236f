"""The commands `synvid stats` and `synvid report`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from synvid.command import Command, json_option, quiet_option
from synvid.errors import ConfigurationError
from synvid.measure.words import number
from synvid.texture.commands import pictures_of, textures_options, with_textures
from synvid.work.words import counted

if TYPE_CHECKING:
    from synvid.measure.color import Gaussian
    from synvid.measure.record import Record
    from synvid.measure.source import Source
    from synvid.preset import Preset

__all__ = ["check_out", "find_sources", "give", "out_option", "report", "source_options", "stats"]

_FILE = click.Path(path_type=Path, dir_okay=False)


def source_options(command: Command) -> Command:
    """Which clips are measured: --max-clips, --kind, --seed, and those that change presets."""
    for option in (
        textures_options,
        click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a setting of presets; repeatable."),
        click.option("--seed", type=click.IntRange(0, 2**64 - 1), default=0, show_default=True, help="Of the random clips."),
        click.option("--kind", type=click.Choice(["videos", "images"]), help="What to measure in a folder that holds both."),
        click.option(
            "--max-clips", type=click.IntRange(1, 10**6), default=1000, show_default=True, help="Clips at most, at random."
        ),
    ):
        command = option(command)
    return command


out_option = click.option("--out", type=_FILE, help="JSON file, for `synvid report`.")


def find_sources(
    texts: Sequence[str], kind: str | None, seed: int, settings: Sequence[str], textures: Sequence[str], images: Path | None,
    quiet: bool,
) -> dict[str, Source]:  # fmt: skip
    """What the command line names, by what it calls it; presets have their settings and their banks of textures.

    Raises:
        ConfigurationError: there is no such thing, two have the same name, or an option changes nothing.
    """
    from synvid.measure.source import PresetSource, find_source

    pictures, known = pictures_of(images), set[str]()

    def prepare(preset: Preset) -> Preset:
        preset = preset.change(settings)
        known.update(preset.banks())
        wanted = pictures if "images" in preset.banks() else None
        given = tuple(text for text in textures if text.partition("=")[0] in preset.banks() or len(texts) == 1)
        return with_textures(preset, given, wanted, None, quiet)[0]

    sources: dict[str, Source] = {}
    names: dict[str, str] = {}
    for text in texts:
        sources[text] = find_source(text, kind=kind, seed=seed, prepare=prepare)
        name = sources[text].name
        if name in names:
            rest = text.partition("=")[2] or text
            raise ConfigurationError(f"{names[name]} and {text} are both called {name}; give one a name: OTHER={rest}.")
        names[name] = text
    presets = [source.of for source in sources.values() if isinstance(source, PresetSource)]
    if settings and not presets:
        raise ConfigurationError(f"--set {settings[0]}: changes presets, and none is measured.")
    for text in textures:
        if text.partition("=")[0] not in known:
            raise ConfigurationError(f"--textures {text}: no preset that is measured has such a bank.")
    if images is not None and not any(name == "images" or name.endswith(".bank") for one in presets for name in one.banks()):
        raise ConfigurationError(f"--images {images}: none of what is measured is a preset that shows natural images.")
    return sources


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
    from synvid.measure.stats import measure
    from synvid.terminal import Bar, Talk

    if not paths:
        raise ConfigurationError("name what to measure, for example `synvid stats moving_shapes`.")
    check_out(out)
    _check_plot(plot)
    other = [] if against is None or against.endswith(".json") or against in paths else [against]
    sources = find_sources([*paths, *other], kind, seed, settings, textures, images, quiet)

    def run(text: str, reference: tuple[str, Gaussian] | None) -> Record:
        source = sources[text]
        return measure(source, max_clips, moments, seed, reference, samples, Bar(source.name, quiet))

    reference, known = _reference(against, paths, lambda text: run(text, None))
    records = [known if known is not None and text == against else run(text, reference) for text in paths]
    give(records, out, as_json, Talk(quiet))
    if plot is not None:
        _draw(records, plot, Talk(quiet))


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
    from synvid.measure.accuracy import PAPER, read_accuracies
    from synvid.measure.record import merge, read_records
    from synvid.measure.report import page
    from synvid.terminal import Talk
    from synvid.work.disk import named_errors, write_whole
    from synvid.work.words import size

    if not files:
        raise ConfigurationError("name files of measures, for example `synvid report measures.json`.")
    if out.suffix.lower() not in (".html", ".htm"):
        raise ConfigurationError(f"--out {out}: a page ends in .html.")
    accuracies = read_accuracies(accuracy or PAPER)
    records = merge({str(path): read_records(path) for path in files})
    text = page(records, accuracies, title)
    with named_errors(out):
        write_whole(out, text)
    Talk(quiet)(f"{out}: {counted(len(records), 'dataset')}, {size(len(text))}.")


def check_out(out: Path | None) -> None:
    """Refuse what would only be refused after the work."""
    if out is not None and out.suffix.lower() != ".json":
        raise ConfigurationError(f"--out {out}: a file of measures ends in .json.")


def _check_plot(plot: Path | None) -> None:
    if plot is not None and plot.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise ConfigurationError(f"--plot {plot}: a picture ends in .png, .svg or .pdf.")
    if plot is not None:
        from synvid.measure.draw import overview

        overview([])  # says so if matplotlib is missing


def _reference(
    against: str | None, paths: tuple[str, ...], run: Callable[[str], Record]
) -> tuple[tuple[str, Gaussian] | None, Record | None]:
    """The colours of the reference, and its record where it is among what is measured."""
    if against is None:
        return None, None
    import dataclasses

    from synvid.measure.record import Property, key_to, read_records
    from synvid.measure.stats import gaussian_of

    if against.endswith(".json"):
        records = read_records(Path(against))
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
        record, properties={**record.properties, key_to("color_distance", record.name): itself}
    )


def give(records: list[Record], out: Path | None, as_json: bool, talk: Callable[[str], None]) -> None:
    """Print what was measured, with its notes, and write it to `out`."""
    from synvid.measure.record import to_json
    from synvid.work.disk import named_errors, write_whole

    for record in records:
        for note in record.notes:
            talk(f"{record.name}: {note}")
    if as_json:
        click.echo(to_json(records, samples=False), nl=False)
    else:
        click.echo("\n\n".join(table(record) for record in records))
    if out is not None:
        with named_errors(out):
            write_whole(out, to_json(records))
        talk(f"{out}: {counted(len(records), 'dataset')}; `synvid report {out}` draws them.")


def _draw(records: list[Record], plot: Path, talk: Callable[[str], None]) -> None:
    from synvid.measure.draw import overview, picture
    from synvid.work.disk import named_errors, write_whole

    with named_errors(plot):
        write_whole(plot, picture(overview(records), plot.suffix.lower()))
    talk(f"{plot}: drawn.")


def table(record: Record) -> str:
    """What was measured, a line a property."""
    from synvid.measure.bootstrap import LEAST_CLIPS

    what = "picture" if record.kind == "images" else "clip"
    lines = [f"{record.name}: {counted(record.clips, what)}, {record.source}"]
    width = max((len(one.label) for one in record.properties.values()), default=0)
    missing: dict[str, list[str]] = {}
    for one in record.properties.values():
        if one.value is None:
            missing.setdefault(one.why, []).append(one.label)
            continue
        interval = "" if one.ci95 is None else f"{number(one.ci95[0])} to {number(one.ci95[1])}"
        lines.append(f"  {one.label:{width}}  {number(one.value):>9}  {interval:22} {one.unit}".rstrip())
    lines += [f"  Without a value: {', '.join(labels)}; {why}." for why, labels in missing.items()]
    if record.clips < LEAST_CLIPS:
        lines.append(f"  No intervals: they need {LEAST_CLIPS} {what}s.")
    return "\n".join(lines)
