"""Configurations: dataclasses of validated settings, grouped in sections and loaded from YAML.

Presets and training recipes are configurations.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import yaml

from synvid.config.arguments import check_type
from synvid.config.json_schema import config_schema
from synvid.config.strict_yaml import load_yaml, short
from synvid.config.validators import Validator
from synvid.errors import ConfigurationError

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Config", "RenamedSettingError", "nearest_name", "parse_override", "setting"]


def setting(default: Any, validator: Validator) -> Any:
    """A field of a section, with its default value and the validator of its values."""
    return field(default=default, metadata={"validator": validator})


class RenamedSettingError(ConfigurationError):
    """A setting has a name that an older version of synvid used."""


@dataclass(frozen=True)
class Config:
    """A named configuration: every other field is a section, a dataclass whose fields are made by `setting`.

    Attributes:
        name: name of the configuration, or the stem of the user's file.
        description: one line of text.
    """

    #: Settings that have been renamed: {old key: new key}, keys written as `objects.count`.
    renamed: ClassVar[Mapping[str, str]] = {}

    name: str = "custom"
    description: str = ""

    @classmethod
    def sections(cls) -> dict[str, Any]:
        """The sections, {name: dataclass}."""
        return {
            item.name: item.default_factory for item in dataclasses.fields(cls) if item.name not in ("name", "description")
        }

    @classmethod
    def setting_keys(cls) -> list[str]:
        """The keys of all settings, written as `objects.count`."""
        return [f"{name}.{item.name}" for name, section in cls.sections().items() for item in dataclasses.fields(section)]

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """A JSON Schema (draft 2020-12) of the files that hold this configuration."""
        return config_schema(cls, cls.sections())

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any], source: str = "settings", *, partial: bool = False) -> Self:
        """Build a configuration from nested mappings; absent settings have their defaults.

        Args:
            settings: {"objects": {"count": 200}, ...}.
            source: the file or option that error messages name.
            partial: whether these are the settings of one file, into which others will be merged. They may then have the key
                `extends`, which is ignored here, and `check` is not called.

        Raises:
            ConfigurationError: an unknown key, a wrong value, or values that contradict each other.
        """
        check_type(f"{source}: settings", settings, Mapping, "a mapping of settings")
        texts = ["extends", "name", "description"] if partial else ["name", "description"]
        for key in settings:
            _check_key(key, [*texts, *cls.sections()], cls.renamed, source)
        values: dict[str, Any] = {}
        for key in texts:
            text = settings.get(key, "")
            is_empty = key == "extends" and key in settings and not text
            if not isinstance(text, str) or not text.isprintable() or is_empty:
                raise ConfigurationError(f"{source}: {key} is {short(text)}; it must be one line of text.")
            if text and key != "extends":
                values[key] = text
        for key, section in cls.sections().items():
            values[key] = _parse_section(section, key, settings.get(key, {}), cls.renamed, source)
        config = cls(**values)
        if not partial:
            config.check(source)
        return config

    @classmethod
    def upgrade(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return nested settings with the current names, for settings that an older version stored, as in a checkpoint.

        Args:
            settings: {"run": {"device_batch": 8}, ...}; not changed.
        """
        upgraded = {key: dict(value) if isinstance(value, Mapping) else value for key, value in settings.items()}
        for old, new in cls.renamed.items():
            section, _, leaf = old.partition(".")
            if isinstance(upgraded.get(section), dict) and leaf in upgraded[section]:
                upgraded[section][new.partition(".")[2]] = upgraded[section].pop(leaf)
        return upgraded

    def check(self, source: str) -> None:
        """Raise ConfigurationError if settings contradict each other; `source` is the file or option to name."""

    def to_dict(self) -> dict[str, Any]:
        """All settings as plain lists, numbers and text; `from_dict` is the inverse."""
        return json.loads(json.dumps(dataclasses.asdict(self)))  # type: ignore[no-any-return]  # tuples become lists

    def to_yaml(self) -> str:
        """All settings as YAML that can be loaded again."""
        return yaml.dump(self.to_dict(), sort_keys=False, default_flow_style=None, width=100)

    def override(
        self, overrides: Mapping[str, object], source: str = "override", *, partial: bool = False, separator: str = "."
    ) -> Self:
        """Return a copy with some settings changed.

        Args:
            overrides: {"objects.count": 200}.
            source: the file or option that error messages name.
            partial: as in `from_dict`.
            separator: what joins section and setting in the keys: `.`, or `__` where keys are keyword arguments.

        Raises:
            ConfigurationError: an unknown key, a wrong value, or values that contradict each other.
        """
        check_type("overrides", overrides, Mapping, 'a mapping such as {"objects.count": 200}')
        settings = self.to_dict()
        for key, value in overrides.items():
            dotted = key.replace(separator, ".", 1) if isinstance(key, str) else key
            _check_key(dotted, self.setting_keys(), self.renamed, source, separator)
            section, _, name = dotted.partition(".")
            settings[section][name] = value
        return type(self).from_dict(settings, source, partial=partial)

    def override_text(self, texts: Sequence[str]) -> Self:
        """Return a copy with the settings changed that `--set` names, ["objects.count=200"].

        Raises:
            ConfigurationError: an unknown key, a wrong value, or values that contradict each other.
        """
        config = self
        for text in texts:
            key, value = parse_override(text)
            config = config.override({key: value}, f"--set {text!r}", partial=True)
        config.check(f"--set {', '.join(texts)}" if texts else self.name)
        return config


def parse_override(text: str) -> tuple[str, object]:
    """Split `objects.count=200` into key and value; the value is parsed as YAML.

    Raises:
        ConfigurationError: there is no `=`, or the value is not valid YAML.
    """
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ConfigurationError(f"--set {text!r}: write it as KEY=VALUE, for example objects.count=200.")
    return key.strip(), load_yaml(value, f"--set {text!r}")


def nearest_name(name: str, names: Iterable[str]) -> str | None:
    """The most similar of `names`, for "did you mean ...?"; None if none is similar.

    Examples:
        >>> keys = ["objects.count", "optim.base_learning_rate"]
        >>> nearest_name("objects.cuont", keys), nearest_name("count", keys), nearest_name("optim.blr", keys)
        ('objects.count', 'objects.count', 'optim.base_learning_rate')
    """
    names = list(names)
    section, _, leaf = name.rpartition(".")
    near = [key for key in names if len(leaf) > 1 and key.startswith(section) and _initials(key).endswith(leaf)]
    near = near or difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    near = near or [key for key in names if key.rpartition(".")[2] == name]
    return near[0] if near else None


def _initials(key: str) -> str:
    """The initials of a setting's name: blr for optim.base_learning_rate."""
    return "".join(word[:1] for word in key.rpartition(".")[2].split("_"))


def _check_key(key: object, keys: list[str], renamed: Mapping[str, str], source: str, separator: str = ".") -> None:
    """Raise ConfigurationError, with advice, if a key is not one of `keys`."""
    if key in keys:
        return
    name = str(key).replace(".", separator)
    if key in renamed:
        raise RenamedSettingError(f"{source}: {name} is now called {renamed[str(key)].replace('.', separator)}; rename it.")
    near = nearest_name(str(key), keys)
    advice = (
        f"did you mean {near.replace('.', separator)!r}?"
        if near
        else f"the keys are {', '.join(keys).replace('.', separator)}."
    )
    raise ConfigurationError(f"{source}: unknown key {name[:80]!r}; {advice}")


def _parse_section(section: type, key: str, settings: object, renamed: Mapping[str, str], source: str) -> Any:
    if not isinstance(settings, Mapping):
        raise ConfigurationError(f"{source}: {key} is {short(settings)}; it must be a mapping of settings.")
    validators: dict[str, Validator] = {item.name: item.metadata["validator"] for item in dataclasses.fields(section)}
    values = {}
    for name, value in settings.items():
        _check_key(f"{key}.{name}", [f"{key}.{known}" for known in validators], renamed, source)
        try:
            values[name] = validators[name].parse(value)
        except ConfigurationError as error:  # of a configuration inside this one
            raise ConfigurationError(f"{source}: {key}.{name}: {error}") from None
        except ValueError:
            description = validators[name].description
            raise ConfigurationError(f"{source}: {key}.{name} is {short(value)}; it must be {description}.") from None
    return section(**values)
