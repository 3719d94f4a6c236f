"""Slurm job arrays: which part of a dataset a task renders."""

from __future__ import annotations

import os

from synvid.errors import ConfigurationError

__all__ = ["slurm_array_part"]

_VARIABLES = ("ID", "MIN", "MAX", "STEP", "COUNT")


def slurm_array_part() -> tuple[int, int] | None:
    """The part (i, n) of this task of a Slurm job array, read from SLURM_ARRAY_TASK_*; None outside of job arrays.

    The array must consist of the tasks 0 to n - 1 or 1 to n, with n > 1. Any other array may be a rerun of single tasks
    of a larger one, and does not tell which part is meant.

    Raises:
        ConfigurationError: the array does not consist of these tasks.
    """
    values = {name: os.environ.get(f"SLURM_ARRAY_TASK_{name}") for name in _VARIABLES}
    if values["ID"] is None:
        return None
    task, first, last, step, n = (_parse_count(values[name] or "") for name in _VARIABLES)
    if not (first in (0, 1) and step == 1 and n > 1 and last - first + 1 == n and first <= task <= last):
        listing = ", ".join(f"{name} {'not set' if value is None else value}" for name, value in values.items())
        raise ConfigurationError(
            f"SLURM_ARRAY_TASK_ID is set, but the job array ({listing}) does not have the tasks 0 to N - 1 or 1 to N, so the "
            "part to render is unknown; give --part I/N, for example --part $SLURM_ARRAY_TASK_ID/8, or --part 0/1 for all."
        )
    return task - first, n


def _parse_count(text: str) -> int:
    """A whole number from 0 of at most 9 digits; -1 for any other text."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1
