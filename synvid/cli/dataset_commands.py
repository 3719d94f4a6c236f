"""The commands `synvid status`, `verify` and `merge`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click

from synvid.cli.console import Console
from synvid.cli.options import FOLDER, json_option, quiet_option, textures_options, workers_option
from synvid.errors import DatasetError
from synvid.formatting import format_count
from synvid.textures.resolve_banks import parse_texture_options

__all__ = ["merge", "status", "verify"]


@click.command()
@click.argument("folder", type=FOLDER)
@json_option
def status(folder: Path, as_json: bool) -> None:
    """List which shards of a dataset are done, missing or damaged.

    Reads the records of the shards and the sizes of their files only; `synvid verify` also compares hashes.
    """
    from synvid.dataset.layout import shard_path
    from synvid.dataset.recipe import DatasetRecipe
    from synvid.dataset.status import dataset_status

    state = dataset_status(folder)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(state)))
        return
    recipe = DatasetRecipe.load(folder)
    clips = format_count(recipe.n, "clip")
    click.echo(f"{folder}: {clips} of {recipe.preset.name}, seed {recipe.seed}, in {format_count(recipe.num_shards, 'shard')}")
    for name, numbers in (("done", state.done), ("missing", state.missing), ("damaged", state.damaged)):
        listed = ", ".join(shard_path(recipe, shard).name for shard in numbers[:5]) if name != "done" else ""
        more = f" and {len(numbers) - 5} more" if listed and len(numbers) > 5 else ""
        click.echo(f"{name:8} {len(numbers):6}  {listed}{more}".rstrip())
    if not state.finished:
        click.echo(
            f"Not finished; render what is missing with `synvid render --recipe {folder / 'synvid.yaml'} --out {folder}`."
        )


@click.command()
@click.argument("folder", type=FOLDER)
@click.option("--rerender", is_flag=True, help="Also render every clip again and compare its frames.")
@textures_options
@click.option("--real", type=FOLDER, help="With --rerender: folder of the videos that the real clips are cut from.")
@workers_option
@json_option
@quiet_option
def verify(
    folder: Path, rerender: bool, textures: tuple[str, ...], images: Path | None, real: Path | None, workers: int | None,
    as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Read a whole dataset and compare every hash.

    `synvid render --recipe FOLDER/synvid.yaml --out FOLDER` then renders damaged shards again.
    """
    from synvid.dataset.verify import verify_dataset

    console = Console(quiet)
    result = verify_dataset(
        folder, rerender, textures=parse_texture_options(textures), images=images, real=real, workers=workers,
        reporter=console,
    )  # fmt: skip
    if as_json:
        click.echo(json.dumps({"ok": result.ok, "problems": result.problems}))
    for name, problem in result.problems.items():
        click.echo(f"{name}: {problem}", err=True)
    if result.bad_shards:
        raise DatasetError(
            f"damaged or missing shards: {len(result.bad_shards)} of {result.shards}; "
            f"`synvid render --recipe {folder / 'synvid.yaml'} --out {folder}` renders them again."
        )
    if result.stale_files:
        raise DatasetError(
            f"index files (manifest, video list, dataset card) that were modified or are missing: {len(result.stale_files)}."
        )
    also = ", and all clips render to identical frames" if rerender else ""
    console.message(f"{folder}: all hashes of {format_count(result.shards, 'shard')} match{also}.")


@click.command()
@click.argument("folder", type=FOLDER)
@click.argument("sources", nargs=-1, type=FOLDER)
@quiet_option
def merge(folder: Path, sources: tuple[Path, ...], quiet: bool) -> None:
    """Merge the parts of a dataset and finalize it.

    synvid merge data/ part0/ part1/

    Copies the shards that FOLDER lacks from the SOURCES, then writes the manifest, the dataset card and the lists of files.
    Without SOURCES it only finalizes FOLDER.
    """
    from synvid.dataset.merge import merge_datasets

    console = Console(quiet)
    copied, missing = merge_datasets(folder, list(sources))
    console.message(f"{folder}: {format_count(copied, 'shard')} copied.")
    if missing:
        raise DatasetError(
            f"{folder}: {format_count(len(missing), 'shard')} still missing; `synvid status {folder}` lists them."
        )
    console.message(f"{folder}: finished. See {folder / 'README.md'}.")
