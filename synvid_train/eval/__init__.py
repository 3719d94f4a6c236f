"""Evaluation: accuracy, features and distances between datasets."""
