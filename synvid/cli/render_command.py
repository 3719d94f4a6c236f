"""The command `synvid render`."""

from __future__ import annotations

import dataclasses
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
from synvid.paths import find_pattern_character
from synvid.runtime.slurm import slurm_array_part
from synvid.textures.resolve import find_image_files, missing_banks, parse_texture_options, resolve_textures

if TYPE_CHECKING:
    from synvid.dataset.recipe import DatasetRecipe
    from synvid.textures.bank import BankHeader
    from synvid.textures.image_folder import ImageFiles

__all__ = ["render"]


@click.command()
@click.option("--preset", help="Name of a preset, or path of a YAML file.")
@click.option("--n", type=int, help="Number of clips.")
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
    made = _recipe(preset, n, recipe, seed, settings, shard_size, layout, encoding, encoder, codec, real)
    share = _parse_part(part)
    if overwrite and share[1] > 1:
        raise ConfigurationError(
            f"--overwrite with part {share[0]}/{share[1]}: parts would remove each other's shards; "
            "render all with --overwrite --part 0/1, or choose another folder."
        )

    from synvid.dataset.build import check_folder, render_dataset
    from synvid.numerics.jit import is_cold
    from synvid.runtime.local_executor import default_workers

    workers = workers or default_workers()
    if not (out / "synvid.yaml").is_file():
        check_folder(made, out, overwrite)
    pictures = find_image_files(images)
    missing = missing_banks(made.preset, parse_texture_options(textures), pictures) if dry_run else []
    if not missing:
        made = _with_sources(made, out, recipe is not None, textures, pictures, real, workers, console)
        check_folder(made, out, overwrite)
    if dry_run:
        _plan(made, missing, out, workers, share, as_json)
        return
    exit_on_sigterm()
    pattern = find_pattern_character(out.absolute())
    if pattern:
        console.message(
            f"{out.absolute()}: `datasets` and webdataset interpret {pattern} in a path as a pattern or a separator, and will "
            "not find the clips; letters, digits, _ - . and spaces are safe."
        )
    if is_cold():
        console.message("Compiling the kernels, once on this machine; this takes about ten seconds.")
    if share[0] >= made.num_shards:
        click.echo(f"Part {share[0]}/{share[1]} is empty: the dataset has {format_count(made.num_shards, 'shard')}.", err=True)
    bar = console.progress(made.preset.name)
    result = render_dataset(made, out, workers=workers, part=share, overwrite=overwrite, progress=bar)
    _report(made, out, result, as_json, console)


def _recipe(
    preset: str | None, n: int | None, recipe: Path | None, seed: int, settings: tuple[str, ...], shard_size: int, layout: str,
    encoding: str, encoder: str, codec: str, real: Path | None,
) -> DatasetRecipe:  # fmt: skip
    from synvid.dataset.real_videos import RealVideos
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
    videos = None if real is None else RealVideos.find(real)
    return DatasetRecipe(
        load_preset(preset).override_text(settings), n, seed, shard_size, layout, encoding, encoder, codec, real=videos
    )


def _with_sources(
    recipe: DatasetRecipe, out: Path, is_known: bool, textures: tuple[str, ...], pictures: ImageFiles | None,
    real: Path | None, workers: int | None, console: Console,
) -> DatasetRecipe:  # fmt: skip
    """The recipe with the paths of its texture banks and real videos; a recipe with digests only accepts files that match."""
    from synvid.dataset.locate import bank_info, locate_inputs, remember_path
    from synvid.dataset.recipe import RECIPE_FILE
    from synvid.dataset.recipe import DatasetRecipe as Known
    from synvid.preset import BANK_SUFFIX
    from synvid.textures.bank_cache import find_bank

    own = recipe.preset.with_banks({name: Path(name).name for name in recipe.preset.banks() if name.endswith(BANK_SUFFIX)})
    if not is_known and (out / RECIPE_FILE).is_file() and not textures and pictures is None:
        there = Known.load(out)
        if there.preset == own:  # goes on with the banks it has, whatever would be built today
            recipe, is_known = dataclasses.replace(recipe, preset=own, banks=there.banks), True
    if is_known:
        return locate_inputs(recipe, parse_texture_options(textures), pictures, real)
    preset, _ = resolve_textures(recipe.preset, parse_texture_options(textures), pictures, workers, console)
    banks, places = {}, {}
    for name, place in zip(own.banks(), preset.banks(), strict=True):
        bank = find_bank(place)
        banks[name], places[name] = bank_info(bank.header), str(bank.path)
        remember_path(bank.header.digest, bank.path)
    if recipe.real is not None:
        remember_path(recipe.real.digest, Path(recipe.real.path))
    return dataclasses.replace(recipe, preset=own, banks=banks, places=places)


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


def _plan(
    recipe: DatasetRecipe, banks: list[BankHeader], out: Path, workers: int, part: tuple[int, int], as_json: bool
) -> None:
    """Print what a run would render; its size and time, estimated from two clips, unless texture banks must be built first."""
    from synvid.dataset.build import pending_shards

    missing, records = pending_shards(recipe, out, part)
    done = sum(len(recipe.indices(shard)) for shard in records)
    clips = sum(len(recipe.indices(shard)) for shard in missing)
    plan: dict[str, Any] = {"clips": clips, "shards": len(missing), "done": done, "bytes": None, "seconds": None}
    if not banks:
        bytes_each, seconds_each = _try_clips(recipe)
        plan["bytes"] = round(clips * bytes_each)
        plan["seconds"] = round(clips * seconds_each / max(1, min(workers, len(missing))), 1)
    if as_json:
        built = [{"kind": header.kind, "n": header.n, "bytes": header.file_bytes} for header in banks]
        click.echo(json.dumps({**plan, "banks_to_build": built}))
        return
    click.echo(f"preset   {recipe.preset.name}, seed {recipe.seed}")
    click.echo(f"clips    {clips} to render, {done} done")
    click.echo(f"shards   {len(missing)} to write, of {recipe.num_shards}")
    for header in banks:
        click.echo(f"textures {header.n:,} of kind {header.kind} to build first, {format_size(header.file_bytes)}")
    if banks:
        click.echo("size     and time: unknown until the textures are built")
    else:
        click.echo(f"size     about {format_size(plan['bytes'])}")
        click.echo(f"time     about {format_duration(plan['seconds'])} with {workers} worker{'s' if workers > 1 else ''}")


def _try_clips(recipe: DatasetRecipe) -> tuple[float, float]:
    """Bytes and seconds of a clip, the mean of two clips."""
    import time

    from synvid.dataset.shard import render_clip

    encoder, seconds, sizes = recipe.make_encoder(), [], []
    for index in (0, 0, recipe.n // 2):  # the first also compiles
        begin = time.perf_counter()
        sizes.append(len(render_clip(recipe, index, encoder)[0]))
        seconds.append(time.perf_counter() - begin)
    return sum(sizes[1:]) / 2, sum(seconds[1:]) / 2


def _report(recipe: DatasetRecipe, out: Path, result: Any, as_json: bool, console: Console) -> None:
    from synvid.dataset.layout import shard_path
    from synvid.formatting import describe_unreadable

    rate = result.clips / max(result.seconds, 1e-9)
    if as_json:
        facts = {"out": str(out), "clips": result.clips, "skipped": result.skipped, "bytes": result.bytes}
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
    before = f", {result.skipped} already rendered" if result.skipped else ""
    pace = f", in {format_duration(result.seconds)} ({rate:.1f} clips/s)" if result.clips else ""
    console.message(f"{out}: {result.clips} clips rendered{before}, {format_size(result.bytes)}{pace}.")
    if result.finished:
        console.message(f"Next: synvid.open_dataset({str(out)!r}) in Python, or see {out / 'README.md'} for other loaders.")
    else:
        console.message(f"The other parts are still missing: synvid status {out}")
