"""Values in words."""

from __future__ import annotations

__all__ = ["number"]


def number(value: float) -> str:
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
