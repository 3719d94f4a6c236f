"""The commands `synvid-train recipes` and `export`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from synvid.cli.group import Subgroup
from synvid.cli.options import PATH, set_option
from synvid_train.cli.options import checkpoint_option

__all__ = ["export", "recipes"]


@click.command()
@checkpoint_option("Checkpoint of synvid-train, or an official one of VideoMAE.")
@click.option("--out", type=PATH, required=True, help="Folder to write, which `from_pretrained` loads.")
def export(checkpoint: Path, out: Path) -> None:
    """Export a checkpoint for Hugging Face transformers.

    synvid-train export --checkpoint runs/pretrain_vitb --out huggingface/
    """
    from synvid_train.model.load import export_huggingface, load_checkpoint

    export_huggingface(load_checkpoint(checkpoint), out)


@click.group(cls=Subgroup, invoke_without_command=True)
@click.pass_context
def recipes(context: click.Context) -> None:
    """List the training recipes, show one, or print the JSON Schema of recipe files."""
    if context.invoked_subcommand is None:
        from synvid_train.training_recipe import list_recipes, load_recipe

        for name in list_recipes():
            click.echo(f"{name:20} {load_recipe(name).description}")


@recipes.command()
@click.argument("name")
@set_option("optim.epochs=100")
def show(name: str, settings: tuple[str, ...]) -> None:
    """Print a recipe with the settings that it extends."""
    from synvid_train.training_recipe import load_recipe

    click.echo(load_recipe(name, settings).to_yaml(), nl=False)


@recipes.command()
def schema() -> None:
    """Print the JSON Schema of recipe files, for editors and other validators."""
    from synvid_train.training_recipe import TrainingRecipe

    click.echo(json.dumps(TrainingRecipe.json_schema(), indent=2, ensure_ascii=False))
