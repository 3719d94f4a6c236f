"""`python -m synvid` runs the command `synvid`."""

from __future__ import annotations

from synvid.cli.main import main

main(prog_name="synvid")
