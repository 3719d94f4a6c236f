"""The rasterizer: poses to row spans, front to back, to pixels."""
