"""JSON Schema (draft 2020-12) of configuration files, from the dataclasses that define them."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Mapping
from typing import Any

__all__ = ["config_schema", "section_schema"]


#: One line of text: what `name` and `description` may be.
_LINE = {"type": "string", "pattern": "^[^\\u0000-\\u001f\\u007f]*$"}
#: An entry of an "Attributes:" section: one or more names, a colon, text.
_ENTRY = re.compile(r"(\w+(?:, \w+)*): (.*)")


def config_schema(config: type, sections: Mapping[str, type]) -> dict[str, Any]:
    """The schema of a file that holds a `Config`.

    Each section is a definition, so that the schema of a value can refer to it as `#/$defs/<section>`.

    Args:
        config: the class.
        sections: its sections, {name: dataclass}.
    """
    properties: dict[str, Any] = {
        "extends": {**_LINE, "minLength": 1, "description": "Name or path of the file whose settings this one changes."},
        "name": {**_LINE, "description": "The name; without it, the stem of the file."},
        "description": {**_LINE, "description": "One line of text."},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": config.__name__,
        "description": _summary(config),
        "type": "object",
        "properties": properties | {name: {"$ref": f"#/$defs/{name}"} for name in sections},
        "additionalProperties": False,
        "$defs": {name: section_schema(section) for name, section in sections.items()},
    }


def section_schema(section: type[Any]) -> dict[str, Any]:
    """The schema of one section: a mapping of settings, each with its description and default."""
    texts = _attribute_texts(section)
    properties = {}
    for item in dataclasses.fields(section):
        validator = item.metadata["validator"]
        described = {"description": f"{texts[item.name]} Must be {validator.description}."} if item.name in texts else {}
        default = list(item.default) if isinstance(item.default, tuple) else item.default
        properties[item.name] = {**described, **validator.json_schema(), "default": default}
    return {"type": "object", "description": _summary(section), "properties": properties, "additionalProperties": False}


def _summary(described: type) -> str:
    """The first paragraph of a class's docstring, as one line."""
    return " ".join((inspect.getdoc(described) or "").partition("\n\n")[0].split())


def _attribute_texts(described: type) -> dict[str, str]:
    """The texts of the "Attributes:" section of a class's docstring, by attribute."""
    _, _, section = (inspect.getdoc(described) or "").partition("Attributes:\n")
    texts: dict[str, str] = {}
    names: list[str] = []
    for line in inspect.cleandoc(section).splitlines():
        entry = None if line.startswith(" ") else _ENTRY.match(line)
        if entry:
            names = entry[1].split(", ")
            texts |= dict.fromkeys(names, entry[2])
        else:
            texts |= {name: f"{texts[name]} {line.strip()}" for name in names}
    return {name: _sentence(text) for name, text in texts.items()}


def _sentence(text: str) -> str:
    """Text that begins with a capital letter and ends with a full stop."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
