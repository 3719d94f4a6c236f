"""The commands `synvid status`, `verify` and `merge`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from synvid.cli.console import Console
from synvid.cli.options import FOLDER, json_option, quiet_option, textures_options, workers_option
from synvid.errors import DatasetError
from synvid.textures.resolve import find_image_files, parse_texture_options

if TYPE_CHECKING:
    pass


# ---- status, verify, merge ----------------------------------------------------------------------------------------
@click.command()
@click.argument("folder", type=FOLDER)
@json_option
def status(folder: Path, as_json: bool) -> None:
    """Say what is done, missing or damaged.

    From the records of the shards and the sizes of their files.
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
    from synvid.dataset.layout import shard_path
    from synvid.dataset.locate import locate_inputs
    from synvid.dataset.recipe import DatasetRecipe
    from synvid.dataset.verify import VerifyShard, stale_descriptions
    from synvid.runtime.local_executor import default_workers, run_tasks

    recipe = DatasetRecipe.load(folder)
    if deep:
        recipe = locate_inputs(recipe, parse_texture_options(textures), find_image_files(images), real)
    tasks = [(shard, len(recipe.indices(shard))) for shard in range(recipe.num_shards)]
    console = Console(quiet)
    bar = console.progress("verify")
    problems = run_tasks(VerifyShard(recipe, folder, deep), tasks, workers or default_workers(), bar)
    found = {shard_path(recipe, shard).as_posix(): problem for shard, problem in sorted(problems.items())}
    if not problems:
        found |= dict.fromkeys(stale_descriptions(recipe, folder), f"is not as written; `synvid merge {folder}` mends it")
    if as_json:
        click.echo(json.dumps({"ok": not found, "problems": found}))
    for name, problem in found.items():
        click.echo(f"{name}: {problem}", err=True)
    if problems:
        raise DatasetError(
            f"{len(problems)} of {recipe.num_shards} shards are not right; "
            f"`synvid render --recipe {folder / 'synvid.yaml'} --out {folder}` renders them anew."
        )
    if found:
        raise DatasetError(f"{len(found)} files that describe the dataset are not right.")
    also = ", and every clip renders to the frames it was made from" if deep else ""
    console.message(f"{folder}: all {recipe.num_shards} shards are as they were written{also}.")


@click.command()
@click.argument("folder", type=FOLDER)
@click.argument("sources", nargs=-1, type=FOLDER)
@quiet_option
def merge(folder: Path, sources: tuple[Path, ...], quiet: bool) -> None:
    """Join parts from other folders, and finish.

    Copies shards from the SOURCES, then writes manifest, card and lists.
    """
    from synvid.dataset.build import merge_datasets

    console = Console(quiet)
    copied, missing = merge_datasets(folder, list(sources))
    console.message(f"{folder}: {copied} shards copied.")
    if missing:
        raise DatasetError(f"{folder}: {len(missing)} shards are still missing; `synvid status {folder}` names them.")
    console.message(f"{folder}: finished; see {folder / 'README.md'}.")
