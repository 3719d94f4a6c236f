"""Find and load configuration files by name or path."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from synvid.config.schema import Config
from synvid.config.strict_yaml import read_yaml, short
from synvid.errors import ConfigurationError

if TYPE_CHECKING:
    pass

__all__ = ["ConfigRegistry"]


_SUFFIXES = (".yaml", ".yml")

D = TypeVar("D", bound="Config")


# ---- Finding and loading -------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class ConfigRegistry(Generic[D]):
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
