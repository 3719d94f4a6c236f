"""The command `synvid-train check-list`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from synvid.cli.console import Console
from synvid.cli.options import json_option, quiet_option, workers_option

if TYPE_CHECKING:
    pass
from synvid_train.cli.evaluation_commands import load_classifier
from synvid_train.cli.options import PATH, root_option


@click.command("check-list")
@click.argument("videos", metavar="LIST", type=PATH)
@root_option
@click.option("--split", "column", help="Column that marks the parts of a CSV; of HMDB51: 1, 2 or 3.")
@click.option("--classes-from", "checkpoint", type=PATH, help="A classifier that is to know the labels.")
@click.option("--decode", "is_decoded", is_flag=True, help="Decode every video from its first frame to its last.")
@workers_option
@json_option
@quiet_option
def check_list(
    videos: Path, root: Path | None, column: str | None, checkpoint: Path | None, is_decoded: bool, workers: int | None,
    as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Say what a list of videos holds, what is missing, and what cannot be decoded.

    synvid-train check-list train.csv --decode

    LIST is what `finetune --train` takes. Exit code 1 if something is missing or cannot be decoded.
    """
    from synvid.errors import DatasetError
    from synvid.runtime.local_executor import default_workers
    from synvid_train.data.list_report import check_list as check

    classes = load_classifier(checkpoint, "--classes-from").classes if checkpoint else ()
    processes = workers or default_workers()
    report = check(videos, root, classes, column, is_decoded, processes, Console(quiet).progress("decoded"))
    if as_json:
        click.echo(json.dumps(report.to_dict(), indent=1))
    elif not quiet:
        click.echo("\n".join(report.format_lines()))
    if report.problem:
        raise DatasetError(report.problem)
