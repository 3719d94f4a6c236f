"""Settings as data: documents whose fields know what values they may have, read from YAML and checked to the last key.

Presets and the recipes of training are such documents.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import yaml

from synvid.errors import ConfigurationError
from synvid.kinds import Kind
from synvid.strict_yaml import load_yaml, read_yaml, short

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Document", "Shelf", "parse_override", "setting"]

_SUFFIXES = (".yaml", ".yml")

D = TypeVar("D", bound="Document")


def setting(default: Any, kind: Kind) -> Any:
    """A field of a section: its default, and the kind of value that it takes."""
    return field(default=default, metadata={"kind": kind})


# ---- Documents ----------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Document:
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
    kinds: dict[str, Kind] = {item.name: item.metadata["kind"] for item in dataclasses.fields(section)}
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


# ---- Finding and loading -------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Shelf(Generic[D]):
    """Where documents of a kind are found: those that come with us by name, and files of a user's own.

    Attributes:
        of: the kind.
        word: what it is called.
        folder: of those that come with us.
        command: that lists them.
        prepare: changes what one file says before it is read, given the folder of the file.
    """

    of: type[D]
    word: str
    folder: Path
    command: str
    prepare: Callable[[dict[str, Any], Path], None] = lambda _settings, _folder: None

    def names(self) -> list[str]:
        """Of all that come with us."""
        return sorted(path.relative_to(self.folder).with_suffix("").as_posix() for path in self.folder.rglob("*.yaml"))

    def load(self, name_or_path: str | Path) -> D:
        """Load one by name, or a YAML file, and all that it extends.

        Raises:
            ConfigurationError: there is none, an unknown key, or a value of the wrong kind.
        """
        path = self._locate(str(name_or_path), Path())
        merged: dict[str, Any] = {"name": self._name_of(path)}
        for ancestor in reversed(self.lineage(path)):
            settings = read_yaml(ancestor)
            settings.pop("extends", None)
            if ancestor != path:
                settings.pop("name", None)
            self.prepare(settings, ancestor.parent)
            self.of.from_dict(settings, str(ancestor), whole=False)  # so that an error names the file that holds the key
            for key, value in settings.items():
                merged[key] = {**merged.get(key, {}), **value} if isinstance(value, dict) else value
        return self.of.from_dict(merged, str(path))

    def lineage(self, path: Path) -> list[Path]:
        """The file and all that it extends, nearest first."""
        chain = [path]
        while True:
            parent = read_yaml(chain[-1]).get("extends")
            if parent is None:
                return chain
            if not isinstance(parent, str):
                raise ConfigurationError(f"{chain[-1]}: extends is {short(parent)}; it must be the name of one {self.word}.")
            try:
                located = self._locate(parent, chain[-1].parent)
            except ConfigurationError as error:
                raise ConfigurationError(f"{chain[-1]}: extends {parent!r}: {error}") from None
            if located in chain:
                raise ConfigurationError(f"{chain[-1]}: extends {parent!r}, which extends it in turn.")
            chain.append(located)

    def _name_of(self, path: Path) -> str:
        if path.is_relative_to(self.folder):
            return path.relative_to(self.folder).with_suffix("").as_posix()
        return path.stem

    def _locate(self, name: str, base: Path) -> Path:
        """The file of a document; paths are relative to `base`."""
        if name.endswith(_SUFFIXES):
            try:
                path = base / Path(name).expanduser()
                if path.is_file():
                    return path.resolve()
            except (OSError, RuntimeError):  # a name too long, or of a user who is not there
                path = base / name
            raise ConfigurationError(f"{short(str(path))[1:-1]}: no such {self.word} file.")
        names = self.names()
        if name in names:
            return (self.folder / f"{name}.yaml").resolve()
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
        advice = f"did you mean {near[0]!r}? " if near else ""
        raise ConfigurationError(f"no {self.word} {name[:80]!r}; {advice}`{self.command}` lists them, a file ends in .yaml.")
