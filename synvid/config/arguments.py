"""Check the arguments of the Python interface."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from synvid.config.strict_yaml import short
from synvid.errors import ConfigurationError
from synvid.paths import expand_user

__all__ = [
    "check_bool",
    "check_type",
    "parse_bank_paths",
    "parse_frame",
    "parse_frames",
    "parse_integer",
    "parse_optional_path",
    "parse_pair",
    "parse_path",
]


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


def check_bool(name: str, value: object) -> None:
    """Check that an argument is True or False.

    Raises:
        ConfigurationError: it is not.
    """
    check_type(name, value, bool, "True or False")


def parse_path(name: str, value: object, advice: str = "the path of a folder") -> Path:
    """Return an argument as a path, with a leading `~` expanded.

    Args:
        name: name of the argument.
        value: text, or a Path.
        advice: what to give instead of another type, in words.

    Raises:
        ConfigurationError: the value is not a path, or names the home of an unknown user.
    """
    if not isinstance(value, str | os.PathLike) or not isinstance(os.fspath(value), str):
        raise ConfigurationError(_type_error(name, value, advice))
    if "\0" in os.fspath(value):
        raise ConfigurationError(f"{name} is {short(value)}; a path has no null characters.")
    return expand_user(os.fspath(value))


def parse_optional_path(name: str, value: object) -> Path | None:
    """Return an argument as the path of a folder, or None; see `parse_path`."""
    return None if value is None else parse_path(name, value, "the path of a folder, or None")


def parse_bank_paths(value: object) -> dict[str, Path]:
    """Return the argument `textures` as a dict, {name of a texture bank: path}; empty for None.

    Raises:
        ConfigurationError: it is no mapping, a name is not text, or a path is not a path.
    """
    textures: Any = {} if value is None else value
    check_type("textures", textures, Mapping, 'a mapping such as {"statistical": "statistical.bank"}')
    for name in textures:
        check_type("a name in textures", name, str, "the name of a bank as text")
    return {name: parse_path(f"textures[{name!r}]", path, "the path of a file") for name, path in textures.items()}


def parse_pair(name: str, value: object, advice: str) -> tuple[int, int]:
    """Return an argument as a tuple of two ints.

    Args:
        name: name of the argument.
        value: a tuple or list of two integers.
        advice: what to give instead, in words.

    Raises:
        ConfigurationError: it is something else.
    """
    numbers = [_to_int(number) for number in value] if isinstance(value, tuple | list) else []
    if len(numbers) != 2 or numbers[0] is None or numbers[1] is None:
        raise ConfigurationError(_type_error(name, value, advice))
    return numbers[0], numbers[1]


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
        raise ConfigurationError(f"{name} is {short(value)}; it must be a whole number {limits}.")
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
        ConfigurationError: `frames` is not iterable or has no order (a set), or an element is not an integer, or not one of
            0..num_frames - 1.

    Examples:
        >>> parse_frames(range(0, 8, 2), num_frames=8)
        [0, 2, 4, 6]
    """
    values: Any = _to_python(frames)  # a whole tensor at once: iterating over it is slow
    if isinstance(values, str | bytes | AbstractSet) or not isinstance(values, Iterable):
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
