"""The command `synvid`: prints results on stdout and messages on stderr.

Exit codes: 0 success, 1 failure, 2 wrong usage or configuration, 130 interrupted, 143 terminated.
"""

from __future__ import annotations

import click

from synvid.cli.dataset_commands import merge, status, verify
from synvid.cli.group import CONTEXT_SETTINGS, Group
from synvid.cli.metric_commands import report, stats
from synvid.cli.preset_commands import presets, preview
from synvid.cli.render_command import render
from synvid.cli.texture_commands import textures
from synvid.version import __version__

__all__ = ["main"]


@click.group("synvid", cls=Group, context_settings=CONTEXT_SETTINGS)
@click.version_option(__version__, prog_name="synvid")
def main() -> None:
    """Generate synthetic video for pre-training.

    synvid render --preset moving_shapes --n 9537 --out data/

    A preset is a distribution of clips. The same preset, seed and index always give the same clip.
    """


for _command in (render, status, verify, merge, presets, preview, textures, stats, report):
    main.add_command(_command)
