"""The command line `synvid-train`."""
