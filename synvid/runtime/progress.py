"""How long work reports on itself: silent unless the caller says otherwise."""

from __future__ import annotations

import time
from collections.abc import Callable

from synvid.formatting import format_duration

__all__ = ["LogProgress", "Progress", "Reporter"]


class Progress:
    """Told how far the work is; this one says nothing. The command line has one that draws a bar, or says lines."""

    def start(self, total: int, done: int, unit: str) -> None:
        """Work begins: `done` of `total` units have been done before."""

    def update(self, done: int) -> None:
        """So many units are done now."""

    def note(self, words: str) -> None:
        """How it goes, in a few words."""

    def finish(self) -> None:
        """Work has ended, well or not."""


class Reporter:
    """Where long work reports: messages, and the progress of its parts. This one is silent; `synvid.cli.console` has another."""

    def message(self, text: str) -> None:
        """Show one message."""

    def progress(self, label: str) -> Progress:  # noqa: ARG002
        """A progress report of its own for a part of the work.

        Args:
            label: shown in front of it.
        """
        return Progress()


class LogProgress(Progress):
    """A plain line at each tenth of the work, and where that takes long every ten minutes: for logs.

    Args:
        label: what the lines begin with.
        write: takes a line.
        clock: seconds, from anywhere.
    """

    SECONDS = 600.0

    def __init__(self, label: str, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self.label, self.write, self.clock = label, write, clock
        self.words = ""

    def start(self, total: int, done: int, unit: str) -> None:
        """Count from here."""
        self.total, self.first, self.unit = max(total, 1), done, unit
        self.said, self.began = done, self.clock()
        self.spoke = self.began

    def update(self, done: int) -> None:
        """Say a line, if it is time for one."""
        now = self.clock()
        tenth = done > self.said and 10 * done // self.total > 10 * self.said // self.total
        if tenth or now - self.spoke >= self.SECONDS:
            self.write(self._line(done, now - self.began))
            self.said, self.spoke = done, now

    def note(self, words: str) -> None:
        """Say these words with the next line."""
        self.words = words

    def _line(self, done: int, seconds: float) -> str:
        rate = (done - self.first) / max(seconds, 1e-9)
        parts = [f"{done:,} of {self.total:,} {self.unit}s ({100 * done // self.total} %)", f"{rate:.3g} {self.unit}s/s"]
        if rate > 0:
            parts.append(
                f"{format_duration((self.total - done) / rate)} left"
                if done < self.total
                else f"in {format_duration(seconds)}"
            )
        return f"{self.label}: {', '.join([*parts, self.words] if self.words else parts)}"
