"""Options and output that the commands share that measure or compare datasets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from synvid.cli.console import Console
from synvid.cli.options import FILE, combine_options, set_option, textures_options
from synvid.errors import ConfigurationError
from synvid.formatting import format_count, format_number

if TYPE_CHECKING:
    from synvid.metrics.results import DatasetMetrics, Property

__all__ = ["check_output_file", "format_metrics", "out_option", "print_results", "source_options"]

#: Options that say which clips of a dataset are measured, and those that change presets.
source_options = combine_options(
    click.option(
        "--max-clips",
        type=click.IntRange(1, 10**6),
        default=1000,
        show_default=True,
        help="Maximum number of clips per dataset: a random choice; of a preset, the first ones.",
    ),
    click.option(
        "--kind", type=click.Choice(["videos", "images"]), help="What to read from a folder that holds videos and images."
    ),
    click.option(
        "--seed",
        type=click.IntRange(0, 2**64 - 1),
        default=0,
        show_default=True,
        help="Random seed of the choice of clips, of the clips of presets and of the bootstrap.",
    ),
    set_option(),
    textures_options,
)

out_option = click.option("--out", type=FILE, help="Write the metrics to this JSON file, for `synvid report`.")


def check_output_file(out: Path | None) -> None:
    """Refuse a wrong `--out` before the work begins.

    Raises:
        ConfigurationError: it does not end in .json.
    """
    if out is not None and out.suffix.lower() != ".json":
        raise ConfigurationError(f"--out {out}: a metrics file ends in .json.")


def print_results(records: list[DatasetMetrics], out: Path | None, as_json: bool, console: Console) -> None:
    """Print the metrics of datasets on stdout and their notes on stderr; write the metrics to `out`, if given."""
    from synvid.metrics.results import to_json
    from synvid.os_errors import wrap_os_errors
    from synvid.storage.atomic_io import atomic_write

    for record in records:
        for note in record.notes:
            console.message(f"{record.name}: {note}")
    if as_json:
        click.echo(to_json(records, samples=False), nl=False)
    else:
        click.echo("\n\n".join(format_metrics(record) for record in records))
    if out is not None:
        with wrap_os_errors(out):
            atomic_write(out, to_json(records))
        console.message(f"{out}: {format_count(len(records), 'dataset')} written. Next: synvid report {out}")


def format_metrics(record: DatasetMetrics) -> str:
    """The metrics of a dataset as a text table, one property per line."""
    from synvid.metrics.bootstrap import MIN_CLIPS

    unit = "image" if record.kind == "images" else "clip"
    lines = [f"{record.name}: {format_count(record.clips, unit)}, {record.source}"]
    width = max((len(prop.label) for prop in record.properties.values()), default=0)
    missing: dict[str, list[str]] = {}
    for prop in record.properties.values():
        if prop.value is None:
            missing.setdefault(prop.why, []).append(prop.label)
        else:
            lines.append(f"  {prop.label:{width}}  {_format_value(prop)}".rstrip())
    lines += [f"  Without a value: {', '.join(labels)}; {why}." for why, labels in missing.items()]
    if record.clips < MIN_CLIPS:
        lines.append(f"  No intervals: they need {MIN_CLIPS} {unit}s.")
    return "\n".join(lines)


def _format_value(prop: Property) -> str:
    assert prop.value is not None
    interval = "" if prop.ci95 is None else f"{format_number(prop.ci95[0])} to {format_number(prop.ci95[1])}"
    return f"{format_number(prop.value):>9}  {interval:22} {prop.unit}"
