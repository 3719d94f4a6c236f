"""The commands `synvid status`, `verify` and `merge`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from synvid.cli.console import Console
from synvid.cli.options import FOLDER, json_option, quiet_option, textures_options, workers_option
from synvid.errors import DatasetError
from synvid.formatting import format_count
from synvid.textures.resolve import find_image_files, parse_texture_options

__all__ = ["merge", "status", "verify"]


@click.command()
@click.argument("folder", type=FOLDER)
@json_option
def status(folder: Path, as_json: bool) -> None:
    """List which shards of a dataset are done, missing or damaged.

    Reads the records of the shards and the sizes of their files only; `synvid verify` also compares hashes.
    """
    from synvid.dataset.layout import MANIFEST_FILES, shard_path
    from synvid.dataset.recipe import DatasetRecipe
    from synvid.dataset.verify import ShardState, shard_state

    recipe = DatasetRecipe.load(folder)
    states = [shard_state(recipe, folder, shard) for shard in range(recipe.num_shards)]
    shards = {state.value: [shard for shard, is_state in enumerate(states) if is_state is state] for state in ShardState}
    finished = len(shards["done"]) == recipe.num_shards and (folder / MANIFEST_FILES[recipe.format]).is_file()
    if as_json:
        click.echo(json.dumps({"n": recipe.n, "shards": recipe.num_shards, "finished": finished, **shards}))
        return
    click.echo(f"{folder}: {recipe.n} clips of {recipe.preset.name}, seed {recipe.seed}, in {recipe.num_shards} shards")
    for name, numbers in shards.items():
        some = ", ".join(shard_path(recipe, shard).name for shard in numbers[:5]) if name != "done" else ""
        more = f" and {len(numbers) - 5} more" if some and len(numbers) > 5 else ""
        click.echo(f"{name:8} {len(numbers):6}  {some}{more}".rstrip())
    if not finished:
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
    from synvid.dataset.layout import shard_path
    from synvid.dataset.locate import locate_inputs
    from synvid.dataset.recipe import DatasetRecipe
    from synvid.dataset.verify import VerifyShard, stale_descriptions
    from synvid.runtime.local_executor import default_workers, run_tasks

    recipe = DatasetRecipe.load(folder)
    if rerender:
        recipe = locate_inputs(recipe, parse_texture_options(textures), find_image_files(images), real)
    tasks = [(shard, len(recipe.indices(shard))) for shard in range(recipe.num_shards)]
    console = Console(quiet)
    bar = console.progress("verify")
    problems = run_tasks(VerifyShard(recipe, folder, rerender), tasks, workers or default_workers(), bar)
    found = {shard_path(recipe, shard).as_posix(): problem for shard, problem in sorted(problems.items())}
    if not problems:
        found |= dict.fromkeys(
            stale_descriptions(recipe, folder), f"was modified or is missing; `synvid merge {folder}` writes it again"
        )
    if as_json:
        click.echo(json.dumps({"ok": not found, "problems": found}))
    for name, problem in found.items():
        click.echo(f"{name}: {problem}", err=True)
    if problems:
        raise DatasetError(
            f"{len(problems)} of {recipe.num_shards} shards are damaged or missing; "
            f"`synvid render --recipe {folder / 'synvid.yaml'} --out {folder}` renders them again."
        )
    if found:
        raise DatasetError(f"{len(found)} descriptive files (manifest, card, lists) were modified or are missing.")
    also = ", and all clips render to identical frames" if rerender else ""
    console.message(f"{folder}: all {recipe.num_shards} shards match their hashes{also}.")


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
    from synvid.dataset.build import merge_datasets

    console = Console(quiet)
    copied, missing = merge_datasets(folder, list(sources))
    console.message(f"{folder}: {format_count(copied, 'shard')} copied.")
    if missing:
        raise DatasetError(f"{folder}: {len(missing)} shards are still missing; `synvid status {folder}` lists them.")
    console.message(f"{folder}: finished. See {folder / 'README.md'}.")
