"""Check the arguments of the Python interface."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

from synvid.config.strict_yaml import short
from synvid.errors import ConfigurationError

__all__ = ["check_type", "parse_frame", "parse_frames", "parse_integer"]


def check_type(name: str, value: object, expected: type | tuple[type, ...], advice: str) -> None:
    """Check the type of an argument.

    Args:
        name: name of the argument.
        value: its value.
        expected: the type, or the types, that it may have.
        advice: what to give instead, in words.

    Raises:
        ConfigurationError: the value is of another type.

    Examples:
        >>> check_type("preset", "moving_shapes", dict, "a Preset from load_preset(...)")
        Traceback (most recent call last):
        synvid.errors.ConfigurationError: preset is 'moving_shapes' (str); give a Preset from load_preset(...).
    """
    if not isinstance(value, expected):
        raise ConfigurationError(_type_error(name, value, advice))


def _type_error(name: str, value: object, advice: str) -> str:
    return f"{name} is {short(value)} ({type(value).__name__}); give {advice}."


def parse_integer(name: str, value: object, low: int, high: int, limits: str) -> int:
    """Return an argument as an int.

    Args:
        name: name of the argument.
        value: an int, or an integer of NumPy or torch; a bool is refused.
        low, high: allowed range, both included.
        limits: the range in words.

    Raises:
        ConfigurationError: the value is not an integer in the range.
    """
    number = _to_int(value)
    if number is None or not low <= number <= high:
        raise ConfigurationError(f"{name} is {value!r}; it must be a whole number {limits}.")
    return number


def parse_frame(frame: object, num_frames: int | None = None) -> int:
    """Return a frame number as an int.

    Args:
        frame: an int, or an integer of NumPy or torch.
        num_frames: length of the clip; None if the caller checks the range.

    Raises:
        ConfigurationError: it is not an integer, or not one of 0..num_frames - 1.
    """
    number = _to_int(frame)
    limits = f"its frames are 0 to {num_frames - 1}" if num_frames is not None else "give whole numbers"
    if number is None:
        raise ConfigurationError(f"frame {short(frame)} ({type(frame).__name__}) is not a whole number; {limits}.")
    if num_frames is not None and not 0 <= number < num_frames:
        raise ConfigurationError(f"frame {short(frame)} is not in the clip; {limits}.")
    return number


def parse_frames(frames: Iterable[Any], num_frames: int | None = None) -> list[int]:
    """Return frame numbers as a list of ints.

    Args:
        frames: integers in any order: a sequence, a generator, a NumPy array, a torch tensor.
        num_frames: length of the clip; None if the caller checks the range.

    Raises:
        ConfigurationError: `frames` is not iterable, or an element is not an integer, or not one of 0..num_frames - 1.

    Examples:
        >>> parse_frames(range(0, 8, 2), num_frames=8)
        [0, 2, 4, 6]
    """
    values: Any = _to_python(frames)  # a whole tensor at once: iterating over it is slow
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise ConfigurationError(_type_error("frames", frames, "a sequence of frame numbers, such as range(0, 16)"))
    return [parse_frame(frame, num_frames) for frame in values]


def _to_int(value: object) -> int | None:
    """An integer of any library as an int; None for other values, bools included."""
    plain: Any = _to_python(value)
    if isinstance(plain, bool):
        return None
    try:
        return operator.index(plain)
    except TypeError:
        return None


def _to_python(value: object) -> object:
    """A NumPy or torch value as lists and Python scalars; other values unchanged."""
    to_list = getattr(value, "tolist", None)
    return to_list() if callable(to_list) else value
