"""Format numbers, sizes, counts and durations for messages."""

from __future__ import annotations

__all__ = ["describe_unreadable", "format_count", "format_duration", "format_number", "format_size"]


def format_number(value: float) -> str:
    """A number with three or four significant digits.

    Examples:
        >>> format_number(1.3591), format_number(59.887), format_number(0.0314), format_number(0.0), format_number(4312.7)
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
    """A number of bytes with a unit.

    Examples:
        >>> format_size(1.5e9), format_size(999)
        ('1.5 GB', '999 bytes')
    """
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "bytes" or number >= 100 else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def format_count(number: int, noun: str) -> str:
    """A number with a noun.

    Examples:
        >>> format_count(1, "clip"), format_count(1000, "clip")
        ('1 clip', '1,000 clips')
    """
    return f"{number:,} {noun}{'s' * (number != 1)}"


def format_duration(seconds: float) -> str:
    """A duration with units.

    Examples:
        >>> format_duration(3.25), format_duration(125), format_duration(7500)
        ('3.2 s', '2 min 5 s', '2 h 5 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{int(seconds) // 60} min {int(seconds) % 60} s"
    return f"{minutes // 60} h {minutes % 60} min"


def describe_unreadable(noun: str, names: list[str]) -> str:
    """The message that files could not be read: their number, and the names of the first three."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{len(names)} {noun}{'s' if len(names) > 1 else ''} could not be read: {', '.join(names[:3])}{more}."
