"""Downstream accuracies of datasets and their correlation with other properties (Figure 4 of the paper)."""

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

#: CSV file of the accuracies that the paper reports, ViT-B, per cent: Tables 1 to 3 and 9 to 12. Table 9 repeats the ViT-L
#: column of Figure 2 digit for digit, so its five values (`slow_...`) may be those of ViT-L.
PAPER = Path(__file__).parent / "paper.csv"


@dataclass(frozen=True)
class Accuracies:
    """Accuracies by column and dataset.

    Attributes:
        path: the CSV file they were read from.
        columns: {column: {name of a dataset or preset: per cent}}.
    """

    path: Path
    columns: Mapping[str, Mapping[str, float]]

    def get(self, metrics: DatasetMetrics, column: str) -> float | None:
        """Return the accuracy of a dataset, looked up by its name, else by the name of its preset."""
        values = self.columns[column]
        return values.get(metrics.name, values.get(metrics.preset or ""))


@dataclass(frozen=True)
class Correlation:
    """Correlation of two properties over datasets.

    Attributes:
        n: number of datasets.
        pearson: Pearson's correlation coefficient.
        ci95: its 95 % confidence interval by Fisher's z transform, which assumes normal data; None below four datasets.
        spearman: Spearman's rank correlation coefficient.
    """

    n: int
    pearson: float
    ci95: tuple[float, float] | None
    spearman: float


def read_accuracies(path: Path) -> Accuracies:
    """Read a CSV file with a column `name` and one or more columns of accuracies; empty cells are missing values.

    Raises:
        ConfigurationError: the file is missing or malformed.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.reader(file))
    except OSError as error:
        raise ConfigurationError(f"--accuracy {path}: {error.strerror}.") from None
    except (ValueError, csv.Error):
        raise ConfigurationError(f"--accuracy {path}: is not a CSV file.") from None
    header = [cell.strip() for cell in rows[0]] if rows else []
    names = [cell for cell in header if cell != "name"]
    if "name" not in header or not names or len(set(header)) < len(header):
        raise ConfigurationError(f"--accuracy {path}: the first line must be `name` and one or more columns of accuracies.")
    columns: dict[str, dict[str, float]] = {name: {} for name in names}
    for number, row in enumerate(rows[1:], 2):
        if not any(cell.strip() for cell in row):
            continue
        where = f"--accuracy {path}, line {number}"
        if len(row) != len(header):
            raise ConfigurationError(f"{where}: has {len(row)} cells; the first line has {len(header)}.")
        cells = dict(zip(header, (cell.strip() for cell in row), strict=True))
        name = cells.pop("name")
        for column, cell in cells.items():
            if cell:
                if name in columns[column]:
                    raise ConfigurationError(f"{where}: {name!r} already has an accuracy.")
                columns[column][name] = _parse_percent(where, column, cell)
    return Accuracies(path, columns)


def _parse_percent(where: str, column: str, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 100:
        raise ConfigurationError(f"{where}: {column} is {cell!r}; it must be empty or a number from 0 to 100.")
    return value


def correlate(x: Sequence[float], y: Sequence[float]) -> Correlation | None:
    """Correlate two properties of the same datasets.

    Returns:
        None for fewer than three datasets, and where one of the two properties is constant.

    Examples:
        >>> round(correlate([1, 2, 3], [2, 4, 7]).pearson, 3)
        0.993
    """
    from scipy import stats

    first, second = _standardize(x), _standardize(y)
    if len(x) < 3 or first is None or second is None:
        return None
    pearson, spearman = stats.pearsonr(first, second), stats.spearmanr(first, second)
    ci95 = None
    if len(x) >= 4:
        low, high = pearson.confidence_interval(0.95)
        ci95 = float(low), float(high)
    return Correlation(len(x), float(pearson.statistic), ci95, float(spearman.statistic))


def _standardize(values: Sequence[float]) -> Array | None:
    """Shift to mean 0 and scale to maximum 1, so that SciPy neither underflows nor warns; None where all are the same."""
    array = np.asarray(values, np.float64)
    if not len(array) or np.ptp(array) == 0:
        return None
    array = array - array.mean()
    scaled: Array = array / np.abs(array).max()
    return scaled
