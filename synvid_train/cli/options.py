"""Options that the commands of `synvid-train` share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from synvid.cli.console import Console
from synvid.cli.options import ClickCommand, combine_options, quiet_option, set_option

if TYPE_CHECKING:
    from synvid_train.distributed import DistributedContext


PATH = click.Path(path_type=Path)


# ---- Shared options -----------------------------------------------------------------------------------------------
run_seed_option = click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Names the run; 0 is a seed."
)
device_option = click.option("--device", help="cpu, cuda, cuda:1.  [default: cuda if there is one]")


def loader_workers_option(beside_cpu: str = "half of the cores") -> Callable[[ClickCommand], ClickCommand]:
    help_text = f"Processes that load clips.  [default: {beside_cpu}, all beside a GPU]"
    return click.option("--workers", type=click.IntRange(0, 1024), help=help_text)


run_options = combine_options(
    click.option("--out", type=PATH, help="Folder of the run.  [default: runs/RECIPE]"),
    click.option("--recipe", help="Name of a recipe, or a YAML file; `synvid-train recipes` lists them."),
    set_option("optim.epochs=100"),
    click.option("--overwrite", is_flag=True, help="Remove another run that is in the folder."),
    run_seed_option,
    loader_workers_option(),
    device_option,
    quiet_option,
)
root_option = click.option("--root", type=PATH, help="Folder of the videos in a list.  [default: the list's own]")


def join_processes(device: str | None, quiet: bool) -> tuple[DistributedContext, Console]:
    from synvid_train.distributed import DistributedContext

    distributed = DistributedContext.join(device, Console(quiet).message)
    return distributed, Console(quiet or not distributed.is_main)


def loader_workers(workers: int | None, distributed: DistributedContext) -> int:
    """Processes that load clips: half of the cores beside a model on the CPU, which gets the rest; all beside a GPU."""
    import torch

    from synvid.runtime.local_executor import default_workers

    cores = default_workers()
    if distributed.device.type != "cpu":
        return max(cores // distributed.local_size, 1) if workers is None else workers
    chosen = max(cores // 2 // distributed.local_size, 1) if workers is None else workers
    if "OMP_NUM_THREADS" not in os.environ:  # more threads than cores wait for one another: ten times slower, measured
        torch.set_num_threads(max(cores // distributed.local_size - chosen, 1))
    return chosen
