"""Messages and progress on stderr: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
from typing import Any

from synvid.runtime.progress import LogProgress, Progress, Reporter

__all__ = ["Console", "ProgressBar"]


class Console(Reporter):
    """Writes messages and progress to stderr.

    Args:
        quiet: write nothing.
    """

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet

    def message(self, text: str) -> None:
        """Write one line and flush it."""
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)

    def progress(self, label: str) -> ProgressBar:
        """A progress bar."""
        return ProgressBar(label, self.quiet)


class ProgressBar(Progress):
    """A bar with total, rate and time left; lines with the same content where stderr is no terminal.

    Args:
        label: shown in front of it.
        quiet: show nothing.
    """

    def __init__(self, label: str, quiet: bool) -> None:
        self.label, self.quiet = label, quiet
        self.shown = Progress()

    def start(self, total: int, done: int, unit: str) -> None:
        """Show the bar."""
        if not self.quiet:
            self.shown = _TqdmProgress(self.label) if sys.stderr.isatty() else LogProgress(self.label, Console(False).message)
        self.shown.start(total, done, unit)

    def update(self, done: int) -> None:
        """Set how many units are done."""
        self.shown.update(done)

    def note(self, words: str) -> None:
        """Set the text behind the bar."""
        self.shown.note(words)

    def finish(self) -> None:
        """Close the bar; it stays visible."""
        self.shown.finish()


class _TqdmProgress(Progress):
    def __init__(self, label: str) -> None:
        self.label = label
        self.bar: Any = None

    def start(self, total: int, done: int, unit: str) -> None:
        from tqdm import tqdm

        tqdm.monitor_interval = 0  # no monitor thread, since worker processes are forked
        self.bar = tqdm(total=total, initial=done, unit=f" {unit}s", desc=self.label, smoothing=0.1)

    def update(self, done: int) -> None:
        self.bar.update(done - self.bar.n)

    def note(self, words: str) -> None:
        self.bar.set_postfix_str(words, refresh=False)

    def finish(self) -> None:
        self.bar.close()
