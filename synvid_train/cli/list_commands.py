"""The command `synvid-train check-list`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from synvid.cli.console import Console
from synvid.cli.options import PATH, json_option, quiet_option, workers_option
from synvid_train.cli.options import load_classifier, root_option

__all__ = ["check_list"]


@click.command("check-list")
@click.argument("videos", metavar="LIST", type=PATH)
@root_option
@click.option(
    "--split", "split_option", help="CSV column that names each video's split (train, val, test); for HMDB51: 1, 2 or 3."
)
@click.option(
    "--classes-from", "checkpoint", type=PATH, help="Checkpoint of a classifier that must have all classes of the list."
)
@click.option("--decode", "is_decoded", is_flag=True, help="Also decode all frames of every video.")
@workers_option
@json_option
@quiet_option
def check_list(
    videos: Path, root: Path | None, split_option: str | None, checkpoint: Path | None, is_decoded: bool, workers: int | None,
    as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Check a list of videos for missing and broken files.

    synvid-train check-list train.csv --decode

    LIST is a list or folder as for `synvid-train finetune --train`. Prints the number of videos and classes. The exit code is
    1 if a video is missing or cannot be decoded.
    """
    from synvid.errors import DatasetError
    from synvid.runtime.local_executor import default_workers
    from synvid_train.data.list_report import check_list as check

    classes = load_classifier(checkpoint, "--classes-from").classes if checkpoint else ()
    processes = workers or default_workers()
    report = check(videos, root, classes, split_option, is_decoded, processes, Console(quiet).progress("decode"))
    if as_json:
        click.echo(json.dumps(report.to_dict(), indent=1))
    elif not quiet:
        click.echo("\n".join(report.format_lines()))
    if report.problem:
        raise DatasetError(report.problem)
