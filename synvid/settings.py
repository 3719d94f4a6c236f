"""Settings: frozen dataclasses whose fields know what values they may have, built from mappings, checked to the last key."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Any

from synvid.errors import ConfigurationError
from synvid.kinds import Kind
from synvid.strict_yaml import load_yaml, short

__all__ = ["build_section", "parse_override", "require_known", "setting"]


def setting(default: Any, kind: Kind) -> Any:
    """A field of a section: its default, and the kind of value that it takes."""
    return field(default=default, metadata={"kind": kind})


def require_known(key: object, known: Iterable[str], source: str) -> None:
    """Refuse a key that is not known, with the nearest one as advice.

    Raises:
        ConfigurationError: it is unknown.
    """
    known = list(known)
    if key in known:
        return
    near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
    if not near:  # `count` for `objects.count`
        near = [name for name in known if name.rpartition(".")[2] == key][:1]
    advice = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}."
    raise ConfigurationError(f"{source}: unknown key {str(key)[:80]!r}; {advice}")


def build_section(section: type, key: str, settings: object, source: str) -> Any:
    """Build a dataclass whose fields are settings from a mapping; what is absent keeps its default.

    Raises:
        ConfigurationError: no mapping, an unknown key, or a value of the wrong kind.
    """
    if not isinstance(settings, Mapping):
        raise ConfigurationError(f"{source}: {key} is {short(settings)}; it must be a mapping of settings.")
    kinds: dict[str, Kind] = {item.name: item.metadata["kind"] for item in dataclasses.fields(section)}
    values = {}
    for name, value in settings.items():
        require_known(f"{key}.{name}", [f"{key}.{known}" for known in kinds], source)
        try:
            values[name] = kinds[name].parse(value)
        except ValueError:
            words = kinds[name].words
            raise ConfigurationError(f"{source}: {key}.{name} is {short(value)}; it must be {words}.") from None
    return section(**values)


def parse_override(text: str) -> tuple[str, object]:
    """Split `objects.count=200` into key and value; the value is YAML.

    Raises:
        ConfigurationError: there is no `=`, or the value is no YAML.
    """
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ConfigurationError(f"--set {text!r}: write it as KEY=VALUE, for example objects.count=200.")
    return key.strip(), load_yaml(value, f"--set {text!r}")
