"""The commands `synvid-train recipes` and `export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    pass
from synvid_train.cli.options import PATH


@click.command()
@click.option("--checkpoint", type=PATH, required=True, help="Ours, or an official one of VideoMAE.")
@click.option("--out", type=PATH, required=True, help="Folder that `from_pretrained` of transformers loads.")
def export(checkpoint: Path, out: Path) -> None:
    """Write a checkpoint as a Hugging Face folder."""
    from synvid_train.model.convert import export_huggingface, load_checkpoint

    export_huggingface(load_checkpoint(checkpoint), out)


@click.command()
@click.argument("name", required=False)
def recipes(name: str | None) -> None:
    """List the recipes, or print one."""
    from synvid_train.training_recipe import list_recipes, load_recipe

    if name is not None:
        click.echo(load_recipe(name).to_yaml(), nl=False)
        return
    for known in list_recipes():
        click.echo(f"{known:20} {load_recipe(known).description}")
