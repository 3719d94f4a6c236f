"""Training data: lists of labelled videos, clip sources, transforms, the batch schedule and the loader."""
