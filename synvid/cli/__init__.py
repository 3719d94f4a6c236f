"""The command line `synvid`."""
