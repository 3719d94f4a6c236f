"""Talking to a person at a terminal: on stderr, a bar where it can be seen."""

from __future__ import annotations

import sys
from typing import Any

from synvid.work.progress import Progress

__all__ = ["Bar", "Talk"]


class Bar(Progress):
    """A bar with total, rate and time left; nothing where stderr is no terminal."""

    def __init__(self, label: str, quiet: bool) -> None:
        self.label, self.quiet = label, quiet
        self.bar: Any = None

    def start(self, total: int, done: int, unit: str) -> None:
        """Show the bar."""
        from tqdm import tqdm

        tqdm.monitor_interval = 0  # no thread: workers are forked
        disable = self.quiet or not sys.stderr.isatty()
        self.bar = tqdm(total=total, initial=done, unit=f" {unit}s", desc=self.label, disable=disable, smoothing=0.1)

    def update(self, done: int) -> None:
        """Move it."""
        self.bar.update(done - self.bar.n)

    def note(self, words: str) -> None:
        """Show some words behind it."""
        self.bar.set_postfix_str(words, refresh=False)

    def finish(self) -> None:
        """Leave it as it is."""
        self.bar.close()


class Talk:
    """Sentences on stderr, unless quiet."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet

    def __call__(self, sentence: str) -> None:
        """Say it."""
        if not self.quiet:
            print(sentence, file=sys.stderr)
