"""The part of a dataset that a task of a Slurm job array renders."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from synvid.errors import ConfigurationError

if TYPE_CHECKING:
    pass


def slurm_array_part() -> tuple[int, int]:
    """The part of a task of a Slurm array, where its tasks are surely 0 to N - 1 or 1 to N; (0, 1) outside of arrays.

    An array with gaps, and one of a single task, may do some tasks of another array again: which part is meant is not known.
    """
    facts = {name: os.environ.get(f"SLURM_ARRAY_TASK_{name}") for name in ("ID", "MIN", "MAX", "STEP", "COUNT")}
    if facts["ID"] is None:
        return 0, 1
    task, first, last, step, n = (parse_count(value or "") for value in facts.values())
    if not (first in (0, 1) and step == 1 and n > 1 and last - first + 1 == n and first <= task <= last):
        said = ", ".join(f"{name} {'not set' if value is None else value}" for name, value in facts.items())
        raise ConfigurationError(
            f"SLURM_ARRAY_TASK_ID is set, but its array ({said}) is not one of tasks 0 to N - 1 or 1 to N: which part this is "
            "cannot be told; say --part I/N, for example --part $SLURM_ARRAY_TASK_ID/8, or --part 0/1 to render all."
        )
    i = task - first
    click.echo(f"Part {i}/{n}, counted from 0, from SLURM_ARRAY_TASK_ID; --part 0/1 renders all.", err=True)
    return i, n


def parse_count(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1
