"""The commands `synvid-train pretrain`, `finetune` and `probe`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from synvid.cli.console import Console
from synvid.cli.group import exit_on_sigterm
from synvid.cli.options import PATH, combine_options, textures_options
from synvid.errors import ConfigurationError
from synvid_train.cli.options import DEFAULT_RECIPES, join_processes, loader_workers, root_option, run_options

if TYPE_CHECKING:
    from synvid_train.data.window_sources import WindowSource
    from synvid_train.distributed import DistributedContext
    from synvid_train.train.task import TrainingTask
    from synvid_train.training_recipe import TrainingRecipe

__all__ = ["finetune", "pretrain", "probe"]


@click.command()
@click.option("--preset", help="Render clips of this preset during training: a name, or path of a YAML file.")
@click.option(
    "--n", "--clips", "n", type=click.IntRange(1),
    help="With --preset: train on this number of clips, the same in every epoch. With torchrun write --clips, since torchrun "
    "interprets --n as its own option.  [default: new clips in every epoch]",
)  # fmt: skip
@click.option("--shards", type=PATH, help="Decode clips of this dataset, written by `synvid render`.")
@click.option("--rerender", is_flag=True, help="With --shards: render the clips again instead of decoding them.")
@click.option("--data-seed", type=int, default=0, show_default=True, help="With --preset: random seed of the clips.")
@textures_options
@run_options("pretrain")
def pretrain(
    preset: str | None, n: int | None, shards: Path | None, rerender: bool, data_seed: int, textures: tuple[str, ...],
    images: Path | None, out: Path | None, recipe: str | None, settings: tuple[str, ...], overwrite: bool, seed: int,
    workers: int | None, device: str | None, quiet: bool,
) -> None:  # fmt: skip
    """Pre-train VideoMAE on synthetic clips.

    synvid-train pretrain --preset moving_shapes

    If it is interrupted, the same command resumes from the last checkpoint, even if the data or the run have moved.
    """
    if (preset is None) == (shards is None):
        raise ConfigurationError("give either --preset NAME, or --shards DIR of a rendered dataset.")
    if preset is None and n is not None:
        raise ConfigurationError(f"--n {n}: can only be used with --preset; with --shards, all clips of the dataset are used.")
    if rerender and shards is None:
        raise ConfigurationError("--rerender: can only be used with --shards; clips of a preset are always rendered.")
    distributed, console = join_processes(device, quiet)
    training_recipe = _load_recipe("pretrain", recipe, settings, distributed, console)

    from synvid_train.train.pretrain import make_pretraining_task

    source: WindowSource
    held_out: WindowSource | None
    if preset is not None:
        num_clips = n or training_recipe.data.clips_per_epoch
        source, held_out = _preset_sources(preset, num_clips, data_seed, textures, images, workers, console)
    else:
        assert shards is not None
        source, held_out = _dataset_sources(shards, rerender, textures, images)
    resample = preset is not None and n is None
    task = make_pretraining_task(training_recipe, source, seed=seed, resample_each_epoch=resample, held_out=held_out)
    _train(task, _run_folder(out, training_recipe), distributed, workers, overwrite, console)


def _preset_sources(
    name: str, num_clips: int, seed: int, textures: tuple[str, ...], images: Path | None, workers: int | None, console: Console
) -> tuple[WindowSource, WindowSource]:
    """Return training and held-out clips for `--preset`."""
    from synvid.preset import load_preset
    from synvid.textures.resolve_banks import list_image_files, parse_texture_options, resolve_textures
    from synvid_train.train.pretraining_sources import preset_sources

    preset, _ = resolve_textures(
        load_preset(name), parse_texture_options(textures), list_image_files(images), workers, console
    )
    return preset_sources(preset, seed, num_clips)


def _dataset_sources(
    folder: Path, rerender: bool, textures: tuple[str, ...], images: Path | None
) -> tuple[WindowSource, WindowSource | None]:
    """Return training and held-out clips for `--shards`."""
    from synvid.dataset.reader import open_dataset
    from synvid.textures.resolve_banks import parse_texture_options
    from synvid_train.train.pretraining_sources import dataset_sources

    return dataset_sources(open_dataset(folder, parse_texture_options(textures), images), rerender)


_classifier_options = combine_options(
    click.option(
        "--checkpoint",
        type=PATH,
        help="Checkpoint whose encoder to start from: of synvid-train, VideoMAE, DeepSpeed or Hugging Face.  "
        "[default: random weights]",
    ),
    click.option(
        "--train",
        "training",
        type=PATH,
        required=True,
        help="Training videos: a list of paths and labels, a dataset's own list (UCF101, HMDB51, Kinetics, ...), or a folder "
        "CLASS/VIDEO or SPLIT/CLASS/VIDEO.",
    ),
    click.option(
        "--val",
        "validation",
        type=PATH,
        help="Validation videos, as for --train.  [default: none; with --split, the rows of --train marked val or test]",
    ),
    root_option,
    click.option(
        "--split",
        "split_option",
        help="CSV column that names each video's split: rows marked train are used for training, rows marked val, else test, "
        "for validation. For HMDB51: 1, 2 or 3.",
    ),
)


@click.command()
@_classifier_options
@run_options("finetune")
def finetune(**options: Any) -> None:
    """Fine-tune an encoder to classify videos.

    synvid-train finetune --checkpoint runs/a --train train.csv --val val.csv
    """
    _train_classifier("finetune", **options)


@click.command()
@_classifier_options
@run_options("probe")
def probe(**options: Any) -> None:
    """Train a linear classifier on a frozen encoder.

    synvid-train probe --checkpoint runs/a --train train.csv --val val.csv
    """
    _train_classifier("probe", **options)


def _train_classifier(
    kind: str, checkpoint: Path | None, training: Path, validation: Path | None, root: Path | None, split_option: str | None,
    out: Path | None, recipe: str | None, settings: tuple[str, ...], overwrite: bool, seed: int, workers: int | None,
    device: str | None, quiet: bool,
) -> None:  # fmt: skip
    distributed, console = join_processes(device, quiet)
    training_recipe = _load_recipe(kind, recipe, settings, distributed, console)
    folder = _run_folder(out, training_recipe)

    from synvid_train.data.video_list import read_list
    from synvid_train.model.load import load_checkpoint
    from synvid_train.train.finetune import make_finetuning_task

    videos = read_list(training, root, split="train", split_option=split_option)
    val_list = validation or (training if split_option else None)
    val = None if val_list is None else read_list(val_list, root, videos.classes, split="val", split_option=split_option)
    for remark in (*videos.remarks, *(val.remarks if val else ())):
        console.message(remark)
    start = None if checkpoint is None else load_checkpoint(checkpoint)
    if overwrite and checkpoint is not None and folder.resolve() in (checkpoint.resolve(), *checkpoint.resolve().parents):
        raise ConfigurationError(f"--overwrite: would remove --checkpoint {checkpoint}, which lies in {folder}.")
    task = make_finetuning_task(training_recipe, videos, val, checkpoint=start, probe=kind == "probe", seed=seed)
    _train(task, folder, distributed, workers, overwrite, console)


def _load_recipe(
    kind: str, name: str | None, settings: Sequence[str], distributed: DistributedContext, console: Console
) -> TrainingRecipe:
    """Return the recipe of `--recipe`, or the default: the paper's on a GPU, a small one on the CPU."""
    from synvid_train.training_recipe import load_recipe

    default, on_cpu = DEFAULT_RECIPES[kind]
    if name is None and distributed.device.type == "cpu":
        console.message(f"No GPU is used, so the recipe is {on_cpu} instead of {default}; choose another with --recipe.")
        default = on_cpu
    return load_recipe(name or default, settings)


def _run_folder(out: Path | None, recipe: TrainingRecipe) -> Path:
    return out or Path("runs") / recipe.name


def _train(
    task: TrainingTask,
    out: Path,
    distributed: DistributedContext,
    workers: int | None,
    overwrite: bool,
    console: Console,
) -> None:
    """Run a training task, then plot its curves."""
    from synvid.runtime.signals import defer_signals
    from synvid_train.eval.result_plots import draw_curves
    from synvid_train.train.run_log import read_log
    from synvid_train.train.trainer import InterruptedRunError, train

    exit_on_sigterm()
    progress = console.progress(task.recipe.name)
    with defer_signals():  # a signal during a fork or an import would be lost, or break it
        try:
            num_loaders = loader_workers(workers, distributed)
            train(task, out, distributed, num_loaders, progress, console.message, overwrite)
        except InterruptedRunError:
            raise KeyboardInterrupt from None
        finally:
            distributed.shutdown()
        if distributed.is_main:
            draw_curves(read_log(out / "log.jsonl"), out / "curves.png", str(out))
            console.message(f"{out}: done. Weights: last.safetensors; log: log.jsonl; curves: curves.png.")
