"""The command `synvid-train`: prints results on stdout and messages on stderr.

Exit codes: 0 success, 1 failure, 2 wrong usage or configuration, 130 interrupted, 143 terminated.
"""

from __future__ import annotations

import click

from synvid.cli.group import CONTEXT_SETTINGS, Group
from synvid.version import __version__
from synvid_train.cli.evaluation_commands import compare, evaluate, features
from synvid_train.cli.list_commands import check_list
from synvid_train.cli.recipe_commands import export, recipes
from synvid_train.cli.training_commands import finetune, pretrain, probe

__all__ = ["main"]


@click.group("synvid-train", cls=Group, context_settings=CONTEXT_SETTINGS)
@click.version_option(__version__, prog_name="synvid-train")
def main() -> None:
    """Train and evaluate VideoMAE on synthetic clips.

    synvid-train pretrain --preset moving_shapes
    """


for _command in (pretrain, finetune, probe, evaluate, features, compare, check_list, export, recipes):
    main.add_command(_command)
