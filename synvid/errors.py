"""Exceptions."""

from __future__ import annotations

__all__ = ["ConfigurationError", "DatasetError"]


class ConfigurationError(ValueError):
    """A preset, option or argument is wrong. The message names it, its value, and what would be right."""


class DatasetError(RuntimeError):
    """A file is missing, damaged or could not be written. The message names it."""
