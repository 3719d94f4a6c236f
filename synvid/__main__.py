"""`python -m synvid` is `synvid`."""

from synvid.cli import main

main(prog_name="synvid")
