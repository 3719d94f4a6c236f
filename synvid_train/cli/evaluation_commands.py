"""The commands `synvid-train evaluate`, `features` and `compare`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from synvid.cli.metric_commands import check_output_file, out_option, print_results, source_options
from synvid.cli.options import json_option, quiet_option, set_option
from synvid.errors import ConfigurationError
from synvid.sources.resolve import resolve_sources

if TYPE_CHECKING:
    from synvid_train.model.checkpoint import Checkpoint
    from synvid_train.training_recipe import TrainingRecipe
from synvid_train.cli.options import (
    PATH,
    device_option,
    join_processes,
    loader_workers,
    loader_workers_option,
    root_option,
    run_seed_option,
)


# ---- Looking at what came out -------------------------------------------------------------------------------------
def load_classifier(path: Path, option: str = "--checkpoint") -> Checkpoint:
    from synvid_train.model.convert import load_checkpoint

    checkpoint = load_checkpoint(path)
    if checkpoint.kind != "classifier":
        raise ConfigurationError(
            f"{option} {path}: holds a masked auto-encoder; `synvid-train finetune` makes a classifier of it."
        )
    return checkpoint


def _settings_of(checkpoint: Checkpoint, settings: Sequence[str]) -> TrainingRecipe:
    """The recipe that a checkpoint was trained with, or for a foreign one the paper's, in its own shape."""
    from synvid_train.training_recipe import TrainingRecipe, load_recipe

    recipe = (
        TrainingRecipe.from_dict(checkpoint.recipe, "the checkpoint") if checkpoint.recipe else load_recipe("finetune_ucf101")
    )
    shape = checkpoint.architecture
    recipe = recipe.override(
        {f"model.{name}": getattr(shape, name) for name in ("size", "num_frames", "image_size", "patch_size", "tubelet_size")}
    )
    return recipe.change(settings)


@click.command()
@click.option("--checkpoint", type=PATH, required=True, help="A classifier.")
@click.option("--data", type=PATH, required=True, help="List of videos with labels, as --train of finetune.")
@root_option
@click.option("--split", "column", help="Take only rows marked test, or else val, in this column; of HMDB51: 1, 2 or 3.")
@click.option(
    "--corruption", "corruptions", multiple=True, metavar="NAME:SEVERITY", help="Change the videos first; repeatable."
)
@click.option("--sweep", is_flag=True, help="All 14 corruptions at all 5 severities, drawn as the paper's Figure 3.")
@set_option("views.test_clips=1")
@click.option("--out", type=PATH, help="Folder for result.json and pictures.")
@json_option
@run_seed_option
@loader_workers_option()
@device_option
@quiet_option
def evaluate(
    checkpoint: Path, data: Path, root: Path | None, column: str | None, corruptions: tuple[str, ...], sweep: bool,
    settings: tuple[str, ...], out: Path | None, as_json: bool, seed: int, workers: int | None, device: str | None,
    quiet: bool,
) -> None:  # fmt: skip
    """Test a classifier: several views a video, whose softmax is averaged.

    synvid-train evaluate --checkpoint runs/b/last.pt --data test.csv --corruption gauss:3
    """
    from synvid_train.data.corruptions import CORRUPTIONS, Corruption

    asked: list[Corruption | None] = [Corruption.parse(text) for text in corruptions]
    if sweep and out is None:
        raise ConfigurationError("--sweep: give --out too, where its picture and results go.")
    if sweep:
        asked = [None, *(Corruption(name, severity) for name in CORRUPTIONS for severity in range(1, 6))]
    distributed, console = join_processes(device, quiet)
    trained = load_classifier(checkpoint)
    recipe = _settings_of(trained, settings)

    from synvid_train.data.annotations import read_list
    from synvid_train.eval.evaluate import evaluate as test

    videos = read_list(data, root, trained.classes, split="test", column=column)
    for remark in videos.remarks:
        console.message(remark)
    model = trained.model().to(distributed.device)
    loaders, results = loader_workers(workers, distributed), {}
    for corruption in asked or [None]:
        name = str(corruption or "clean")
        bar = console.progress(name)
        result = test(model, videos, recipe, distributed, loaders, corruption, seed, bar)
        results[name] = result
        if not distributed.is_main:
            continue
        console.message(f"{name}: top-1 {result.top1:.2f} %, top-5 {result.top5:.2f} % of {result.videos:,} videos")
        for sentence in result.unread:
            console.message(f"left out: {sentence}")
        if out:
            result.save(out / name.replace(":", "-"))
    distributed.shutdown()
    if distributed.is_main:
        _finish_evaluation(results, sweep, out, as_json)


def _finish_evaluation(results: dict[str, Any], sweep: bool, out: Path | None, as_json: bool) -> None:
    from synvid_train.eval.result_plots import draw_sweep

    if sweep and out:
        table: dict[str, dict[int, float]] = {}
        for text, result in results.items():
            name, _, severity = text.partition(":")
            if severity:
                table.setdefault(name, {})[int(severity)] = result.top1
        draw_sweep(table, results["clean"].top1, out / "corruptions.png")
    if as_json:
        click.echo(json.dumps({name: result.to_dict() for name, result in results.items()}))


@click.command()
@click.option("--checkpoint", type=PATH, required=True, help="Any checkpoint.")
@click.option("--data", type=PATH, required=True, help="List of videos with labels, or a folder of videos.")
@root_option
@click.option("--videos", "count", type=click.IntRange(1), default=70, show_default=True, help="How many.")
@click.option("--out", type=PATH, default=Path("features"), show_default=True, help="Folder for videos and a sheet.")
@run_seed_option
@device_option
@quiet_option
def features(
    checkpoint: Path, data: Path, root: Path | None, count: int, out: Path, seed: int, device: str | None, quiet: bool
) -> None:
    """Draw what a model sees: principal components of its last attention keys, as colours (Figure 5).

    synvid-train features --checkpoint runs/a/last.pt --data val.csv
    """
    distributed, console = join_processes(device, quiet)
    import numpy as np

    from synvid.errors import DatasetError
    from synvid.paths import find_files
    from synvid.video.decode import VIDEO_SUFFIXES, VideoFile
    from synvid_train.data.annotations import read_list
    from synvid_train.eval.visualize import FRAMES, draw_features
    from synvid_train.model.convert import load_checkpoint

    encoder = load_checkpoint(checkpoint).model().encoder.to(distributed.device).eval()
    paths = (
        [data / name for name in find_files(data, VIDEO_SUFFIXES)]
        if data.is_dir() and root is None
        else read_list(data, root).paths
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
            console.message(f"left out: {error}")
    draw_features(encoder, videos, names, out, distributed.device)
    console.message(f"{out}: {len(videos)} videos and features.png.")


@click.command()
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
@loader_workers_option("none")
@device_option
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
    check_output_file(out)
    distributed, console = join_processes(device, quiet)

    from synvid_train.eval.compare import compare as measure
    from synvid_train.eval.feature_extraction import ClipSelection
    from synvid_train.eval.feature_extractors import find_extractor

    if distributed.world_size > 1:
        distributed.shutdown()
        raise ConfigurationError("compare works in one process; start it without torchrun.")
    seeing = [find_extractor(text, distributed.device) for text in dict.fromkeys(networks)]
    sources = resolve_sources(paths, kind, seed, settings, textures, images, console)
    chosen = ClipSelection(max_clips, frames, seed)
    # Reading is a twentieth of the work: on the CPU, the network gets all cores.
    alone = workers is None and distributed.device.type == "cpu"
    loaders = 0 if alone else loader_workers(workers, distributed)
    records = measure(list(sources.values()), seeing, chosen, infinity, loaders, console.progress)
    print_results(records, out, as_json, console)
