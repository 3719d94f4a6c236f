"""The two ways in which synvid says no."""

from __future__ import annotations

__all__ = ["ConfigurationError", "DatasetError"]


class ConfigurationError(ValueError):
    """A preset, option or argument is wrong; the sentence names it, its value and what would be right."""


class DatasetError(RuntimeError):
    """A dataset on disk is missing, damaged or could not be written; the sentence names the file."""
