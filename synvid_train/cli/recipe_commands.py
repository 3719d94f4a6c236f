"""The commands `synvid-train recipes` and `export`."""

from __future__ import annotations

from pathlib import Path

import click

from synvid.cli.options import PATH
from synvid_train.cli.options import checkpoint_option

__all__ = ["export", "recipes"]


@click.command()
@checkpoint_option("Checkpoint of synvid-train, or an official one of VideoMAE.")
@click.option("--out", type=PATH, required=True, help="Folder to write, which `from_pretrained` loads.")
def export(checkpoint: Path, out: Path) -> None:
    """Export a checkpoint for Hugging Face transformers.

    synvid-train export --checkpoint runs/pretrain_vitb/last.pt --out huggingface/
    """
    from synvid_train.model.convert import export_huggingface, load_checkpoint

    export_huggingface(load_checkpoint(checkpoint), out)


@click.command()
@click.argument("name", required=False)
def recipes(name: str | None) -> None:
    """List the training recipes, or print one as YAML.

    synvid-train recipes pretrain_vitb
    """
    from synvid_train.training_recipe import list_recipes, load_recipe

    if name is not None:
        click.echo(load_recipe(name).to_yaml(), nl=False)
        return
    for each in list_recipes():
        click.echo(f"{each:20} {load_recipe(each).description}")
