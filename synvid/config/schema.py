"""Settings as data: documents whose fields know what values they may have, read from YAML and checked to the last key.

Presets and the recipes of training are such documents.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from synvid.config.strict_yaml import load_yaml, short
from synvid.config.validators import Validator
from synvid.errors import ConfigurationError

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Config", "parse_override", "setting"]


def setting(default: Any, kind: Validator) -> Any:
    """A field of a section: its default, and the kind of value that it takes."""
    return field(default=default, metadata={"kind": kind})


# ---- Documents ----------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Config:
    """Sections of settings under a name.

    Attributes:
        name: of the document, or the stem of a file of your own.
        description: one line.
    """

    name: str = "custom"
    description: str = ""

    @classmethod
    def sections(cls) -> dict[str, Any]:
        """The classes of its sections, by name: of all its fields but name and description."""
        return {
            item.name: item.default_factory for item in dataclasses.fields(cls) if item.name not in ("name", "description")
        }

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any], source: str = "settings", *, whole: bool = True) -> Self:
        """Build a document from nested mappings; keys that are absent keep their defaults.

        Args:
            settings: {"objects": {"count": 200}, ...}.
            source: what an error names as the place, a file or an option.
            whole: False where other settings are still to come, so that what goes together is not yet asked.

        Raises:
            ConfigurationError: an unknown key, a value of the wrong kind, or values that do not go together.
        """
        for key in settings:
            _require_known(key, ["name", "description", *cls.sections()], source)
        parts: dict[str, Any] = {}
        for key in ("name", "description"):
            text = settings.get(key, "")
            if not isinstance(text, str) or not text.isprintable():
                raise ConfigurationError(f"{source}: {key} is {short(text)}; it must be text of one line.")
            if text:
                parts[key] = text
        for key, section in cls.sections().items():
            parts[key] = _build_section(section, key, settings.get(key, {}), source)
        document = cls(**parts)
        if whole:
            document.check(source)
        return document

    def check(self, source: str) -> None:
        """Refuse settings that do not go together."""

    def to_dict(self) -> dict[str, Any]:
        """All settings as plain lists, numbers and text; `from_dict` gives the document back."""
        return json.loads(json.dumps(dataclasses.asdict(self)))  # type: ignore[no-any-return]  # tuples become lists

    def to_yaml(self) -> str:
        """All settings as a YAML document that can be loaded again."""
        return yaml.dump(self.to_dict(), sort_keys=False, default_flow_style=None, width=100)

    def override(self, overrides: Mapping[str, object], source: str = "override", *, whole: bool = True) -> Self:
        """The document with some settings changed, {"objects.count": 200}; `whole` as in `from_dict`.

        Raises:
            ConfigurationError: an unknown key, or a value of the wrong kind.
        """
        settings = self.to_dict()
        leaves = [f"{section}.{item.name}" for section, part in self.sections().items() for item in dataclasses.fields(part)]
        for key, value in overrides.items():
            _require_known(key, leaves, source)
            section, _, leaf = key.partition(".")
            settings[section][leaf] = value
        return type(self).from_dict(settings, source, whole=whole)

    def change(self, texts: Sequence[str]) -> Self:
        """The document with what --set says changed, ["objects.count=200"].

        Raises:
            ConfigurationError: an unknown key, a value of the wrong kind, or values that do not go together.
        """
        document = self
        for text in texts:
            key, value = parse_override(text)
            document = document.override({key: value}, f"--set {text!r}", whole=False)
        document.check(f"--set {', '.join(texts)}" if texts else self.name)
        return document


def _require_known(key: object, known: Iterable[str], source: str) -> None:
    known = list(known)
    if key in known:
        return
    section, _, leaf = str(key).rpartition(".")
    near = [name for name in known if len(leaf) > 1 and name.startswith(section) and _initials(name).endswith(leaf)]  # lr
    near = near or difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
    if not near:  # `count` for `objects.count`
        near = [name for name in known if name.rpartition(".")[2] == key][:1]
    advice = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}."
    raise ConfigurationError(f"{source}: unknown key {str(key)[:80]!r}; {advice}")


def _initials(name: str) -> str:
    """Of the words of a key: blr for optim.base_learning_rate."""
    return "".join(word[:1] for word in name.rpartition(".")[2].split("_"))


def _build_section(section: type, key: str, settings: object, source: str) -> Any:
    if not isinstance(settings, Mapping):
        raise ConfigurationError(f"{source}: {key} is {short(settings)}; it must be a mapping of settings.")
    kinds: dict[str, Validator] = {item.name: item.metadata["kind"] for item in dataclasses.fields(section)}
    values = {}
    for name, value in settings.items():
        _require_known(f"{key}.{name}", [f"{key}.{known}" for known in kinds], source)
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
