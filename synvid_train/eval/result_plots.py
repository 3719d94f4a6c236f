"""Plots of training runs and results, drawn with matplotlib."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synvid.errors import ConfigurationError
from synvid.os_errors import wrap_os_errors
from synvid.storage.atomic_io import atomic_write

__all__ = ["draw_confusion", "draw_curves", "draw_sweep"]


def _figure(**size: Any) -> tuple[Any, Any]:
    try:
        import matplotlib as mpl
    except ImportError:
        raise ConfigurationError("plots need matplotlib: pip install 'synvid[train]'.") from None
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    return plt.subplots(layout="constrained", **size)


def _save(figure: Any, path: Path) -> None:
    from matplotlib import pyplot as plt

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    plt.close(figure)
    with wrap_os_errors(path):
        atomic_write(path, buffer.getvalue())


def draw_confusion(confusion: NDArray[np.int64], classes: Sequence[str], path: Path, title: str) -> None:
    """Plot a confusion matrix, each row in percent of its class.

    Args:
        confusion: (classes, classes), counts by true and by predicted class.
        classes: class names; drawn if there are at most 60.
        path: PNG file.
        title: title of the plot.
    """
    side = min(4 + 0.22 * len(classes), 30)
    figure, axes = _figure(figsize=(side, side))
    percent = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1) * 100
    image = axes.imshow(percent, cmap="viridis", vmin=0, vmax=100)
    axes.set_title(title)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if len(classes) <= 60:
        axes.set_xticks(range(len(classes)), classes, rotation=90, fontsize=8)
        axes.set_yticks(range(len(classes)), classes, fontsize=8)
    figure.colorbar(image, shrink=0.7, label="% of the true class")
    _save(figure, path)


def draw_sweep(sweep: dict[str, dict[int, float]], clean: float, path: Path) -> None:
    """Plot top-1 accuracy by severity, one panel per corruption (Figure 3 of the paper).

    Args:
        sweep: {corruption: {severity: top-1 in percent}}.
        clean: top-1 without corruption, drawn at severity 0.
        path: PNG file.
    """
    columns = min(len(sweep), 5)
    rows = -(-len(sweep) // columns)
    figure, axes = _figure(
        nrows=rows, ncols=columns, figsize=(2.6 * columns, 2.2 * rows), sharex=True, sharey=True, squeeze=False
    )
    for ax in axes.flat[len(sweep) :]:
        ax.set_axis_off()
    for ax, (name, values) in zip(axes.flat, sweep.items(), strict=False):
        severities = sorted(values)
        ax.plot([0, *severities], [clean, *(values[s] for s in severities)], marker="o", markersize=3)
        ax.axhline(clean, color="grey", linewidth=0.7, linestyle=":")
        ax.set_title(name, fontsize=10)
        ax.set_ylim(bottom=0)
        ax.grid(alpha=0.3)
    figure.supxlabel("severity")
    figure.supylabel("top-1 accuracy, %")
    _save(figure, path)


def draw_curves(log: list[dict[str, Any]], path: Path, title: str) -> None:
    """Plot loss, metrics, gradient norm and learning rate of a run over its epochs.

    Args:
        log: lines of the run's log.
        path: PNG file.
        title: title of the plot.
    """
    names = [
        name
        for name in ("loss", "r2", "val_top1", "gradient_norm", "learning_rate")
        if any(line.get(name) is not None for line in log)
    ]
    figure, axes = _figure(ncols=len(names), figsize=(3.4 * len(names), 2.8), squeeze=False)
    labels = {
        "r2": "R² on held-out clips",
        "val_top1": "top-1, one view, %",
        "gradient_norm": "gradient norm",
        "learning_rate": "learning rate",
    }
    for ax, name in zip(axes.flat, names, strict=True):
        lines = [line for line in log if line.get(name) is not None]
        ax.plot([line["epoch"] for line in lines], [line[name] for line in lines], linewidth=1.2)
        ax.set_title(labels.get(name, name), fontsize=10)
        ax.set_xlabel("epoch")
        ax.grid(alpha=0.3)
    figure.suptitle(title.replace("$", r"\$"), fontsize=11)
    _save(figure, path)
