"""Jinja2 templates of the report, the preview page and the dataset card."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["load_template"]


def load_template(path: Path) -> Template:
    """Load a template. In HTML every value is escaped; a missing value is an error. It may include files of its folder.

    Args:
        path: path of the file; the suffix .html turns escaping on.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # imported here: most commands write no such file

    environment = Environment(
        loader=FileSystemLoader(path.parent),
        autoescape=path.suffix == ".html",  # noqa: S701  # the dataset card is Markdown
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(path.name)
