"""What the value of a setting may be: each kind says it in words and turns YAML's value into ours."""

from __future__ import annotations

import re
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

__all__ = ["AnyOf", "Boolean", "Interval", "Number", "OneOf", "Pattern", "Subset", "Validator", "Vector"]


class Validator:
    """One kind of value: says in words what is right and turns YAML's value into ours."""

    words: str

    def parse(self, value: object) -> Any:
        """The value, normalised; ValueError when it is not of this kind."""
        raise NotImplementedError


@dataclass(frozen=True)
class Number(Validator):
    """A number in [low, high], whole if `whole`."""

    low: float
    high: float
    whole: bool = False

    @property
    def words(self) -> str:  # type: ignore[override]
        return f"a {'whole ' if self.whole else ''}number from {self.low:.10g} to {self.high:.10g}"

    def parse(self, value: object) -> int | float:
        wanted = Integral if self.whole else Real
        if isinstance(value, bool) or not isinstance(value, wanted):
            raise ValueError
        number: Any = value
        if not self.low <= number <= self.high:  # NaN fails here too
            raise ValueError
        return int(number) if self.whole else float(number)


@dataclass(frozen=True)
class Interval(Validator):
    """A pair [low, high] of numbers, low <= high; values are drawn uniformly, both ends included."""

    of: Number

    @property
    def words(self) -> str:  # type: ignore[override]
        return f"a pair [low, high], each {self.of.words}, low not above high"

    def parse(self, value: object) -> tuple[Any, Any]:
        if not isinstance(value, list | tuple) or len(value) != 2:
            raise ValueError
        low, high = (self.of.parse(number) for number in value)
        if low > high:
            raise ValueError
        return low, high


@dataclass(frozen=True)
class Vector(Validator):
    """A fixed number of numbers."""

    length: int
    of: Number

    @property
    def words(self) -> str:  # type: ignore[override]
        return f"a list of {self.length}, each {self.of.words}"

    def parse(self, value: object) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple) or len(value) != self.length:
            raise ValueError
        return tuple(self.of.parse(number) for number in value)


class Boolean(Validator):
    """true or false."""

    words = "true or false"

    def parse(self, value: object) -> bool:
        if not isinstance(value, bool):
            raise ValueError
        return value


@dataclass(frozen=True)
class OneOf(Validator):
    """One of some names."""

    names: tuple[str, ...]

    @property
    def words(self) -> str:  # type: ignore[override]
        return "one of " + ", ".join(self.names)

    def parse(self, value: object) -> str:
        if not isinstance(value, str) or value not in self.names:
            raise ValueError
        return value


@dataclass(frozen=True)
class Subset(Validator):
    """A list of some names, none twice."""

    names: tuple[str, ...]
    least: int = 0

    @property
    def words(self) -> str:  # type: ignore[override]
        return f"a list of {'one or more of ' if self.least else ''}{', '.join(self.names)}, none twice"

    def parse(self, value: object) -> tuple[str, ...]:
        if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
            raise ValueError
        if len(value) < self.least or len(set(value)) < len(value) or not set(value) <= set(self.names):
            raise ValueError
        return tuple(value)


@dataclass(frozen=True)
class AnyOf(Validator):
    """A value of one kind or of another."""

    one: Validator
    other: Validator

    @property
    def words(self) -> str:  # type: ignore[override]
        return f"{self.one.words}, or {self.other.words}"

    def parse(self, value: object) -> Any:
        try:
            return self.one.parse(value)
        except ValueError:
            return self.other.parse(value)


@dataclass(frozen=True)
class Pattern(Validator):
    """A text that matches a pattern, as a person would be told of it."""

    pattern: str
    words: str

    def parse(self, value: object) -> str:
        if not isinstance(value, str) or not re.fullmatch(self.pattern, value):
            raise ValueError
        return value
