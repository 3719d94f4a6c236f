"""Talking to a person at a terminal, or to a log: on stderr, a bar where it can be seen, else plain lines."""

from __future__ import annotations

import sys
from typing import Any

from synvid.work.progress import Lines, Progress

__all__ = ["Bar", "Talk"]


class Bar(Progress):
    """A bar with total, rate and time left; where stderr is no terminal, lines that say the same; nothing if quiet."""

    def __init__(self, label: str, quiet: bool) -> None:
        self.label, self.quiet = label, quiet
        self.shown = Progress()

    def start(self, total: int, done: int, unit: str) -> None:
        """Show the bar."""
        if not self.quiet:
            self.shown = _Drawn(self.label) if sys.stderr.isatty() else Lines(self.label, Talk(quiet=False))
        self.shown.start(total, done, unit)

    def update(self, done: int) -> None:
        """Move it."""
        self.shown.update(done)

    def note(self, words: str) -> None:
        """Show some words behind it."""
        self.shown.note(words)

    def finish(self) -> None:
        """Leave it as it is."""
        self.shown.finish()


class _Drawn(Progress):
    def __init__(self, label: str) -> None:
        self.label = label
        self.bar: Any = None

    def start(self, total: int, done: int, unit: str) -> None:
        from tqdm import tqdm

        tqdm.monitor_interval = 0  # no thread: workers are forked
        self.bar = tqdm(total=total, initial=done, unit=f" {unit}s", desc=self.label, smoothing=0.1)

    def update(self, done: int) -> None:
        self.bar.update(done - self.bar.n)

    def note(self, words: str) -> None:
        self.bar.set_postfix_str(words, refresh=False)

    def finish(self) -> None:
        self.bar.close()


class Talk:
    """Sentences on stderr, unless quiet."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet

    def __call__(self, sentence: str) -> None:
        """Say it, at once: a log is written in blocks otherwise."""
        if not self.quiet:
            print(sentence, file=sys.stderr, flush=True)
