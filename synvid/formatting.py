"""Format numbers, sizes, durations and counts for messages."""

from __future__ import annotations

__all__ = ["describe_unreadable", "format_count", "format_duration", "format_number", "format_size"]


def format_number(value: float) -> str:
    """A value for people, three digits or so.

    >>> number(1.3591), number(59.887), number(0.0314), number(0.0), number(4312.7)
    ('1.359', '59.89', '0.0314', '0', '4313')
    """
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:.0f}"
    if abs(value) >= 0.001:
        return f"{value:.4g}" if abs(value) >= 0.1 else f"{value:.3g}"
    return f"{value:.1e}"


def format_size(number: float) -> str:
    """Bytes in words: 1.5 GB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "bytes" or number >= 100 else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def format_count(number: int, what: str) -> str:
    """A number of things: 1 clip, 1,000 clips."""
    return f"{number:,} {what}{'s' * (number != 1)}"


def format_duration(seconds: float) -> str:
    """Seconds in words: 2 min 5 s."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{int(seconds) // 60} min {int(seconds) % 60} s"
    return f"{minutes // 60} h {minutes % 60} min"


def describe_unreadable(what: str, names: list[str]) -> str:
    """A sentence on files that could not be read."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{len(names)} {what}{'s' if len(names) > 1 else ''} could not be read: {', '.join(names[:3])}{more}."
