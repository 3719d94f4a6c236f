"""The command `synvid-train`: thin over the library. Results go to stdout as JSON where asked, talk to stderr."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from synvid import __version__
from synvid.command import Command, Group, json_option, quiet_option, terminate, workers_option
from synvid.errors import ConfigurationError
from synvid.measure.commands import check_out, find_sources, give, out_option, source_options
from synvid.texture.commands import textures_options

if TYPE_CHECKING:
    from synvid_train.checkpoint import Checkpoint
    from synvid_train.clips import Source
    from synvid_train.loop import Job, World
    from synvid_train.recipe import Recipe

__all__ = ["main"]

_PATH = click.Path(path_type=Path)


@click.group("synvid-train", cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="synvid-train")
def main() -> None:
    """VideoMAE from rendered clips: pre-training, fine-tuning, probing and evaluation."""


# ---- Shared options -----------------------------------------------------------------------------------------------
def _options(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


_set_option = click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a setting, optim.epochs=100; repeatable."
)
_seed_option = click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Names the run; 0 is a seed.")
_device_option = click.option("--device", help="cpu, cuda, cuda:1.  [default: cuda if there is one]")


def _workers_option(beside_cpu: str = "half of the cores") -> Callable[[Command], Command]:
    help_text = f"Processes that load clips.  [default: {beside_cpu}, all beside a GPU]"
    return click.option("--workers", type=click.IntRange(0, 1024), help=help_text)


_run_options = _options(
    click.option("--out", type=_PATH, help="Folder of the run.  [default: runs/RECIPE]"),
    click.option("--recipe", help="Name of a recipe, or a YAML file; `synvid-train recipes` lists them."),
    _set_option,
    click.option("--overwrite", is_flag=True, help="Remove another run that is in the folder."),
    _seed_option,
    _workers_option(),
    _device_option,
    quiet_option,
)
_root_option = click.option("--root", type=_PATH, help="Folder of the videos in a list.  [default: the list's own]")


def _recipe(name: str | None, settings: Sequence[str], kind: str, talk: Callable[[str], None], world: World) -> Recipe:
    """The recipe that was asked for; without a GPU the default is one for laptops."""
    from synvid_train.recipe import load_recipe

    default = {"pretrain": "pretrain_vitb", "finetune": "finetune_ucf101", "probe": "probe_ucf101"}[kind]
    if name is None and world.device.type == "cpu":
        talk(f"No GPU is used: the recipe is laptop_{kind}, not {default}; --recipe takes another.")
        default = f"laptop_{kind}"
    return load_recipe(name or default, settings)


def _begin(device: str | None, quiet: bool) -> tuple[World, Any]:
    from synvid.terminal import Talk
    from synvid_train.loop import World

    world = World.join(device, Talk(quiet))
    return world, Talk(quiet or not world.first)


def _folder(out: Path | None, recipe: Recipe) -> Path:
    return out or Path("runs") / recipe.name


def _workers(workers: int | None, world: World) -> int:
    """Processes that load clips: half of the cores beside a model on the CPU, which gets the rest; all beside a GPU."""
    import torch

    from synvid.work.pool import default_workers

    cores = default_workers()
    if world.device.type != "cpu":
        return max(cores // world.on_this_machine, 1) if workers is None else workers
    chosen = max(cores // 2 // world.on_this_machine, 1) if workers is None else workers
    if "OMP_NUM_THREADS" not in os.environ:  # more threads than cores wait for one another: ten times slower, measured
        torch.set_num_threads(max(cores // world.on_this_machine - chosen, 1))
    return chosen


def _train(
    job: Job, out: Path, world: World, workers: int | None, overwrite: bool, quiet: bool, talk: Callable[[str], None]
) -> None:
    """Do the job, and draw its curves at the end."""
    from synvid.terminal import Bar
    from synvid.work.interrupt import postponed
    from synvid_train.loop import InterruptedRunError, read_log, train
    from synvid_train.pictures import draw_curves

    signal.signal(signal.SIGTERM, terminate)
    progress = Bar(job.recipe.name, quiet) if world.first else None
    with postponed():  # to the end: a signal in the middle of a fork or an import would be lost, or break it
        try:
            train(job, out, world, _workers(workers, world), progress, talk, overwrite)
        except InterruptedRunError:
            raise KeyboardInterrupt from None
        finally:
            world.leave()
        if world.first:
            draw_curves(read_log(out / "log.jsonl"), out / "curves.png", str(out))
            talk(f"{out}: done. Weights in last.safetensors, figures in log.jsonl, curves in curves.png.")


# ---- Training -----------------------------------------------------------------------------------------------------
@main.command()
@click.option("--preset", help="Clips are rendered as they are needed: name of a preset, or a YAML file.")
@click.option(
    "--n", "--clips", "n", type=click.IntRange(1),
    help="With --preset: so many clips, the same in each epoch; beside torchrun, which has a --n of its own, write --clips.  "
    "[default: ever new ones]",
)  # fmt: skip
@click.option("--shards", type=_PATH, help="Clips are decoded from a dataset of `synvid render`.")
@click.option("--rerender", is_flag=True, help="With --shards: render the clips from the manifest instead of decoding them.")
@click.option("--data-seed", type=int, default=0, show_default=True, help="With --preset: the seed of the clips.")
@textures_options
@_run_options
def pretrain(
    preset: str | None, n: int | None, shards: Path | None, rerender: bool, data_seed: int, textures: tuple[str, ...],
    images: Path | None, out: Path | None, recipe: str | None, settings: tuple[str, ...], overwrite: bool, seed: int,
    workers: int | None, device: str | None, quiet: bool,
) -> None:  # fmt: skip
    """Pre-train a VideoMAE on rendered clips.

    synvid-train pretrain --preset moving_shapes

    The same command again goes on where it stopped, wherever data and run have moved to.
    """
    if (preset is None) == (shards is None):
        raise ConfigurationError("give --preset NAME, or --shards DIR of a rendered dataset.")
    if preset is None and n is not None:
        raise ConfigurationError(f"--n {n}: only with --preset; a dataset has the clips it has.")
    if rerender and shards is None:
        raise ConfigurationError("--rerender: only with --shards; a preset's clips are rendered anyway.")
    world, talk = _begin(device, quiet)
    made = _recipe(recipe, settings, "pretrain", talk, world)
    folder = _folder(out, made)

    from synvid_train.pretrain import pretraining

    source: Source
    held_out: Source | None
    if preset is not None:
        source, held_out = _rendered(preset, n or made.data.clips_per_epoch, data_seed, textures, images, workers, quiet)
    else:
        source, held_out = _shards(shards, rerender, textures, images)
    fresh = preset is not None and n is None
    job = pretraining(made, source, seed=seed, fresh=fresh, held_out=held_out)
    _train(job, folder, world, workers, overwrite, quiet, talk)


def _rendered(
    name: str, count: int, seed: int, textures: tuple[str, ...], images: Path | None, workers: int | None, quiet: bool
) -> tuple[Source, Source]:
    """Clips of a preset, and others of it that are held out."""
    from synvid.preset import load_preset
    from synvid.texture.commands import pictures_of, with_textures
    from synvid_train.clips import RenderedClips
    from synvid_train.pretrain import HELD_OUT

    preset, _ = with_textures(load_preset(name), textures, pictures_of(images), workers, quiet)
    return RenderedClips(preset, seed, count), RenderedClips(preset, seed + 1_000_003, HELD_OUT)


def _shards(path: Path | None, rerender: bool, textures: tuple[str, ...], images: Path | None) -> tuple[Source, Source | None]:
    from synvid.dataset.reader import open_dataset
    from synvid.texture.commands import parse_textures
    from synvid_train.clips import RenderedClips, ShardClips
    from synvid_train.pretrain import HELD_OUT

    assert path is not None
    shards = open_dataset(path, parse_textures(textures), images)
    recipe = shards.recipe
    plain = not recipe.preset.banks() and recipe.preset.mixture.source != "real"
    return ShardClips(shards, rerender), RenderedClips(recipe.preset, recipe.seed + 1_000_003, HELD_OUT) if plain else None


_training_options = _options(
    click.option(
        "--checkpoint",
        type=_PATH,
        help="Whose encoder to start from: file or folder of ours, of VideoMAE, DeepSpeed or Hugging Face.  "
        "[default: random weights]",
    ),
    click.option(
        "--train",
        "training",
        type=_PATH,
        required=True,
        help="List of videos and labels as datasets publish them, or a folder with CLASS/VIDEO or SPLIT/CLASS/VIDEO.",
    ),
    click.option("--val", "validation", type=_PATH, help="The same, for a figure after some epochs."),
    _root_option,
    click.option(
        "--split",
        "column",
        help="Take rows of --train marked train in this column, for --val those marked val, else test; of HMDB51: 1, 2, 3.",
    ),
)


@main.command()
@_training_options
@_run_options
def finetune(**options: Any) -> None:
    """Fine-tune an encoder to classify videos.

    synvid-train finetune --checkpoint runs/a/last.pt --train train.csv --val val.csv
    """
    _classify("finetune", **options)


@main.command()
@_training_options
@_run_options
def probe(**options: Any) -> None:
    """Train a linear classifier on an encoder that stays as it is.

    synvid-train probe --checkpoint runs/a/last.pt --train train.csv --val val.csv
    """
    _classify("probe", **options)


def _classify(
    kind: str, checkpoint: Path | None, training: Path, validation: Path | None, root: Path | None, column: str | None,
    out: Path | None, recipe: str | None, settings: tuple[str, ...], overwrite: bool, seed: int, workers: int | None,
    device: str | None, quiet: bool,
) -> None:  # fmt: skip
    world, talk = _begin(device, quiet)
    made = _recipe(recipe, settings, kind, talk, world)
    folder = _folder(out, made)

    from synvid_train.finetune import finetuning
    from synvid_train.foreign import load_checkpoint
    from synvid_train.labels import read_list

    videos = read_list(training, root, split="train", column=column)
    others = validation or (training if column else None)
    val = None if others is None else read_list(others, root, videos.classes, split="val", column=column)
    for remark in (*videos.remarks, *(val.remarks if val else ())):
        talk(remark)
    start = None if checkpoint is None else load_checkpoint(checkpoint)
    if overwrite and checkpoint is not None and folder.resolve() in (checkpoint.resolve(), *checkpoint.resolve().parents):
        raise ConfigurationError(f"--overwrite: --checkpoint {checkpoint} lies in {folder}, which it would remove.")
    job = finetuning(made, videos, val, checkpoint=start, probe=kind == "probe", seed=seed)
    _train(job, folder, world, workers, overwrite, quiet, talk)


@main.command("check-list")
@click.argument("videos", metavar="LIST", type=_PATH)
@_root_option
@click.option("--split", "column", help="Column that marks the parts of a CSV; of HMDB51: 1, 2 or 3.")
@click.option("--classes-from", "checkpoint", type=_PATH, help="A classifier that is to know the labels.")
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
    from synvid.terminal import Bar
    from synvid.work.pool import default_workers
    from synvid_train.list_report import check_list as check

    classes = _classifier(checkpoint, "--classes-from").classes if checkpoint else ()
    processes = workers or default_workers()
    report = check(videos, root, classes, column, is_decoded, processes, Bar("decoded", quiet))
    if as_json:
        click.echo(json.dumps(report.to_dict(), indent=1))
    elif not quiet:
        click.echo("\n".join(report.lines()))
    if report.problem:
        raise DatasetError(report.problem)


# ---- Looking at what came out -------------------------------------------------------------------------------------
def _classifier(path: Path, option: str = "--checkpoint") -> Checkpoint:
    from synvid_train.foreign import load_checkpoint

    checkpoint = load_checkpoint(path)
    if checkpoint.kind != "classifier":
        raise ConfigurationError(
            f"{option} {path}: holds a masked auto-encoder; `synvid-train finetune` makes a classifier of it."
        )
    return checkpoint


def _settings_of(checkpoint: Checkpoint, settings: Sequence[str]) -> Recipe:
    """The recipe that a checkpoint was trained with, or for a foreign one the paper's, in its own shape."""
    from synvid_train.recipe import Recipe, load_recipe

    recipe = Recipe.from_dict(checkpoint.recipe, "the checkpoint") if checkpoint.recipe else load_recipe("finetune_ucf101")
    shape = checkpoint.architecture
    recipe = recipe.override(
        {f"model.{name}": getattr(shape, name) for name in ("size", "num_frames", "image_size", "patch_size", "tubelet_size")}
    )
    return recipe.change(settings)


@main.command()
@click.option("--checkpoint", type=_PATH, required=True, help="A classifier.")
@click.option("--data", type=_PATH, required=True, help="List of videos with labels, as --train of finetune.")
@_root_option
@click.option("--split", "column", help="Take only rows marked test, or else val, in this column; of HMDB51: 1, 2 or 3.")
@click.option(
    "--corruption", "corruptions", multiple=True, metavar="NAME:SEVERITY", help="Change the videos first; repeatable."
)
@click.option("--sweep", is_flag=True, help="All 14 corruptions at all 5 severities, drawn as the paper's Figure 3.")
@_set_option
@click.option("--out", type=_PATH, help="Folder for result.json and pictures.")
@json_option
@_seed_option
@_workers_option()
@_device_option
@quiet_option
def evaluate(
    checkpoint: Path, data: Path, root: Path | None, column: str | None, corruptions: tuple[str, ...], sweep: bool,
    settings: tuple[str, ...], out: Path | None, as_json: bool, seed: int, workers: int | None, device: str | None,
    quiet: bool,
) -> None:  # fmt: skip
    """Test a classifier: several views a video, whose softmax is averaged.

    synvid-train evaluate --checkpoint runs/b/last.pt --data test.csv --corruption gauss:3
    """
    from synvid_train.corruption import CORRUPTIONS, Corruption

    asked: list[Corruption | None] = [Corruption.parse(text) for text in corruptions]
    if sweep and out is None:
        raise ConfigurationError("--sweep: give --out too, where its picture and results go.")
    if sweep:
        asked = [None, *(Corruption(name, severity) for name in CORRUPTIONS for severity in range(1, 6))]
    world, talk = _begin(device, quiet)
    trained = _classifier(checkpoint)
    recipe = _settings_of(trained, settings)

    from synvid.terminal import Bar
    from synvid_train.evaluate import evaluate as test
    from synvid_train.labels import read_list

    videos = read_list(data, root, trained.classes, split="test", column=column)
    for remark in videos.remarks:
        talk(remark)
    model = trained.model().to(world.device)
    loaders, results = _workers(workers, world), {}
    for corruption in asked or [None]:
        name = str(corruption or "clean")
        bar = Bar(name, quiet) if world.first else None
        result = test(model, videos, recipe, world, loaders, corruption, seed, bar)
        results[name] = result
        if not world.first:
            continue
        talk(f"{name}: top-1 {result.top1:.2f} %, top-5 {result.top5:.2f} % of {result.videos:,} videos")
        for sentence in result.unread:
            talk(f"left out: {sentence}")
        if out:
            result.save(out / name.replace(":", "-"))
    world.leave()
    if world.first:
        _finish_evaluation(results, sweep, out, as_json)


def _finish_evaluation(results: dict[str, Any], sweep: bool, out: Path | None, as_json: bool) -> None:
    from synvid_train.pictures import draw_sweep

    if sweep and out:
        table: dict[str, dict[int, float]] = {}
        for text, result in results.items():
            name, _, severity = text.partition(":")
            if severity:
                table.setdefault(name, {})[int(severity)] = result.top1
        draw_sweep(table, results["clean"].top1, out / "corruptions.png")
    if as_json:
        click.echo(json.dumps({name: result.to_dict() for name, result in results.items()}))


@main.command()
@click.option("--checkpoint", type=_PATH, required=True, help="Any checkpoint.")
@click.option("--data", type=_PATH, required=True, help="List of videos with labels, or a folder of videos.")
@_root_option
@click.option("--videos", "count", type=click.IntRange(1), default=70, show_default=True, help="How many.")
@click.option("--out", type=_PATH, default=Path("features"), show_default=True, help="Folder for videos and a sheet.")
@_seed_option
@_device_option
@quiet_option
def features(
    checkpoint: Path, data: Path, root: Path | None, count: int, out: Path, seed: int, device: str | None, quiet: bool
) -> None:
    """Draw what a model sees: principal components of its last attention keys, as colours (Figure 5).

    synvid-train features --checkpoint runs/a/last.pt --data val.csv
    """
    world, talk = _begin(device, quiet)
    import numpy as np

    from synvid.errors import DatasetError
    from synvid.video.decode import SUFFIXES, VideoFile
    from synvid.work.disk import find_files
    from synvid_train.features import FRAMES, draw_features
    from synvid_train.foreign import load_checkpoint
    from synvid_train.labels import read_list

    encoder = load_checkpoint(checkpoint).model().encoder.to(world.device).eval()
    paths = (
        [data / name for name in find_files(data, SUFFIXES)] if data.is_dir() and root is None else read_list(data, root).paths
    )
    chosen = [paths[int(i)] for i in np.random.default_rng(seed).permutation(len(paths))[:count]]
    videos: list[Any] = []
    names: list[str] = []
    for path in chosen:
        try:
            with VideoFile(path) as film:
                videos.append(film.read(range(min(FRAMES, film.num_frames))))
            names.append(f"{len(names):03d}-{path.stem}")
        except DatasetError as error:
            talk(f"left out: {error}")
    draw_features(encoder, videos, names, out, world.device)
    talk(f"{out}: {len(videos)} videos and features.png.")


@main.command()
@click.argument("paths", nargs=-1, metavar="[NAME=]PATH... [NAME=]REFERENCE")
@click.option(
    "--features", "networks", multiple=True, metavar="NAME|PATH", default=("efficientnet-lite0",), show_default=True,
    help="What sees them: efficientnet-lite0; weights or TorchScript of Inception-v3 (FID); TorchScript of I3D (FVD); a "
    "checkpoint of a VideoMAE. Repeatable.",
)  # fmt: skip
@source_options
@click.option(
    "--frames", type=click.IntRange(1, 64), default=16, show_default=True, help="Of each clip, evenly spread, one by one."
)
@click.option("--infinity", is_flag=True, help="Extrapolate distances to infinitely many clips, too (FID-infinity).")
@out_option
@json_option
@_workers_option("none")
@_device_option
@quiet_option
def compare(
    paths: tuple[str, ...], networks: tuple[str, ...], max_clips: int, frames: int, infinity: bool, kind: str | None,
    seed: int, settings: tuple[str, ...], textures: tuple[str, ...], images: Path | None, out: Path | None, as_json: bool,
    workers: int | None, device: str | None, quiet: bool,
) -> None:  # fmt: skip
    """Compare datasets with a reference, the last one: Fréchet distances; and how diverse the frames of each are.

    synvid-train compare moving_shapes data/ ucf=~/ucf101 --out compared.json

    A PATH is a rendered set, a preset, or a folder of videos or pictures, as of `synvid stats`.
    """
    if len(paths) < 2:
        raise ConfigurationError("name two datasets, the reference last: `synvid-train compare moving_shapes ~/ucf101`.")
    check_out(out)
    world, talk = _begin(device, quiet)

    from synvid.terminal import Bar
    from synvid_train.compare import compare as measure
    from synvid_train.networks import find_network
    from synvid_train.vectors import Selection

    if world.size > 1:
        world.leave()
        raise ConfigurationError("compare works in one process; start it without torchrun.")
    seeing = [find_network(text, world.device) for text in dict.fromkeys(networks)]
    sources = find_sources(paths, kind, seed, settings, textures, images, quiet)
    chosen = Selection(max_clips, frames, seed)
    alone = workers is None and world.device.type == "cpu"  # reading is a twentieth of the work: all cores to the network
    loaders = 0 if alone else _workers(workers, world)
    records = measure(list(sources.values()), seeing, chosen, infinity, loaders, lambda label: Bar(label, quiet))
    give(records, out, as_json, talk)


@main.command()
@click.option("--checkpoint", type=_PATH, required=True, help="Ours, or an official one of VideoMAE.")
@click.option("--out", type=_PATH, required=True, help="Folder that `from_pretrained` of transformers loads.")
def export(checkpoint: Path, out: Path) -> None:
    """Write a checkpoint as a Hugging Face folder."""
    from synvid_train.foreign import export_huggingface, load_checkpoint

    export_huggingface(load_checkpoint(checkpoint), out)


@main.command()
@click.argument("name", required=False)
def recipes(name: str | None) -> None:
    """List the recipes, or print one."""
    from synvid_train.recipe import list_recipes, load_recipe

    if name is not None:
        click.echo(load_recipe(name).to_yaml(), nl=False)
        return
    for known in list_recipes():
        click.echo(f"{known:20} {load_recipe(known).description}")
