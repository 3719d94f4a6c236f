"""The commands `synvid status`, `verify` and `merge`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click

from synvid.cli.console import Console
from synvid.cli.options import FOLDER, json_option, quiet_option, textures_options, workers_option
from synvid.errors import DatasetError
from synvid.textures.resolve import parse_texture_options


# ---- status, verify, merge ----------------------------------------------------------------------------------------
@click.command()
@click.argument("folder", type=FOLDER)
@json_option
def status(folder: Path, as_json: bool) -> None:
    """Say what is done, missing or damaged.

    From the records of the shards and the sizes of their files.
    """
    from synvid.dataset.layout import shard_path
    from synvid.dataset.recipe import DatasetRecipe
    from synvid.dataset.status import dataset_status

    state = dataset_status(folder)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(state)))
        return
    recipe = DatasetRecipe.load(folder)
    click.echo(f"{folder}: {recipe.n} clips of {recipe.preset.name}, seed {recipe.seed}, in {recipe.num_shards} shards")
    for name, numbers in (("done", state.done), ("missing", state.missing), ("damaged", state.damaged)):
        listed = ", ".join(shard_path(recipe, shard).name for shard in numbers[:5]) if name != "done" else ""
        more = f" and {len(numbers) - 5} more" if listed and len(numbers) > 5 else ""
        click.echo(f"{name:8} {len(numbers):6}  {listed}{more}".rstrip())
    if not state.finished:
        click.echo(f"Not finished; `synvid render --recipe {folder / 'synvid.yaml'} --out {folder}` renders what is missing.")


@click.command()
@click.argument("folder", type=FOLDER)
@click.option("--deep", is_flag=True, help="Render every clip again and compare its frames, too.")
@textures_options
@click.option("--real", type=FOLDER, help="With --deep: folder of the videos that real clips are cut from.")
@workers_option
@json_option
@quiet_option
def verify(
    folder: Path, deep: bool, textures: tuple[str, ...], images: Path | None, real: Path | None, workers: int | None,
    as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Check every hash of a dataset. What is damaged is rendered anew by the next `render`."""
    from synvid.dataset.verify import verify_dataset

    console = Console(quiet)
    result = verify_dataset(
        folder, deep, textures=parse_texture_options(textures), images=images, real=real, workers=workers, reporter=console
    )
    if as_json:
        click.echo(json.dumps({"ok": result.ok, "problems": result.problems}))
    for name, problem in result.problems.items():
        click.echo(f"{name}: {problem}", err=True)
    if result.bad_shards:
        raise DatasetError(
            f"{len(result.bad_shards)} of {result.shards} shards are not right; "
            f"`synvid render --recipe {folder / 'synvid.yaml'} --out {folder}` renders them again."
        )
    if result.stale_files:
        raise DatasetError(f"{len(result.stale_files)} files that describe the dataset are not right.")
    also = ", and every clip renders to the frames it was made from" if deep else ""
    console.message(f"{folder}: all {result.shards} shards are as they were written{also}.")


@click.command()
@click.argument("folder", type=FOLDER)
@click.argument("sources", nargs=-1, type=FOLDER)
@quiet_option
def merge(folder: Path, sources: tuple[Path, ...], quiet: bool) -> None:
    """Join parts from other folders, and finish.

    Copies shards from the SOURCES, then writes manifest, card and lists.
    """
    from synvid.dataset.merge import merge_datasets

    console = Console(quiet)
    copied, missing = merge_datasets(folder, list(sources))
    console.message(f"{folder}: {copied} shards copied.")
    if missing:
        raise DatasetError(f"{folder}: {len(missing)} shards are still missing; `synvid status {folder}` names them.")
    console.message(f"{folder}: finished; see {folder / 'README.md'}.")
