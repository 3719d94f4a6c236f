"""Datasets on disk: files, loaders, reader, commands."""
