"""Progress callbacks and messages of long-running work. The defaults are silent: the library never prints."""

from __future__ import annotations

import time
from collections.abc import Callable

from synvid.formatting import format_duration

__all__ = ["LogProgress", "Progress", "Reporter"]


class Progress:
    """Progress callback that does nothing. `synvid.cli.console` has one that draws a bar or logs lines."""

    def start(self, total: int, done: int, unit: str) -> None:
        """Start counting.

        Args:
            total: number of units.
            done: units finished by earlier runs.
            unit: name of a unit, singular.
        """

    def update(self, done: int) -> None:
        """Set the number of finished units."""

    def note(self, words: str) -> None:
        """Set a short text to show with the next update, for example the loss."""

    def finish(self) -> None:
        """End, after success or failure."""


class Reporter:
    """Receives the messages and progress of long-running work, and ignores them.

    Subclass it to show them; `synvid.cli.console.Console` writes to stderr.
    """

    def message(self, text: str) -> None:
        """Show one message."""

    def progress(self, label: str) -> Progress:  # noqa: ARG002
        """Return a progress callback for one part of the work.

        Args:
            label: name of the part.
        """
        return Progress()


class LogProgress(Progress):
    """Logs one line per tenth of the work, and at least one every ten minutes.

    Args:
        label: prefix of the lines.
        write: writes one line.
        clock: returns seconds, monotonic.
    """

    SECONDS = 600.0

    def __init__(self, label: str, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self.label, self.write, self.clock = label, write, clock
        self.words = ""

    def start(self, total: int, done: int, unit: str) -> None:
        """Start counting."""
        self.total, self.done_before, self.unit = max(total, 1), done, unit
        self.last_done, self.start_time = done, self.clock()
        self.last_time = self.start_time

    def update(self, done: int) -> None:
        """Log a line if one is due."""
        now = self.clock()
        is_next_tenth = done > self.last_done and 10 * done // self.total > 10 * self.last_done // self.total
        if is_next_tenth or now - self.last_time >= self.SECONDS:
            self.write(self._line(done, now - self.start_time))
            self.last_done, self.last_time = done, now

    def note(self, words: str) -> None:
        """Set a text for the end of the next line."""
        self.words = words

    def _line(self, done: int, seconds: float) -> str:
        rate = (done - self.done_before) / max(seconds, 1e-9)
        parts = [f"{done:,} of {self.total:,} {self.unit}s ({100 * done // self.total} %)", f"{rate:.3g} {self.unit}s/s"]
        if rate > 0:
            parts.append(
                f"{format_duration((self.total - done) / rate)} left"
                if done < self.total
                else f"in {format_duration(seconds)}"
            )
        return f"{self.label}: {', '.join([*parts, self.words] if self.words else parts)}"
