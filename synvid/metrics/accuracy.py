"""Downstream accuracies of datasets, and what goes with them (Figure 4 of the paper)."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synvid.errors import ConfigurationError
from synvid.metrics.results import DatasetMetrics

__all__ = ["PAPER", "Accuracies", "Correlation", "correlate", "read_accuracies"]


Array = NDArray[np.float64]

#: What the paper reports for its datasets, ViT-B, per cent: Tables 1 to 3 and 9 to 12. Table 9 repeats the ViT-L column of
#: Figure 2 digit for digit, so that its five values (`slow_...`) may be those of ViT-L.
PAPER = Path(__file__).parent / "paper.csv"


@dataclass(frozen=True)
class Accuracies:
    """Accuracies by column and dataset.

    Attributes:
        path: the file they were read from.
        columns: {column: {dataset or preset: per cent}}.
    """

    path: Path
    columns: Mapping[str, Mapping[str, float]]

    def of(self, record: DatasetMetrics, column: str) -> float | None:
        """The accuracy of a dataset, by its name, else by its preset's."""
        known = self.columns[column]
        return known.get(record.name, known.get(record.preset or ""))


@dataclass(frozen=True)
class Correlation:
    """How two properties of datasets go together.

    Attributes:
        n: how many datasets have both.
        pearson: linear correlation.
        ci95: its interval by Fisher's z, which takes both for normal; None below four datasets.
        spearman: correlation of the ranks.
    """

    n: int
    pearson: float
    ci95: tuple[float, float] | None
    spearman: float


def read_accuracies(path: Path) -> Accuracies:
    """Read a CSV file: a column `name`, and others that hold accuracies; an empty cell is one that is not known.

    Raises:
        ConfigurationError: no such file, or it is not as described.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.reader(file))
    except OSError as error:
        raise ConfigurationError(f"--accuracy {path}: {error.strerror}.") from None
    except (ValueError, csv.Error):
        raise ConfigurationError(f"--accuracy {path}: is no CSV file.") from None
    header = [cell.strip() for cell in rows[0]] if rows else []
    names = [cell for cell in header if cell != "name"]
    if "name" not in header or not names or len(set(header)) < len(header):
        raise ConfigurationError(f"--accuracy {path}: its first line must be `name` and one or more columns of accuracies.")
    columns: dict[str, dict[str, float]] = {name: {} for name in names}
    for number, row in enumerate(rows[1:], 2):
        if not any(cell.strip() for cell in row):
            continue
        where = f"--accuracy {path}, line {number}"
        if len(row) != len(header):
            raise ConfigurationError(f"{where}: has {len(row)} cells, the first line {len(header)}.")
        cells = dict(zip(header, (cell.strip() for cell in row), strict=True))
        name = cells.pop("name")
        for column, cell in cells.items():
            if cell:
                if name in columns[column]:
                    raise ConfigurationError(f"{where}: {name!r} has an accuracy already.")
                columns[column][name] = _percent(where, column, cell)
    return Accuracies(path, columns)


def _percent(where: str, column: str, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 100:
        raise ConfigurationError(f"{where}: {column} is {cell!r}; it must be a number from 0 to 100, or nothing.")
    return value


def correlate(x: Sequence[float], y: Sequence[float]) -> Correlation | None:
    """Correlations of two properties of the same datasets.

    Returns:
        None of fewer than three datasets, or where one of the two is the same for all.

    >>> correlate([1, 2, 3], [2, 4, 6]).pearson
    1.0
    """
    one, other = np.asarray(x, np.float64), np.asarray(y, np.float64)
    pearson = _pearson(one, other) if len(one) >= 3 else None
    spearman = None if pearson is None else _pearson(_ranks(one), _ranks(other))
    if pearson is None or spearman is None:
        return None
    ends = None
    if len(one) >= 4:
        z, half = np.arctanh(np.clip(pearson, -1 + 1e-15, 1 - 1e-15)), 1.959964 / math.sqrt(len(one) - 3)
        ends = float(np.tanh(z - half)), float(np.tanh(z + half))
    return Correlation(len(one), pearson, ends, spearman)


def _pearson(x: Array, y: Array) -> float | None:
    x, y = x - x.mean(), y - y.mean()
    x, y = x / max(np.abs(x).max(), 1e-300), y / max(np.abs(y).max(), 1e-300)  # so that no square underflows
    scale = math.sqrt(float((x * x).sum() * (y * y).sum()))
    return None if scale == 0 else float(np.clip((x * y).sum() / scale, -1.0, 1.0))


def _ranks(values: Array) -> Array:
    """Ranks from 1; equal values share their mean rank."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Array = (np.cumsum(count) - (count - 1) / 2)[place]
    return ranks
