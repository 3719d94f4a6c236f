"""How long work reports on itself: silent unless the caller says otherwise."""

from __future__ import annotations

__all__ = ["Progress"]


class Progress:
    """Told how far the work is; this one says nothing. The command line has one that draws a bar."""

    def start(self, total: int, done: int, unit: str) -> None:
        """Work begins: `done` of `total` units have been done before."""

    def update(self, done: int) -> None:
        """So many units are done now."""

    def note(self, words: str) -> None:
        """How it goes, in a few words."""

    def finish(self) -> None:
        """Work has ended, well or not."""
