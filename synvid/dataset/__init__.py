"""Datasets on disk: recipe → plan → shards → records → manifest, and reading them back."""
