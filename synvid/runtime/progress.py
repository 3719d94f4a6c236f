"""Progress callbacks and messages of long-running work. The defaults are silent: the library never prints."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from synvid.formatting import format_duration

__all__ = ["LogProgress", "LogReporter", "Progress", "Reporter"]


class Progress:
    """Progress callback that does nothing. Subclass it to show progress, and return it from `Reporter.progress`.

    `synvid.cli.console` has one that draws a bar or logs lines. All methods are called in the process that started the work.

    Examples:
        >>> import synvid
        >>> class Percent(synvid.Progress):
        ...     def start(self, total, done, unit):
        ...         self.total = total
        ...     def update(self, done):
        ...         print(f"{100 * done // self.total} %")
        >>> progress = Percent()
        >>> progress.start(total=200, done=0, unit="clip")
        >>> progress.update(50)
        25 %
    """

    def start(self, total: int, done: int, unit: str) -> None:
        """Start counting.

        Args:
            total: number of units.
            done: units finished by earlier runs.
            unit: name of a unit, singular.
        """

    def update(self, done: int) -> None:
        """Set the number of finished units."""

    def note(self, text: str) -> None:
        """Set a short text to show with the next update, for example the loss."""

    def finish(self) -> None:
        """End, after success or failure."""


class Reporter:
    """Receives the messages and progress of long-running work, and ignores them.

    Subclass it to show them; `synvid.cli.console.Console` writes to stderr.

    Examples:
        >>> import tempfile, synvid
        >>> class Collector(synvid.Reporter):
        ...     def __init__(self):
        ...         self.messages = []
        ...     def message(self, text):
        ...         self.messages.append(text)
        >>> reporter = Collector()
        >>> preset = synvid.load_preset("moving_circles", {"video.width": 32, "video.height": 32, "objects.count": 5})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     result = synvid.render_dataset(preset, n=1, out=f"{folder}/a*b", workers=1, reporter=reporter)
        >>> "interpret * in a path as a pattern" in reporter.messages[0]
        True
    """

    def message(self, text: str) -> None:
        """Show one message."""

    def progress(self, label: str) -> Progress:  # noqa: ARG002
        """Return a progress callback for one part of the work.

        Args:
            label: name of the part.
        """
        return Progress()


class LogReporter(Reporter):
    """Logs messages as warnings of the logger `synvid`, and ignores progress."""

    def message(self, text: str) -> None:
        """Log one message."""
        logging.getLogger("synvid").warning(text)


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
        self.text = ""

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

    def note(self, text: str) -> None:
        """Set a text for the end of the next line."""
        self.text = text

    def _line(self, done: int, seconds: float) -> str:
        rate = (done - self.done_before) / max(seconds, 1e-9)
        parts = [f"{done:,} of {self.total:,} {self.unit}s ({100 * done // self.total} %)", f"{rate:.3g} {self.unit}s/s"]
        if rate > 0:
            parts.append(
                f"{format_duration((self.total - done) / rate)} left"
                if done < self.total
                else f"in {format_duration(seconds)}"
            )
        return f"{self.label}: {', '.join([*parts, self.text] if self.text else parts)}"
