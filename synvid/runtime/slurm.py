"""Which part of a dataset a task of a Slurm job array renders."""

from __future__ import annotations

import os

from synvid.errors import ConfigurationError

__all__ = ["parse_count", "slurm_array_part"]


def slurm_array_part() -> tuple[int, int] | None:
    """Return (i, n) for task i of n of a Slurm job array, from its environment variables; None outside of arrays.

    Only arrays of tasks 0 to n - 1 or 1 to n are accepted. Arrays with gaps or of a single task may repeat tasks of another
    array, so their part is unknown.

    Raises:
        ConfigurationError: the task belongs to another kind of array.
    """
    variables = {name: os.environ.get(f"SLURM_ARRAY_TASK_{name}") for name in ("ID", "MIN", "MAX", "STEP", "COUNT")}
    if variables["ID"] is None:
        return None
    task, first, last, step, n = (parse_count(value or "") for value in variables.values())
    if not (first in (0, 1) and step == 1 and n > 1 and last - first + 1 == n and first <= task <= last):
        listed = ", ".join(f"{name} {'not set' if value is None else value}" for name, value in variables.items())
        raise ConfigurationError(
            f"SLURM_ARRAY_TASK_ID is set, but the array ({listed}) does not have tasks 0 to N - 1 or 1 to N, so the part to "
            "render is unknown; give --part I/N, for example --part $SLURM_ARRAY_TASK_ID/8, or --part 0/1 to render all."
        )
    return task - first, n


def parse_count(text: str) -> int:
    """Parse a whole number of up to nine ASCII digits; -1 if the text is anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1
