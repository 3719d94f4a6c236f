"""Load YAML strictly: no duplicate keys, no aliases, no surprising numbers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from synvid.errors import ConfigurationError

__all__ = ["load_yaml", "read_yaml", "short"]


_MAX_BYTES = 1_000_000


class _StrictLoader(yaml.SafeLoader):
    """A SafeLoader that refuses duplicate keys, aliases and merge keys, and reads 1e-3 as a number."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.constructor.ConstructorError(None, None, "aliases (*name) are not allowed; use extends", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = getattr(key_node, "value", None)
            if key_node.tag == "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(
                    None, None, "merging (<<) is not allowed; use extends", key_node.start_mark
                )
            if isinstance(key, list) or key in seen:
                problem = "a key must be text" if isinstance(key, list) else f"duplicate key {key!r}"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


#: How integers and floats are written; unlike in YAML 1.1, 1:30 is not 90 and 010 is not 8.
_NUMBERS = (
    ("tag:yaml.org,2002:int", r"^[-+]?(0|[1-9][0-9_]*)$"),
    (
        "tag:yaml.org,2002:float",
        r"^[-+]?([0-9][0-9_]*\.[0-9]*([eE][-+]?[0-9]+)?|\.[0-9]+([eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)$",
    ),
    ("tag:yaml.org,2002:float", r"^([-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$"),
)
_StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag not in {tag for tag, _ in _NUMBERS}]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _tag, _pattern in _NUMBERS:
    _StrictLoader.add_implicit_resolver(_tag, re.compile(_pattern), list("-+.0123456789"))


def load_yaml(text: str, source: str) -> Any:
    """Parse strict YAML.

    Raises:
        ConfigurationError: the text is not valid YAML, or has a duplicate key, an alias or a merge key.
    """
    try:
        return yaml.load(text, _StrictLoader)  # noqa: S506  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigurationError(f"{source}{line}: {error.problem}.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigurationError(f"{source}: not valid YAML: {reason}.") from None
    except (AttributeError, LookupError, TypeError):  # raised by PyYAML's constructors of !!timestamp, !!int and others
        raise ConfigurationError(f"{source}: not valid YAML: a value does not fit its tag.") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Raises:
        ConfigurationError: the file cannot be read, is larger than 1 MB, or holds no mapping.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigurationError(f"{path}: is larger than 1 MB, the limit of a configuration file.")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}: is not UTF-8 text.") from None
    settings = load_yaml(text, str(path))
    if not isinstance(settings, dict):
        raise ConfigurationError(f"{path}: holds {short(settings)}; it must hold a mapping of settings.")
    return settings


def short(value: object) -> str:
    """The repr of a value for an error message: one line, at most 60 characters."""
    text = repr(value).replace("\n", " ")
    return text if len(text) <= 60 else text[:57] + "..."
