"""Datasets on disk: recipe → shards → manifest, and back."""
