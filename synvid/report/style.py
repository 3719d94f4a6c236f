"""Style of the charts: colours and markers of the datasets, and the output of a figure as SVG element or file."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator, Sequence
from typing import Any

from markupsafe import Markup

from synvid.errors import ConfigurationError

__all__ = ["dataset_color", "escape_dollars", "figure_style", "line_style", "marker", "save_plot", "to_svg"]


#: Easy to tell apart; datasets beyond the tenth reuse them with another marker and line style.
_PALETTE = (
    "#3366cc", "#e4572e", "#159a72", "#8a4fc7", "#d9921a", "#1798b5", "#c43c7c", "#6d7d2a", "#86603f", "#59636e",
)  # fmt: skip
_MARKERS, _LINE_STYLES = "osD^v", ("-", (0, (5, 2)), (0, (1, 1.4)), (0, (5, 1.5, 1, 1.5)))
_INK, _FAINT, _GRID = "#2b2f36", "#8b929c", "#e7e9ed"

_STYLE: Any = {
    "axes.edgecolor": "#c9ced6", "axes.labelcolor": _INK, "axes.axisbelow": True, "axes.grid": True,
    "axes.spines.right": False, "axes.spines.top": False, "axes.titlesize": 10.5, "axes.titleweight": "bold",
    "axes.titlelocation": "left", "axes.titlecolor": _INK, "axes.labelsize": 9, "font.size": 9, "grid.color": _GRID,
    "grid.linewidth": 0.8, "legend.frameon": False, "legend.fontsize": 8, "lines.linewidth": 1.7,
    "lines.solid_capstyle": "round", "svg.fonttype": "none", "svg.hashsalt": "synvid", "text.color": _INK,
    "xtick.color": _FAINT, "xtick.labelcolor": _INK, "ytick.color": _FAINT, "ytick.labelcolor": _INK,
    "xtick.labelsize": 8.5, "ytick.labelsize": 8.5,
}  # fmt: skip


@contextlib.contextmanager
def figure_style() -> Iterator[Any]:
    """Apply the style of the charts and yield Matplotlib's figure class.

    Raises:
        ConfigurationError: Matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        raise ConfigurationError("plots need matplotlib, which is not installed: pip install 'synvid[report]'.") from None
    with mpl.rc_context(_STYLE):
        yield Figure


def dataset_color(index: int) -> str:
    """Return the colour of a dataset in all charts, #rrggbb."""
    return _PALETTE[index % len(_PALETTE)]


def marker(index: int) -> str:
    """Return the marker of a dataset in all charts."""
    return _MARKERS[index // len(_PALETTE) % len(_MARKERS)]


def line_style(index: int) -> Any:
    """Return the line style of a dataset in all charts."""
    return _LINE_STYLES[index // len(_PALETTE) % len(_LINE_STYLES)]


def escape_dollars(text: str) -> str:
    """Escape the dollar signs of a text, which would start a formula in Matplotlib."""
    return text.replace("$", r"\$")


def to_svg(figure: Any, names: Sequence[str]) -> Markup:
    """Return a figure as an <svg> element for an HTML page.

    It has no ids. What belongs to dataset k is a group of class `ds-k` with the dataset's name as tooltip.

    Args:
        figure: a figure whose artists have the gid `ds-k-PART`.
        names: names of all datasets on the page.
    """
    with figure_style():
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' (width|height)="[\d.]+pt"', "", text, count=2)

    def group(match: re.Match[str]) -> str:
        index = int(match[1])
        return Markup('<g class="ds ds-{}"><title>{}</title>').format(index, names[index])

    text = re.sub(r'<g id="ds-(\d+)(?:-\w+)?">', group, text)
    return Markup(re.sub(r'<g id="[a-zA-Z]\w*?_\d+">', "<g>", text))  # noqa: S704  # Matplotlib escapes its texts


def save_plot(figure: Any, suffix: str) -> bytes:
    """Return a figure as the bytes of an image file.

    Args:
        figure: a Matplotlib figure.
        suffix: .png, .svg or .pdf.

    Raises:
        ConfigurationError: the suffix is none of these.
    """
    if suffix not in (".png", ".svg", ".pdf"):
        raise ConfigurationError(f"--plot: the file name must end in .png, .svg or .pdf, not {suffix!r}.")
    file = io.BytesIO()
    with figure_style():
        figure.savefig(file, format=suffix[1:], dpi=160, metadata={"Date": None} if suffix == ".svg" else None)
    return file.getvalue()
