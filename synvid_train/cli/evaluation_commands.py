"""The commands `synvid-train evaluate`, `features` and `compare`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from synvid.cli.console import Console
from synvid.cli.metric_options import check_output_file, out_option, print_results, source_options
from synvid.cli.options import PATH, json_option, quiet_option, set_option
from synvid.errors import ConfigurationError
from synvid.formatting import format_count
from synvid.textures.resolve_banks import parse_texture_options
from synvid_train.cli.options import (
    checkpoint_option,
    device_option,
    join_processes,
    load_classifier,
    loader_workers,
    loader_workers_option,
    root_option,
    run_seed_option,
)

if TYPE_CHECKING:
    from synvid_train.eval.evaluate import EvaluationResult
    from synvid_train.model.checkpoint import Checkpoint
    from synvid_train.training_recipe import TrainingRecipe

__all__ = ["compare", "evaluate", "features"]


@click.command()
@checkpoint_option("Checkpoint of a classifier.")
@click.option("--data", type=PATH, required=True, help="Test videos, as for --train of `synvid-train finetune`.")
@root_option
@click.option(
    "--split",
    "split_option",
    help="CSV column that names each video's split: only rows marked test, else val, are used. For HMDB51: 1, 2 or 3.",
)
@click.option(
    "--corruption",
    "corruptions",
    multiple=True,
    metavar="NAME:SEVERITY",
    help="Corrupt the videos before they are classified. Repeatable, one result each.",
)
@click.option(
    "--sweep", is_flag=True, help="Test all corruptions at all severities, and plot the results as Figure 3 of the paper."
)
@set_option("views.test_clips=1")
@click.option("--out", type=PATH, help="Folder to write result.json and plots to.")
@json_option
@run_seed_option
@loader_workers_option()
@device_option
@quiet_option
def evaluate(
    checkpoint: Path, data: Path, root: Path | None, split_option: str | None, corruptions: tuple[str, ...], sweep: bool,
    settings: tuple[str, ...], out: Path | None, as_json: bool, seed: int, workers: int | None, device: str | None,
    quiet: bool,
) -> None:  # fmt: skip
    """Measure the accuracy of a classifier on test videos.

    synvid-train evaluate --checkpoint runs/b --data test.csv --out results/

    The softmax is averaged over several views of each video.
    """
    from synvid_train.data.corruptions import CORRUPTIONS, Corruption

    conditions: list[Corruption | None] = [Corruption.parse(text) for text in corruptions]
    if sweep and out is None:
        raise ConfigurationError("--sweep: needs --out DIR, the folder for its plot and results.")
    if sweep:
        conditions = [None, *(Corruption(name, severity) for name in CORRUPTIONS for severity in range(1, 6))]
    distributed, console = join_processes(device, quiet)
    trained = load_classifier(checkpoint)
    recipe = _load_recipe(trained, settings)

    from synvid_train.data.video_list import read_list
    from synvid_train.eval.evaluate import evaluate as evaluate_classifier

    videos = read_list(data, root, trained.classes, split="test", split_option=split_option)
    for remark in videos.remarks:
        console.message(remark)
    model = trained.model().to(distributed.device)
    num_loaders, results = loader_workers(workers, distributed), {}
    for corruption in conditions or [None]:
        name = str(corruption or "clean")
        progress = console.progress(name)
        result = evaluate_classifier(model, videos, recipe, distributed, num_loaders, corruption, seed, progress)
        results[name] = result
        if distributed.is_main:
            _report_result(name, result, out, console)
    distributed.shutdown()
    if distributed.is_main and sweep and out is not None:
        _draw_sweep(results, out)
    if distributed.is_main and as_json:
        click.echo(json.dumps({name: result.to_dict() for name, result in results.items()}))


def _load_recipe(checkpoint: Checkpoint, settings: Sequence[str]) -> TrainingRecipe:
    """Return the recipe of a checkpoint, or the paper's for UCF101 if it has none, with the checkpoint's input shape."""
    from synvid_train.training_recipe import TrainingRecipe, load_recipe

    recipe = (
        TrainingRecipe.from_dict(TrainingRecipe.upgrade(checkpoint.recipe), "the checkpoint")
        if checkpoint.recipe
        else load_recipe("finetune_ucf101")
    )
    shape = checkpoint.architecture
    names = ("size", "num_frames", "image_size", "patch_size", "tubelet_size")
    return recipe.override({f"model.{name}": getattr(shape, name) for name in names}).override_text(settings)


def _report_result(name: str, result: EvaluationResult, out: Path | None, console: Console) -> None:
    console.message(
        f"{name}: top-1 {result.top1:.2f} %, top-5 {result.top5:.2f} % of {format_count(result.num_videos, 'video')}"
    )
    for error in result.unreadable:
        console.message(f"skipped: {error}")
    if out is not None:
        result.save(out / name.replace(":", "-"))


def _draw_sweep(results: dict[str, EvaluationResult], out: Path) -> None:
    """Plot top-1 accuracy against severity, one panel per corruption."""
    from synvid_train.eval.result_plots import draw_sweep

    curves: dict[str, dict[int, float]] = {}
    for name, result in results.items():
        corruption, _, severity = name.partition(":")
        if severity:
            curves.setdefault(corruption, {})[int(severity)] = result.top1
    draw_sweep(curves, results["clean"].top1, out / "corruptions.png")


@click.command()
@checkpoint_option("Checkpoint of a VideoMAE or a classifier.")
@click.option("--data", type=PATH, required=True, help="List of videos with labels, or folder of videos.")
@root_option
@click.option(
    "--videos", "count", type=click.IntRange(1), default=70, show_default=True, help="Number of videos, chosen at random."
)
@click.option("--out", type=PATH, default=Path("features"), show_default=True, help="Folder to write to.")
@run_seed_option
@device_option
@quiet_option
def features(
    checkpoint: Path, data: Path, root: Path | None, count: int, out: Path, seed: int, device: str | None, quiet: bool
) -> None:
    """Visualize what an encoder attends to: its features as colours.

    synvid-train features --checkpoint runs/a/last.pt --data val.csv

    Writes a video per clip and features.png. The colours are the first principal components of the last layer's attention
    keys, as in Figure 5 of the paper.
    """
    distributed, console = join_processes(device, quiet)
    import numpy as np

    from synvid.errors import DatasetError
    from synvid.file_formats import VIDEO_SUFFIXES
    from synvid.paths import find_files
    from synvid.video.decode import VideoFile
    from synvid_train.data.video_list import read_list
    from synvid_train.eval.visualize import NUM_FRAMES, draw_features
    from synvid_train.model.load import load_checkpoint

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
            with VideoFile(path) as video:
                videos.append(video.read(range(min(NUM_FRAMES, video.num_frames))))
            names.append(f"{len(names):03d}-{path.stem}")
        except DatasetError as error:
            console.message(f"skipped: {error}")
    draw_features(encoder, videos, names, out, distributed.device)
    console.message(f"{out}: {format_count(len(videos), 'video')} and features.png written.")


@click.command()
@click.argument("paths", nargs=-1, metavar="[NAME=]PATH... [NAME=]REFERENCE")
@click.option(
    "--features", "networks", multiple=True, metavar="NAME|PATH", default=("efficientnet-lite0",), show_default=True,
    help="Network that extracts the features: efficientnet-lite0; weights or TorchScript of Inception-v3 (FID); TorchScript "
    "of I3D (FVD); or a VideoMAE checkpoint. Repeatable.",
)  # fmt: skip
@source_options
@click.option(
    "--frames",
    type=click.IntRange(1, 64),
    default=16,
    show_default=True,
    help="Number of frames per clip for networks of single frames, evenly spaced.",
)
@click.option("--fid-infinity", is_flag=True, help="Also extrapolate each distance to infinitely many clips (FID-infinity).")
@out_option
@json_option
@loader_workers_option("none")
@device_option
@quiet_option
def compare(
    paths: tuple[str, ...], networks: tuple[str, ...], max_clips: int, frames: int, fid_infinity: bool, kind: str | None,
    seed: int, settings: tuple[str, ...], textures: tuple[str, ...], images: Path | None, out: Path | None, as_json: bool,
    workers: int | None, device: str | None, quiet: bool,
) -> None:  # fmt: skip
    """Measure Fréchet distances (FID, FVD) to a reference dataset.

    synvid-train compare moving_shapes data/ ucf=~/ucf101 --out compared.json

    Each PATH is compared with REFERENCE, the last one: a rendered dataset, a preset, or a folder of videos or images, as for
    `synvid stats`. Also measures how diverse the frames of each dataset are.
    """
    if len(paths) < 2:
        raise ConfigurationError(
            "name two or more datasets, the reference last, for example `synvid-train compare moving_shapes ~/ucf101`."
        )
    check_output_file(out)
    distributed, console = join_processes(device, quiet)

    from synvid.sources.find_sources import resolve_sources
    from synvid_train.eval.compare import compare as compare_sources
    from synvid_train.eval.feature_extraction import ClipSelection
    from synvid_train.eval.feature_extractors import find_extractor

    if distributed.world_size > 1:
        distributed.shutdown()
        raise ConfigurationError("compare: runs in one process only; start it without torchrun.")
    extractors = [find_extractor(text, distributed.device) for text in dict.fromkeys(networks)]
    sources = resolve_sources(paths, kind, seed, settings, parse_texture_options(textures), images, console)
    selection = ClipSelection(max_clips, frames, seed)
    # On the CPU, reading takes a twentieth of the time: all cores are for the network.
    in_process = workers is None and distributed.device.type == "cpu"
    num_loaders = 0 if in_process else loader_workers(workers, distributed)
    records = compare_sources(list(sources.values()), extractors, selection, fid_infinity, num_loaders, console.progress)
    print_results(records, out, as_json, console)
