"""The commands `synvid-train pretrain`, `finetune` and `probe`."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from synvid.cli.console import Console
from synvid.cli.group import terminate
from synvid.cli.options import combine_options, textures_options
from synvid.errors import ConfigurationError

if TYPE_CHECKING:
    from synvid_train.data.window_sources import WindowSource
    from synvid_train.distributed import DistributedContext
    from synvid_train.train.task import TrainingTask
    from synvid_train.training_recipe import TrainingRecipe
from synvid_train.cli.options import PATH, join_processes, loader_workers, root_option, run_options


def _recipe(
    name: str | None, settings: Sequence[str], kind: str, console: Console, distributed: DistributedContext
) -> TrainingRecipe:
    """The recipe that was asked for; without a GPU the default is one for laptops."""
    from synvid_train.training_recipe import load_recipe

    default = {"pretrain": "pretrain_vitb", "finetune": "finetune_ucf101", "probe": "probe_ucf101"}[kind]
    if name is None and distributed.device.type == "cpu":
        console.message(f"No GPU is used: the recipe is laptop_{kind}, not {default}; --recipe takes another.")
        default = f"laptop_{kind}"
    return load_recipe(name or default, settings)


def _folder(out: Path | None, recipe: TrainingRecipe) -> Path:
    return out or Path("runs") / recipe.name


def _train(
    task: TrainingTask,
    out: Path,
    distributed: DistributedContext,
    workers: int | None,
    overwrite: bool,
    console: Console,
) -> None:
    """Run the task, then draw its curves."""
    from synvid.runtime.signals import defer_signals
    from synvid_train.eval.result_plots import draw_curves
    from synvid_train.train.run_log import read_log
    from synvid_train.train.trainer import InterruptedRunError, train

    signal.signal(signal.SIGTERM, terminate)
    progress = console.progress(task.recipe.name)
    with defer_signals():  # to the end: a signal in the middle of a fork or an import would be lost, or break it
        try:
            train(task, out, distributed, loader_workers(workers, distributed), progress, console.message, overwrite)
        except InterruptedRunError:
            raise KeyboardInterrupt from None
        finally:
            distributed.shutdown()
        if distributed.is_main:
            draw_curves(read_log(out / "log.jsonl"), out / "curves.png", str(out))
            console.message(f"{out}: done. Weights in last.safetensors, figures in log.jsonl, curves in curves.png.")


# ---- Training -----------------------------------------------------------------------------------------------------
@click.command()
@click.option("--preset", help="Clips are rendered as they are needed: name of a preset, or a YAML file.")
@click.option(
    "--n", "--clips", "n", type=click.IntRange(1),
    help="With --preset: so many clips, the same in each epoch; beside torchrun, which has a --n of its own, write --clips.  "
    "[default: ever new ones]",
)  # fmt: skip
@click.option("--shards", type=PATH, help="Clips are decoded from a dataset of `synvid render`.")
@click.option("--rerender", is_flag=True, help="With --shards: render the clips from the manifest instead of decoding them.")
@click.option("--data-seed", type=int, default=0, show_default=True, help="With --preset: the seed of the clips.")
@textures_options
@run_options
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
    distributed, console = join_processes(device, quiet)
    made = _recipe(recipe, settings, "pretrain", console, distributed)
    folder = _folder(out, made)

    from synvid_train.train.pretrain import pretraining

    source: WindowSource
    held_out: WindowSource | None
    if preset is not None:
        source, held_out = _rendered(preset, n or made.data.clips_per_epoch, data_seed, textures, images, workers, console)
    else:
        source, held_out = _shards(shards, rerender, textures, images)
    resample = preset is not None and n is None
    task = pretraining(made, source, seed=seed, resample_each_epoch=resample, held_out=held_out)
    _train(task, folder, distributed, workers, overwrite, console)


def _rendered(
    name: str, count: int, seed: int, textures: tuple[str, ...], images: Path | None, workers: int | None, console: Console
) -> tuple[WindowSource, WindowSource]:
    """Clips of a preset, and others of it that are held out."""
    from synvid.preset import load_preset
    from synvid.textures.resolve import find_image_files, resolve_textures
    from synvid_train.data.window_sources import RenderedClips
    from synvid_train.train.pretrain import HELD_OUT

    preset, _ = resolve_textures(load_preset(name), textures, find_image_files(images), workers, console)
    return RenderedClips(preset, seed, count), RenderedClips(preset, seed + 1_000_003, HELD_OUT)


def _shards(
    path: Path | None, rerender: bool, textures: tuple[str, ...], images: Path | None
) -> tuple[WindowSource, WindowSource | None]:
    from synvid.dataset.reader import open_dataset
    from synvid.textures.resolve import parse_texture_options
    from synvid_train.data.window_sources import RenderedClips, ShardClips
    from synvid_train.train.pretrain import HELD_OUT

    assert path is not None
    shards = open_dataset(path, parse_texture_options(textures), images)
    recipe = shards.recipe
    plain = not recipe.preset.banks() and recipe.preset.mixture.source != "real"
    return ShardClips(shards, rerender), RenderedClips(recipe.preset, recipe.seed + 1_000_003, HELD_OUT) if plain else None


_training_options = combine_options(
    click.option(
        "--checkpoint",
        type=PATH,
        help="Whose encoder to start from: file or folder of ours, of VideoMAE, DeepSpeed or Hugging Face.  "
        "[default: random weights]",
    ),
    click.option(
        "--train",
        "training",
        type=PATH,
        required=True,
        help="List of videos and labels as datasets publish them, or a folder with CLASS/VIDEO or SPLIT/CLASS/VIDEO.",
    ),
    click.option("--val", "validation", type=PATH, help="The same, for a figure after some epochs."),
    root_option,
    click.option(
        "--split",
        "column",
        help="Take rows of --train marked train in this column, for --val those marked val, else test; of HMDB51: 1, 2, 3.",
    ),
)


@click.command()
@_training_options
@run_options
def finetune(**options: Any) -> None:
    """Fine-tune an encoder to classify videos.

    synvid-train finetune --checkpoint runs/a/last.pt --train train.csv --val val.csv
    """
    _classify("finetune", **options)


@click.command()
@_training_options
@run_options
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
    distributed, console = join_processes(device, quiet)
    made = _recipe(recipe, settings, kind, console, distributed)
    folder = _folder(out, made)

    from synvid_train.data.annotations import read_list
    from synvid_train.model.convert import load_checkpoint
    from synvid_train.train.finetune import finetuning

    videos = read_list(training, root, split="train", column=column)
    others = validation or (training if column else None)
    val = None if others is None else read_list(others, root, videos.classes, split="val", column=column)
    for remark in (*videos.remarks, *(val.remarks if val else ())):
        console.message(remark)
    start = None if checkpoint is None else load_checkpoint(checkpoint)
    if overwrite and checkpoint is not None and folder.resolve() in (checkpoint.resolve(), *checkpoint.resolve().parents):
        raise ConfigurationError(f"--overwrite: --checkpoint {checkpoint} lies in {folder}, which it would remove.")
    task = finetuning(made, videos, val, checkpoint=start, probe=kind == "probe", seed=seed)
    _train(task, folder, distributed, workers, overwrite, console)
