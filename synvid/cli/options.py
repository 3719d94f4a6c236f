"""Types and options that several commands share, as decorators."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

__all__ = [
    "FILE",
    "FOLDER",
    "PATH",
    "ClickCommand",
    "OptionDecorator",
    "combine_options",
    "json_option",
    "quiet_option",
    "seed_option",
    "set_option",
    "textures_options",
    "workers_option",
]

ClickCommand = Callable[..., Any]
#: A decorator that adds an option to a command.
OptionDecorator = Callable[[ClickCommand], ClickCommand]

#: Types of options and arguments; what need not exist yet is checked by the library.
PATH = click.Path(path_type=Path)
FILE = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)


def combine_options(*options: OptionDecorator) -> OptionDecorator:
    """One decorator that adds several options, listed by `--help` in the order given."""

    def decorate(command: ClickCommand) -> ClickCommand:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def set_option(example: str = "objects.count=200") -> OptionDecorator:
    """The option `--set KEY=VALUE`, repeatable.

    Args:
        example: KEY=VALUE for the help text.
    """
    help_text = f"Override a setting, for example {example}. Repeatable."
    return click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help=help_text)


seed_option = click.option("--seed", type=int, default=0, show_default=True, help="Random seed.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
quiet_option = click.option("-q", "--quiet", is_flag=True, help="Print no messages and no progress, only results and errors.")
workers_option = click.option(
    "--workers", type=click.IntRange(1, 1024), help="Number of worker processes.  [default: all cores]"
)
textures_options = combine_options(
    click.option(
        "--textures",
        multiple=True,
        metavar="NAME=BANK",
        help="Texture bank file to use for the preset's textures NAME. Repeatable.",
    ),
    click.option("--images", type=FOLDER, help="Folder of image files, for presets with natural images."),
)
