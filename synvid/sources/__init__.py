"""Clip sources for measuring: presets, datasets, videos and images."""
