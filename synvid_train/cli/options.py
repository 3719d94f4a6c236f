"""Options and helpers that several commands of `synvid-train` share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from synvid.cli.console import Console
from synvid.cli.options import PATH, OptionDecorator, combine_options, quiet_option, set_option
from synvid.errors import ConfigurationError

if TYPE_CHECKING:
    from synvid_train.distributed import DistributedContext
    from synvid_train.model.checkpoint import Checkpoint

__all__ = [
    "DEFAULT_RECIPES",
    "checkpoint_option",
    "device_option",
    "join_processes",
    "load_classifier",
    "loader_workers",
    "loader_workers_option",
    "root_option",
    "run_options",
    "run_seed_option",
]


def loader_workers_option(default_on_cpu: str = "half of the cores") -> OptionDecorator:
    """The option `--workers`: the number of data-loading processes, from 0.

    Args:
        default_on_cpu: what the help text gives as the default without a GPU.
    """
    help_text = f"Number of worker processes that load clips.  [default: {default_on_cpu}; with a GPU, all cores]"
    return click.option("--workers", type=click.IntRange(0, 1024), help=help_text)


def checkpoint_option(help_text: str) -> OptionDecorator:
    """The required option `--checkpoint`."""
    return click.option("--checkpoint", type=PATH, required=True, help=help_text)


run_seed_option = click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Random seed.")
device_option = click.option("--device", help="Device to compute on: cpu, cuda or cuda:1.  [default: cuda if available]")
root_option = click.option(
    "--root", type=PATH, help="Folder that the paths in a list are relative to.  [default: the folder of the list]"
)
#: Default recipe on a GPU and on the CPU, by command.
DEFAULT_RECIPES = {
    "pretrain": ("pretrain_vitb", "laptop_pretrain"),
    "finetune": ("finetune_ucf101", "laptop_finetune"),
    "probe": ("probe_ucf101", "laptop_probe"),
}


def run_options(command: str) -> OptionDecorator:
    """The options that the commands which train a model share.

    Args:
        command: name of the command, a key of `DEFAULT_RECIPES`.
    """
    on_gpu, on_cpu = DEFAULT_RECIPES[command]
    return combine_options(
        click.option("--out", type=PATH, help="Folder of the run.  [default: runs/RECIPE]"),
        click.option(
            "--recipe",
            help="Name of a recipe (see `synvid-train recipes`), or path of a YAML file.  "
            f"[default: {on_gpu}; on a CPU, {on_cpu}]",
        ),
        set_option("optim.epochs=100"),
        click.option("--overwrite", is_flag=True, help="Remove a different run from the folder first."),
        run_seed_option,
        loader_workers_option(),
        device_option,
        quiet_option,
    )


def join_processes(device: str | None, quiet: bool) -> tuple[DistributedContext, Console]:
    """Join the other processes of this run, if any; only the main process gets a console that is not quiet."""
    from synvid_train.distributed import DistributedContext

    distributed = DistributedContext.join(device, Console(quiet).message)
    return distributed, Console(quiet or not distributed.is_main)


def loader_workers(workers: int | None, distributed: DistributedContext) -> int:
    """Return the number of worker processes that load clips: `--workers`, or the default."""
    from synvid_train.data.loader import choose_num_workers

    return choose_num_workers(workers, distributed.device, distributed.local_size)


def load_classifier(path: Path, option: str = "--checkpoint") -> Checkpoint:
    """Load a checkpoint that must be a classifier.

    Raises:
        ConfigurationError: it is a masked auto-encoder, or cannot be loaded.
    """
    from synvid_train.model.load import load_checkpoint

    checkpoint = load_checkpoint(path)
    if checkpoint.kind != "classifier":
        raise ConfigurationError(
            f"{option} {path}: is a masked auto-encoder, not a classifier; train one from it with `synvid-train finetune`."
        )
    return checkpoint
