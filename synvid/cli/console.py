"""Messages and progress on stderr: a progress bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from typing import Any

from synvid.runtime.progress import LogProgress, Progress, Reporter

__all__ = ["Console", "ProgressBar"]


class Console(Reporter):
    """A reporter that writes messages and progress bars to stderr.

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
        """A new progress bar with a label in front."""
        return ProgressBar(label, self.quiet)


class ProgressBar(Progress):
    """A progress bar with total, rate and time left; if stderr is not a terminal, lines with the same content.

    Args:
        label: text in front of the bar.
        quiet: write nothing.
    """

    def __init__(self, label: str, quiet: bool) -> None:
        self.label, self.quiet = label, quiet
        self.progress = Progress()

    def start(self, total: int, done: int, unit: str) -> None:
        """Show the bar, with `done` of `total` units done."""
        if not self.quiet:
            is_terminal = sys.stderr.isatty()
            self.progress = _TqdmProgress(self.label) if is_terminal else LogProgress(self.label, Console(False).message)
        self.progress.start(total, done, unit)

    def update(self, done: int) -> None:
        """Set the number of units that are done."""
        self.progress.update(done)

    def note(self, text: str) -> None:
        """Set the text behind the bar."""
        self.progress.note(text)

    def finish(self) -> None:
        """Close the bar and leave it visible."""
        self.progress.finish()


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

    def note(self, text: str) -> None:
        self.bar.set_postfix_str(text, refresh=False)

    def finish(self) -> None:
        self.bar.close()
