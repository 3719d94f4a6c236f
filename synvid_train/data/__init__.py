"""Training data: video lists, clip sources, transforms and the loader."""
