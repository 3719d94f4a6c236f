"""The command `synvid render`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from synvid.cli.console import Console
from synvid.cli.group import exit_on_sigterm
from synvid.cli.options import (
    FILE,
    FOLDER,
    PATH,
    json_option,
    quiet_option,
    seed_option,
    set_option,
    textures_options,
    workers_option,
)
from synvid.errors import ConfigurationError, DatasetError
from synvid.formatting import format_count, format_duration, format_size
from synvid.runtime.slurm import slurm_array_part
from synvid.textures.resolve_banks import parse_texture_options

if TYPE_CHECKING:
    from synvid.dataset.build import RenderResult
    from synvid.dataset.plan import RenderPlan
    from synvid.dataset.recipe import DatasetRecipe

__all__ = ["render"]


@click.command()
@click.option("--preset", help="Name of a preset, or path of a YAML file. Required unless --recipe is given.")
@click.option("--n", type=int, help="Number of clips. Required unless --recipe is given.")
@click.option("--recipe", type=FILE, help="A dataset's synvid.yaml: render that dataset again, with all its settings.")
@click.option("--out", required=True, type=PATH, help="Folder to write the dataset to.")
@seed_option
@set_option()
@click.option("--shard-size", type=int, default=64, show_default=True, help="Number of clips per shard.")
@click.option(
    "--format",
    "layout",
    default="tar",
    show_default=True,
    help="tar: WebDataset shards. files: one file per clip, a folder per shard.",
)
@click.option("--encoding", default="fast", show_default=True, help="Video quality and size: fast, small, yuv444 or lossless.")
@click.option(
    "--encoder",
    default="pyav",
    show_default=True,
    help="pyav: encode in process. ffmpeg: use an ffmpeg program, which IMAGEIO_FFMPEG_EXE can name.",
)
@click.option("--codec", default="", help="With --encoder ffmpeg: the ffmpeg codec to use, for example h264_nvenc.")
@textures_options
@click.option("--real", type=FOLDER, help="Folder of videos, for presets that mix in real clips.")
@workers_option
@click.option(
    "--part",
    metavar="I/N",
    help="Render only part I of N, counted from 0.  [default: all, or the task's part in a Slurm job array]",
)
@click.option("--dry-run", is_flag=True, help="Print what would be rendered, its size and the time needed; write nothing.")
@click.option("--overwrite", is_flag=True, help="Remove a different dataset from the folder first.")
@json_option
@quiet_option
def render(
    preset: str | None,
    n: int | None,
    recipe: Path | None,
    out: Path,
    seed: int,
    settings: tuple[str, ...],
    shard_size: int,
    layout: str,
    encoding: str,
    encoder: str,
    codec: str,
    textures: tuple[str, ...],
    images: Path | None,
    real: Path | None,
    workers: int | None,
    part: str | None,
    dry_run: bool,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Render a dataset, or the shards of it that are missing.

    synvid render --preset moving_shapes --n 9537 --out data/

    If it is interrupted, the same command continues where it stopped.
    """
    console = Console(quiet)
    chosen = _recipe(preset, n, recipe, seed, settings, shard_size, layout, encoding, encoder, codec, real)
    shards = _parse_part(part)

    from synvid.dataset.build import run_plan
    from synvid.dataset.plan import InputPaths, plan_render
    from synvid.runtime.local_executor import default_workers

    workers = workers or default_workers()
    inputs = InputPaths(parse_texture_options(textures), images, real)
    plan = plan_render(
        chosen, out, part=shards, overwrite=overwrite, inputs=inputs, workers=workers, reporter=console, dry_run=dry_run
    )
    if dry_run:
        _print_plan(plan, workers, as_json)
        return
    exit_on_sigterm()
    if shards[0] >= plan.recipe.num_shards:
        count = format_count(plan.recipe.num_shards, "shard")
        click.echo(f"Part {shards[0]}/{shards[1]} is empty: the dataset has {count}.", err=True)
    _report(plan.recipe, out, run_plan(plan, workers, console), as_json, console)


def _recipe(
    preset: str | None, n: int | None, recipe: Path | None, seed: int, settings: tuple[str, ...], shard_size: int, layout: str,
    encoding: str, encoder: str, codec: str, real: Path | None,
) -> DatasetRecipe:  # fmt: skip
    from synvid.dataset.build import make_recipe
    from synvid.dataset.recipe import RECIPE_FILE, DatasetRecipe
    from synvid.preset import load_preset

    if recipe is not None:
        given = [f"--{name.replace('_', '-')}" for name in _SETTINGS if _is_given(_PARAMETERS.get(name, name))]
        if given:
            raise ConfigurationError(f"--recipe already contains all settings; leave out {', '.join(given)}.")
        if recipe.name != RECIPE_FILE or not recipe.is_file():
            raise ConfigurationError(f"--recipe {recipe}: must be the path of a dataset's {RECIPE_FILE}.")
        return DatasetRecipe.load(recipe.parent)
    if preset is None or n is None:
        raise ConfigurationError("--preset and --n are needed, for example --preset moving_shapes --n 100.")
    return make_recipe(
        load_preset(preset).override_text(settings), n, real=real, seed=seed, shard_size=shard_size, format=layout,
        encoding=encoding, encoder=encoder, codec=codec,
    )  # fmt: skip


#: Options that --recipe replaces, and the parameter names of those that have another name.
_SETTINGS = ("preset", "n", "set", "seed", "shard_size", "format", "encoding", "encoder", "codec")
_PARAMETERS = {"set": "settings", "format": "layout"}


def _is_given(parameter: str) -> bool:
    source = click.get_current_context().get_parameter_source(parameter)
    return source is click.core.ParameterSource.COMMANDLINE


def _parse_part(text: str | None) -> tuple[int, int]:
    """The part (i, n) that `--part` gives, else that of the task of a Slurm job array, else (0, 1), which is all."""
    if text is None:
        part = slurm_array_part()
        if part is None:
            return 0, 1
        click.echo(
            f"Rendering part {part[0]}/{part[1]} (counted from 0), from SLURM_ARRAY_TASK_ID; --part 0/1 renders all.", err=True
        )
        return part
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    i, n = map(int, match.groups()) if match else (0, 0)
    if i >= n:
        raise ConfigurationError(f"--part {text}: write I/N with I from 0 to N - 1, for example 0/8 for the first of eight.")
    return i, n


def _print_plan(plan: RenderPlan, workers: int, as_json: bool) -> None:
    """Print what a run would render; its size and time, estimated from two clips, unless texture banks must be built first."""
    counts: dict[str, Any] = {"clips": plan.clips_to_render, "shards": len(plan.to_render), "done": plan.clips_done}
    size, seconds = (None, None) if plan.banks_to_build else plan.estimate(workers)
    if as_json:
        banks = [{"kind": header.kind, "n": header.n, "bytes": header.file_bytes} for header in plan.banks_to_build]
        rounded = None if seconds is None else round(seconds, 1)
        click.echo(json.dumps({**counts, "bytes": size, "seconds": rounded, "banks_to_build": banks}))
        return
    click.echo(f"preset   {plan.recipe.preset.name}, seed {plan.recipe.seed}")
    click.echo(f"clips    {plan.clips_to_render} to render, {plan.clips_done} done")
    click.echo(f"shards   {len(plan.to_render)} to write, of {plan.recipe.num_shards}")
    for header in plan.banks_to_build:
        click.echo(f"textures {header.n:,} of kind {header.kind} to build first, {format_size(header.file_bytes)}")
    if size is None or seconds is None:
        click.echo("size     and time: unknown until the textures are built")
    else:
        click.echo(f"size     about {format_size(size)}")
        click.echo(f"time     about {format_duration(seconds)} with {format_count(workers, 'worker')}")


def _report(recipe: DatasetRecipe, out: Path, result: RenderResult, as_json: bool, console: Console) -> None:
    from synvid.dataset.layout import shard_path
    from synvid.formatting import describe_unreadable

    rate = result.clips / max(result.seconds, 1e-9)
    if as_json:
        facts = {"out": str(out), "clips": result.clips, "already_done": result.already_done, "bytes": result.bytes}
        failed = [{"shard": shard_path(recipe, shard).as_posix(), "error": why} for shard, why in result.failed.items()]
        times = {"seconds": round(result.seconds, 3), "clips_per_second": round(rate, 3)}
        click.echo(json.dumps({**facts, **times, "finished": result.finished, "failed": failed}))
    if result.failed:
        for shard, why in sorted(result.failed.items()):
            click.echo(f"{shard_path(recipe, shard)}: {why}", err=True)
        count = len(result.failed)
        raise DatasetError(f"{format_count(count, 'shard')} failed; run the same command again to render what is missing.")
    if result.unreadable:
        console.message(describe_unreadable("video", result.unreadable))
    before = f", {result.already_done} already rendered" if result.already_done else ""
    pace = f", in {format_duration(result.seconds)} ({rate:.1f} clips/s)" if result.clips else ""
    console.message(f"{out}: {format_count(result.clips, 'clip')} rendered{before}, {format_size(result.bytes)}{pace}.")
    if result.finished:
        console.message(f"Next: synvid.open_dataset({str(out)!r}) in Python, or see {out / 'README.md'} for other loaders.")
    else:
        console.message(f"The other parts are still missing: synvid status {out}")
