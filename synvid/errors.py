"""Exceptions."""

from __future__ import annotations

__all__ = ["ConfigurationError", "DatasetError"]


class ConfigurationError(ValueError):
    """A preset, option or argument is wrong. The message names it, its value, and what would be right.

    Examples:
        >>> from synvid import ConfigurationError, load_preset
        >>> try:
        ...     load_preset("moving_shapes", {"objects.count": -1})
        ... except ConfigurationError as error:
        ...     print(error)
        override: objects.count is -1; it must be a whole number from 0 to 100000.
    """


class DatasetError(RuntimeError):
    """A file is missing, damaged or could not be written. The message names it.

    Examples:
        >>> from synvid import DatasetError, open_dataset
        >>> try:
        ...     open_dataset("no/such/folder")
        ... except DatasetError as error:
        ...     print(error)
        no/such/folder: no dataset here (synvid.yaml is missing).
    """
