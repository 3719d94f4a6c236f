"""The command `synvid render`."""

from __future__ import annotations

import dataclasses
import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from synvid.cli.console import Console
from synvid.cli.group import terminate
from synvid.cli.options import FOLDER, json_option, quiet_option, seed_option, textures_options, workers_option
from synvid.errors import ConfigurationError, DatasetError
from synvid.formatting import format_count, format_duration, format_size
from synvid.textures.resolve import find_image_files, missing_banks, parse_texture_options, resolve_textures

if TYPE_CHECKING:
    from synvid.dataset.recipe import DatasetRecipe
    from synvid.textures.bank import BankHeader
    from synvid.textures.image_folder import ImageFiles
from synvid.cli.options import set_option
from synvid.runtime.slurm import parse_count, slurm_array_part


# ---- render -------------------------------------------------------------------------------------------------------
@click.command()
@click.option("--preset", help="Name of a preset, or a YAML file.")
@click.option("--n", type=int, help="How many clips.")
@click.option("--recipe", type=click.Path(path_type=Path, dir_okay=False), help="A synvid.yaml, in place of all settings.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the dataset.")
@seed_option
@set_option()
@click.option("--shard-size", type=int, default=64, show_default=True, help="Clips in a shard.")
@click.option("--format", "layout", default="tar", show_default=True, help="tar (WebDataset shards) or files (one a clip).")
@click.option("--encoding", default="fast", show_default=True, help="fast, small, yuv444 or lossless.")
@click.option("--encoder", default="pyav", show_default=True, help="pyav, or ffmpeg: the program IMAGEIO_FFMPEG_EXE names.")
@click.option("--codec", default="", help="With --encoder ffmpeg: another codec of it, h264_nvenc say.")
@textures_options
@click.option("--real", type=FOLDER, help="Folder of videos, for presets that mix in real clips.")
@workers_option
@click.option(
    "--part",
    metavar="I/N",
    help="Only the I-th of N parts, counted from 0.  [default: all; in a Slurm array of tasks 0 to N - 1, the task's]",
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, how large and how long.")
@click.option("--overwrite", is_flag=True, help="Remove another dataset that is in the folder.")
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
    """Render a dataset, or what is missing of it.

    synvid render --preset moving_shapes --n 9537 --out data/

    The same command again goes on where it stopped.
    """
    console = Console(quiet)
    made = _recipe(preset, n, recipe, seed, settings, shard_size, layout, encoding, encoder, codec, real)
    share = _parse_part(part)
    if overwrite and share[1] > 1:
        raise ConfigurationError(
            f"--overwrite with part {share[0]}/{share[1]}: parts would remove each other's work; "
            "--overwrite by a command that renders all, or choose another folder."
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
    signal.signal(signal.SIGTERM, terminate)
    pattern = next((sign for sign in _PATTERNS if sign in str(out.absolute())), "")
    if pattern:
        console.message(
            f"{out.absolute()}: `datasets` and webdataset take {pattern} for a pattern or the end of a path and will not find "
            "the clips there; letters, digits, _ - . and blanks are safe."
        )
    if is_cold():
        console.message("Compiling the kernels, once on this machine: about ten seconds.")
    if share[0] >= made.num_shards:
        click.echo(f"Part {share[0]}/{share[1]} is empty: the dataset has {format_count(made.num_shards, 'shard')}.", err=True)
    bar = console.progress(made.preset.name)
    result = render_dataset(made, out, workers=workers, part=share, overwrite=overwrite, progress=bar)
    _report(made, out, result, as_json, console)


#: What loaders of datasets do not take literally in a path.
_PATTERNS = ("[", "]", "{", "}", "*", "?", "#", "::")


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
            raise ConfigurationError(f"--recipe has all settings; leave out {', '.join(given)}.")
        if recipe.name != RECIPE_FILE or not recipe.is_file():
            raise ConfigurationError(f"--recipe {recipe}: give the path of a dataset's {RECIPE_FILE}.")
        return DatasetRecipe.load(recipe.parent)
    if preset is None or n is None:
        raise ConfigurationError("--preset and --n are needed, for example --preset moving_shapes --n 100.")
    videos = None if real is None else RealVideos.find(real)
    return DatasetRecipe(
        load_preset(preset).change(settings), n, seed, shard_size, layout, encoding, encoder, codec, real=videos
    )


def _with_sources(
    recipe: DatasetRecipe, out: Path, is_known: bool, textures: tuple[str, ...], pictures: ImageFiles | None, real: Path | None,
    workers: int | None, console: Console,
) -> DatasetRecipe:  # fmt: skip
    """The recipe with its banks of textures and real videos at hand; one that knows their digests gets no others."""
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


#: Options that a recipe takes the place of, and their names as parameters where those differ.
_SETTINGS = ("preset", "n", "set", "seed", "shard_size", "format", "encoding", "encoder", "codec")
_PARAMETERS = {"set": "settings", "format": "layout"}


def _is_given(parameter: str) -> bool:
    source = click.get_current_context().get_parameter_source(parameter)
    return source is click.core.ParameterSource.COMMANDLINE


def _parse_part(text: str | None) -> tuple[int, int]:
    """(i, n): the part that is asked for, or else the one that a job array says, which is told."""
    if text is None:
        return slurm_array_part()
    one, _, other = text.partition("/")
    i, n = parse_count(one), parse_count(other)
    if not 0 <= i < n:
        raise ConfigurationError(f"--part {text}: write I/N with I from 0 to N - 1, for example 0/8 for the first of eight.")
    return i, n


def _plan(
    recipe: DatasetRecipe, banks: list[BankHeader], out: Path, workers: int, part: tuple[int, int], as_json: bool
) -> None:
    """Say what a run would do; how large and how long, from two clips rendered to see, unless banks are to be built first."""
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
        click.echo("size     and time: not known before the textures are there")
    else:
        click.echo(f"size     about {format_size(plan['bytes'])}")
        click.echo(f"time     about {format_duration(plan['seconds'])} with {workers} worker{'s' if workers > 1 else ''}")


def _try_clips(recipe: DatasetRecipe) -> tuple[float, float]:
    """Bytes and seconds of a clip, the mean of two."""
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
        raise DatasetError(f"{count} shard{'s' if count > 1 else ''} failed; the same command renders what is missing.")
    if result.unreadable:
        console.message(describe_unreadable("video", result.unreadable))
    before = f", {result.skipped} were there" if result.skipped else ""
    pace = f", in {format_duration(result.seconds)} ({rate:.1f} clips/s)" if result.clips else ""
    console.message(f"{out}: {result.clips} clips rendered{before}, {format_size(result.bytes)}{pace}.")
    if result.finished:
        console.message(f"Next: synvid.open_dataset({str(out)!r}) in Python, or see {out / 'README.md'} for other loaders.")
    else:
        console.message(f"The other parts are still missing: synvid status {out}")
