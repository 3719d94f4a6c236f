"""Validators of settings: parse a value, describe what is allowed, and give its JSON Schema."""

from __future__ import annotations

import re
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

__all__ = ["AnyOf", "Boolean", "Interval", "Number", "OneOf", "Pattern", "Subset", "Validator", "Vector"]


class Validator:
    """Base class.

    Attributes:
        description: the allowed values, in words that complete "it must be ...".
    """

    description: str

    def parse(self, value: object) -> Any:
        """Return the value in its normal form: numbers as int or float, lists as tuples.

        Raises:
            ValueError: the value is not allowed.
        """
        raise NotImplementedError

    def json_schema(self) -> dict[str, Any]:
        """A JSON Schema (draft 2020-12) of the allowed values.

        It accepts every value that `parse` accepts, and more where JSON Schema cannot express a rule, such as low <= high.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Number(Validator):
    """A number from `low` to `high`; an integer if `whole`."""

    low: float
    high: float
    whole: bool = False

    @property
    def description(self) -> str:  # type: ignore[override]
        return f"a {'whole ' if self.whole else ''}number from {self.low:.10g} to {self.high:.10g}"

    def parse(self, value: object) -> int | float:
        required = Integral if self.whole else Real
        if isinstance(value, bool) or not isinstance(value, required):
            raise ValueError
        number: Any = value
        if not self.low <= number <= self.high:  # NaN fails here too
            raise ValueError
        return int(number) if self.whole else float(number)

    def json_schema(self) -> dict[str, Any]:
        return {"type": "integer" if self.whole else "number", "minimum": self.low, "maximum": self.high}


@dataclass(frozen=True)
class Interval(Validator):
    """A pair [low, high] of numbers, low <= high; values are drawn uniformly, both ends included."""

    number: Number

    @property
    def description(self) -> str:  # type: ignore[override]
        return f"a pair [low, high], each {self.number.description}, low not above high"

    def parse(self, value: object) -> tuple[Any, Any]:
        if not isinstance(value, list | tuple) or len(value) != 2:
            raise ValueError
        low, high = (self.number.parse(number) for number in value)
        if low > high:
            raise ValueError
        return low, high

    def json_schema(self) -> dict[str, Any]:
        return {"type": "array", "items": self.number.json_schema(), "minItems": 2, "maxItems": 2}


@dataclass(frozen=True)
class Vector(Validator):
    """A list of `length` numbers."""

    length: int
    number: Number

    @property
    def description(self) -> str:  # type: ignore[override]
        return f"a list of {self.length}, each {self.number.description}"

    def parse(self, value: object) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple) or len(value) != self.length:
            raise ValueError
        return tuple(self.number.parse(number) for number in value)

    def json_schema(self) -> dict[str, Any]:
        return {"type": "array", "items": self.number.json_schema(), "minItems": self.length, "maxItems": self.length}


class Boolean(Validator):
    """true or false."""

    description = "true or false"

    def parse(self, value: object) -> bool:
        if not isinstance(value, bool):
            raise ValueError
        return value

    def json_schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


@dataclass(frozen=True)
class OneOf(Validator):
    """One of `names`."""

    names: tuple[str, ...]

    @property
    def description(self) -> str:  # type: ignore[override]
        return "one of " + ", ".join(self.names)

    def parse(self, value: object) -> str:
        if not isinstance(value, str) or value not in self.names:
            raise ValueError
        return value

    def json_schema(self) -> dict[str, Any]:
        return {"enum": list(self.names)}


@dataclass(frozen=True)
class Subset(Validator):
    """A list of at least `min_items` of `names`, without duplicates."""

    names: tuple[str, ...]
    min_items: int = 0

    @property
    def description(self) -> str:  # type: ignore[override]
        return f"a list of {'one or more of ' if self.min_items else ''}{', '.join(self.names)}, without duplicates"

    def parse(self, value: object) -> tuple[str, ...]:
        if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
            raise ValueError
        if len(value) < self.min_items or len(set(value)) < len(value) or not set(value) <= set(self.names):
            raise ValueError
        return tuple(value)

    def json_schema(self) -> dict[str, Any]:
        items = {"enum": list(self.names)}
        return {"type": "array", "items": items, "minItems": self.min_items, "uniqueItems": True}


@dataclass(frozen=True)
class AnyOf(Validator):
    """A value that either of two validators accepts."""

    first: Validator
    second: Validator

    @property
    def description(self) -> str:  # type: ignore[override]
        return f"{self.first.description}, or {self.second.description}"

    def parse(self, value: object) -> Any:
        try:
            return self.first.parse(value)
        except ValueError:
            return self.second.parse(value)

    def json_schema(self) -> dict[str, Any]:
        return {"anyOf": [self.first.json_schema(), self.second.json_schema()]}


@dataclass(frozen=True)
class Pattern(Validator):
    """Text that matches a regular expression as a whole; `description` says what the expression means."""

    pattern: str
    description: str

    def parse(self, value: object) -> str:
        if not isinstance(value, str) or not re.fullmatch(self.pattern, value):
            raise ValueError
        return value

    def json_schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": f"^(?:{self.pattern})$"}
