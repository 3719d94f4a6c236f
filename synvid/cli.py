"""The command `synvid`: thin over the library. Data go to stdout, talk to stderr.

Exit codes: 0 done, 1 something failed, 2 wrong use or configuration, 130 interrupted.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from synvid import __version__
from synvid.command import FOLDER, Command, Group, json_option, quiet_option, seed_option, terminate, workers_option
from synvid.errors import ConfigurationError, DatasetError
from synvid.measure.commands import report, stats
from synvid.texture.commands import missing_banks, parse_textures, pictures_of, textures_options, with_textures
from synvid.texture.commands import textures as textures_group

if TYPE_CHECKING:
    from synvid.dataset.recipe import Recipe
    from synvid.texture.bank import Header
    from synvid.texture.folder import Pictures

__all__ = ["main"]


@click.group("synvid", cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="synvid")
def main() -> None:
    """Synthetic video for pre-training: a preset, a seed and an index name one clip, bit for bit."""


# ---- Shared options -----------------------------------------------------------------------------------------------
def _set_option(command: Command) -> Command:
    return click.option(
        "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a setting, objects.count=200; repeatable."
    )(command)


# ---- render -------------------------------------------------------------------------------------------------------
@main.command()
@click.option("--preset", help="Name of a preset, or a YAML file.")
@click.option("--n", type=int, help="How many clips.")
@click.option("--recipe", type=click.Path(path_type=Path, dir_okay=False), help="A synvid.yaml, in place of all settings.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the dataset.")
@seed_option
@_set_option
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
    from synvid.terminal import Talk

    talk = Talk(quiet)
    made = _recipe(preset, n, recipe, seed, settings, shard_size, layout, encoding, encoder, codec, real)
    share = _parse_part(part)
    if overwrite and share[1] > 1:
        raise ConfigurationError(
            f"--overwrite with part {share[0]}/{share[1]}: parts would remove each other's work; "
            "--overwrite by a command that renders all, or choose another folder."
        )

    from synvid._jit import is_cold
    from synvid.dataset.engine import check_folder, render_dataset
    from synvid.terminal import Bar
    from synvid.work.pool import default_workers
    from synvid.work.words import counted

    workers = workers or default_workers()
    if not (out / "synvid.yaml").is_file():
        check_folder(made, out, overwrite)
    pictures = pictures_of(images)
    missing = missing_banks(made.preset, textures, pictures) if dry_run else []
    if not missing:
        made = _with_sources(made, out, recipe is not None, textures, pictures, real, workers, quiet)
        check_folder(made, out, overwrite)
    if dry_run:
        _plan(made, missing, out, workers, share, as_json)
        return
    signal.signal(signal.SIGTERM, terminate)
    pattern = next((sign for sign in _PATTERNS if sign in str(out.absolute())), "")
    if pattern:
        talk(
            f"{out.absolute()}: `datasets` and webdataset take {pattern} for a pattern or the end of a path and will not find "
            "the clips there; letters, digits, _ - . and blanks are safe."
        )
    if is_cold():
        talk("Compiling the kernels, once on this machine: about ten seconds.")
    if share[0] >= made.num_shards:
        click.echo(f"Part {share[0]}/{share[1]} is empty: the dataset has {counted(made.num_shards, 'shard')}.", err=True)
    bar = Bar(made.preset.name, quiet)
    result = render_dataset(made, out, workers=workers, part=share, overwrite=overwrite, progress=bar)
    _report(made, out, result, as_json, talk)


#: What loaders of datasets do not take literally in a path.
_PATTERNS = ("[", "]", "{", "}", "*", "?", "#", "::")


def _recipe(
    preset: str | None, n: int | None, recipe: Path | None, seed: int, settings: tuple[str, ...], shard_size: int, layout: str,
    encoding: str, encoder: str, codec: str, real: Path | None,
) -> Recipe:  # fmt: skip
    from synvid.dataset.real import RealVideos
    from synvid.dataset.recipe import RECIPE_FILE, Recipe
    from synvid.preset import load_preset

    if recipe is not None:
        given = [f"--{name.replace('_', '-')}" for name in _SETTINGS if _is_given(_PARAMETERS.get(name, name))]
        if given:
            raise ConfigurationError(f"--recipe has all settings; leave out {', '.join(given)}.")
        if recipe.name != RECIPE_FILE or not recipe.is_file():
            raise ConfigurationError(f"--recipe {recipe}: give the path of a dataset's {RECIPE_FILE}.")
        return Recipe.load(recipe.parent)
    if preset is None or n is None:
        raise ConfigurationError("--preset and --n are needed, for example --preset moving_shapes --n 100.")
    videos = None if real is None else RealVideos.find(real)
    return Recipe(load_preset(preset).change(settings), n, seed, shard_size, layout, encoding, encoder, codec, real=videos)


def _with_sources(
    recipe: Recipe, out: Path, is_known: bool, textures: tuple[str, ...], pictures: Pictures | None, real: Path | None,
    workers: int | None, quiet: bool,
) -> Recipe:  # fmt: skip
    """The recipe with its banks of textures and real videos at hand; one that knows their digests gets no others."""
    from synvid.dataset.locate import facts_of, locate, remember
    from synvid.dataset.recipe import RECIPE_FILE
    from synvid.dataset.recipe import Recipe as Known
    from synvid.preset import BANK_SUFFIX
    from synvid.texture.supply import find_bank

    own = recipe.preset.with_banks({name: Path(name).name for name in recipe.preset.banks() if name.endswith(BANK_SUFFIX)})
    if not is_known and (out / RECIPE_FILE).is_file() and not textures and pictures is None:
        there = Known.load(out)
        if there.preset == own:  # goes on with the banks it has, whatever would be built today
            recipe, is_known = dataclasses.replace(recipe, preset=own, banks=there.banks), True
    if is_known:
        return locate(recipe, parse_textures(textures), pictures, real)
    preset, _ = with_textures(recipe.preset, textures, pictures, workers, quiet)
    banks, places = {}, {}
    for name, place in zip(own.banks(), preset.banks(), strict=True):
        bank = find_bank(place)
        banks[name], places[name] = facts_of(bank.header), str(bank.path)
        remember(bank.header.digest, bank.path)
    if recipe.real is not None:
        remember(recipe.real.digest, Path(recipe.real.path))
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
        return _part_of_array()
    one, _, other = text.partition("/")
    i, n = _number(one), _number(other)
    if not 0 <= i < n:
        raise ConfigurationError(f"--part {text}: write I/N with I from 0 to N - 1, for example 0/8 for the first of eight.")
    return i, n


def _part_of_array() -> tuple[int, int]:
    """The part of a task of a Slurm array, where its tasks are surely 0 to N - 1 or 1 to N; (0, 1) outside of arrays.

    An array with gaps, and one of a single task, may do some tasks of another array again: which part is meant is not known.
    """
    facts = {name: os.environ.get(f"SLURM_ARRAY_TASK_{name}") for name in ("ID", "MIN", "MAX", "STEP", "COUNT")}
    if facts["ID"] is None:
        return 0, 1
    task, first, last, step, n = (_number(value or "") for value in facts.values())
    if not (first in (0, 1) and step == 1 and n > 1 and last - first + 1 == n and first <= task <= last):
        said = ", ".join(f"{name} {'not set' if value is None else value}" for name, value in facts.items())
        raise ConfigurationError(
            f"SLURM_ARRAY_TASK_ID is set, but its array ({said}) is not one of tasks 0 to N - 1 or 1 to N: which part this is "
            "cannot be told; say --part I/N, for example --part $SLURM_ARRAY_TASK_ID/8, or --part 0/1 to render all."
        )
    i = task - first
    click.echo(f"Part {i}/{n}, counted from 0, from SLURM_ARRAY_TASK_ID; --part 0/1 renders all.", err=True)
    return i, n


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1


def _plan(recipe: Recipe, banks: list[Header], out: Path, workers: int, part: tuple[int, int], as_json: bool) -> None:
    """Say what a run would do; how large and how long, from two clips rendered to see, unless banks are to be built first."""
    from synvid.dataset.engine import todo
    from synvid.work.words import duration, size

    missing, records = todo(recipe, out, part)
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
        click.echo(f"textures {header.n:,} of kind {header.kind} to build first, {size(header.file_bytes)}")
    if banks:
        click.echo("size     and time: not known before the textures are there")
    else:
        click.echo(f"size     about {size(plan['bytes'])}")
        click.echo(f"time     about {duration(plan['seconds'])} with {workers} worker{'s' if workers > 1 else ''}")


def _try_clips(recipe: Recipe) -> tuple[float, float]:
    """Bytes and seconds of a clip, the mean of two."""
    import time

    from synvid.dataset.shard import render_clip

    encoder, seconds, sizes = recipe.make_encoder(), [], []
    for index in (0, 0, recipe.n // 2):  # the first also compiles
        begin = time.perf_counter()
        sizes.append(len(render_clip(recipe, index, encoder)[0]))
        seconds.append(time.perf_counter() - begin)
    return sum(sizes[1:]) / 2, sum(seconds[1:]) / 2


def _report(recipe: Recipe, out: Path, result: Any, as_json: bool, talk: Callable[[str], None]) -> None:
    from synvid.dataset.record import shard_path
    from synvid.work.words import duration, size, unreadable

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
        talk(unreadable("video", result.unreadable))
    before = f", {result.skipped} were there" if result.skipped else ""
    pace = f", in {duration(result.seconds)} ({rate:.1f} clips/s)" if result.clips else ""
    talk(f"{out}: {result.clips} clips rendered{before}, {size(result.bytes)}{pace}.")
    if result.finished:
        talk(f"Next: synvid.open_dataset({str(out)!r}) in Python, or see {out / 'README.md'} for other loaders.")
    else:
        talk(f"The other parts are still missing: synvid status {out}")


# ---- status, verify, merge ----------------------------------------------------------------------------------------
@main.command()
@click.argument("folder", type=FOLDER)
@json_option
def status(folder: Path, as_json: bool) -> None:
    """Say what is done, missing or damaged.

    From the records of the shards and the sizes of their files.
    """
    from synvid.dataset.check import State, shard_state
    from synvid.dataset.recipe import Recipe
    from synvid.dataset.record import MANIFESTS, shard_path

    recipe = Recipe.load(folder)
    states = [shard_state(recipe, folder, shard) for shard in range(recipe.num_shards)]
    shards = {state.value: [shard for shard, is_state in enumerate(states) if is_state is state] for state in State}
    finished = len(shards["done"]) == recipe.num_shards and (folder / MANIFESTS[recipe.format]).is_file()
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


@main.command()
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
    from synvid.dataset.check import CheckShard, check_descriptions
    from synvid.dataset.locate import locate
    from synvid.dataset.recipe import Recipe
    from synvid.dataset.record import shard_path
    from synvid.terminal import Bar, Talk
    from synvid.work.pool import default_workers, run_tasks

    recipe = Recipe.load(folder)
    if deep:
        recipe = locate(recipe, parse_textures(textures), pictures_of(images), real)
    tasks = [(shard, len(recipe.indices(shard))) for shard in range(recipe.num_shards)]
    bar = Bar("verify", quiet)
    problems = run_tasks(CheckShard(recipe, folder, deep), tasks, workers or default_workers(), bar)
    found = {shard_path(recipe, shard).as_posix(): problem for shard, problem in sorted(problems.items())}
    if not problems:
        found |= dict.fromkeys(check_descriptions(recipe, folder), f"is not as written; `synvid merge {folder}` mends it")
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
    Talk(quiet)(f"{folder}: all {recipe.num_shards} shards are as they were written{also}.")


@main.command()
@click.argument("folder", type=FOLDER)
@click.argument("sources", nargs=-1, type=FOLDER)
@quiet_option
def merge(folder: Path, sources: tuple[Path, ...], quiet: bool) -> None:
    """Join parts from other folders, and finish.

    Copies shards from the SOURCES, then writes manifest, card and lists.
    """
    from synvid.dataset.engine import merge_parts
    from synvid.terminal import Talk

    talk = Talk(quiet)
    copied, missing = merge_parts(folder, list(sources))
    talk(f"{folder}: {copied} shards copied.")
    if missing:
        raise DatasetError(f"{folder}: {len(missing)} shards are still missing; `synvid status {folder}` names them.")
    talk(f"{folder}: finished; see {folder / 'README.md'}.")


# ---- presets, preview ---------------------------------------------------------------------------------------------
@main.group(invoke_without_command=True)
@click.pass_context
def presets(context: click.Context) -> None:
    """List the presets, a line each."""
    if context.invoked_subcommand is None:
        from synvid.preset import list_presets, load_preset

        names = list_presets()
        width = max(map(len, names))
        for name in names:
            click.echo(f"{name:{width}}  {load_preset(name).description}")


@presets.command()
@click.argument("name")
@_set_option
def show(name: str, settings: tuple[str, ...]) -> None:
    """Print a preset with all that it extends."""
    from synvid.preset import load_preset

    click.echo(load_preset(name).change(settings).to_yaml(), nl=False)


@main.command()
@click.argument("names", nargs=-1, metavar="[PRESET]...")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="File: .png a contact sheet; .mp4, .gif a video.")
@click.option(
    "--html", "as_html", is_flag=True, help="One page: the clips of every preset of the paper playing, or of those named."
)
@click.option("--clips", type=click.IntRange(1, 64), default=4, show_default=True, help="Clips of each preset: rows.")
@click.option("--columns", type=click.IntRange(1, 64), default=8, show_default=True, help="Frames of each clip.")
@seed_option
@_set_option
@textures_options
@quiet_option
def preview(
    names: tuple[str, ...], out: Path | None, as_html: bool, clips: int, columns: int, seed: int, settings: tuple[str, ...],
    textures: tuple[str, ...], images: Path | None, quiet: bool,
) -> None:  # fmt: skip
    """Draw clips of a preset: rows are clips, columns are time.

    synvid preview moving_shapes
    """
    from synvid.preset import list_presets, load_preset

    if not names and not as_html:
        raise ConfigurationError("name a preset, for example `synvid preview moving_shapes`, or ask for --html.")
    chosen = [load_preset(name).change(settings) for name in names or list_presets() if names or "/" not in name]
    stem = chosen[0].name.replace("/", "_") if len(names) == 1 else "presets"
    out = out or Path(stem + (".html" if as_html else ".png"))

    from synvid.preview import page, picture
    from synvid.terminal import Bar, Talk
    from synvid.work.disk import named_errors, write_whole

    talk, pictures = Talk(quiet), pictures_of(images)
    if not names:
        talk(f"All {len(chosen)} presets of the paper; textures that are not there are built first. Or name some presets.")
    some = any("images" in preset.banks() for preset in chosen) and len(chosen) > 1
    given = [pictures if "images" in preset.banks() or not some else None for preset in chosen]
    chosen = [with_textures(preset, textures, one, None, quiet)[0] for preset, one in zip(chosen, given, strict=True)]
    if as_html and out.suffix.lower() not in (".html", ".htm"):
        raise ConfigurationError(f"--out {out}: a page ends in .html.")
    data = (
        page(chosen, clips, seed, Bar("preview", quiet))
        if as_html
        else picture(out.suffix.lower(), chosen, clips, columns, seed)
    )
    with named_errors(out):
        write_whole(out, data)
    count, each = f"{len(chosen)} preset{'s' * (len(chosen) > 1)}", f"{clips} clip{'s' * (clips > 1)} each"
    talk(f"{out}: {count}, {each}, seed {seed}.")


# ---- textures, stats, report --------------------------------------------------------------------------------------
main.add_command(textures_group)
main.add_command(stats)
main.add_command(report)
