"""The command `synvid`: results go to stdout, messages to stderr.

Exit codes: 0 success, 1 failure, 2 wrong usage or configuration, 130 interrupted.
"""

from __future__ import annotations

import click

from synvid.cli.dataset_commands import merge, status, verify
from synvid.cli.group import Group
from synvid.cli.metric_commands import report, stats
from synvid.cli.preset_commands import presets, preview
from synvid.cli.render_command import render
from synvid.cli.texture_commands import textures
from synvid.version import __version__

__all__ = ["main"]


@click.group("synvid", cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="synvid")
def main() -> None:
    """Synthetic video for pre-training: a preset, a seed and an index name one clip, bit for bit."""


for _command in (render, status, verify, merge, presets, preview, textures, stats, report):
    main.add_command(_command)
