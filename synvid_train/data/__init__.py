"""Training data: lists of labelled videos, window sources, transforms, the batch schedule and the loader."""
