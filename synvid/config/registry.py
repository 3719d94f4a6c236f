"""Find and load configuration files by name or path."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from synvid.config.arguments import check_type
from synvid.config.schema import Config
from synvid.config.strict_yaml import read_yaml, short
from synvid.errors import ConfigurationError

__all__ = ["ConfigRegistry"]


_SUFFIXES = (".yaml", ".yml")

C = TypeVar("C", bound="Config")


@dataclass(frozen=True)
class ConfigRegistry(Generic[C]):
    """Configurations of one class: those in the package, by name, and YAML files of the user, by path.

    Attributes:
        config: the class.
        noun: what error messages call one, `preset`.
        folder: folder of the configurations in the package.
        command: the command that lists them.
        preprocess: called with the settings of each file and the file's folder; may change the settings.
    """

    config: type[C]
    noun: str
    folder: Path
    command: str
    preprocess: Callable[[dict[str, Any], Path], None] = lambda _settings, _folder: None

    def names(self) -> list[str]:
        """Names of the configurations in the package, sorted."""
        return sorted(path.relative_to(self.folder).with_suffix("").as_posix() for path in self.folder.rglob("*.yaml"))

    def load(self, name_or_path: str | Path) -> C:
        """Load a configuration by name, or from a YAML file, with the settings that it extends.

        Raises:
            ConfigurationError: no such configuration, an unknown key, or a wrong value.
        """
        advice = f"the name of a {self.noun}, or the path of a file ending in .yaml"
        check_type(self.noun, name_or_path, (str, os.PathLike), advice)
        path = self._locate(str(name_or_path), Path())
        merged: dict[str, Any] = {"name": self._name(path)}
        for ancestor in reversed(self.lineage(path)):
            settings = read_yaml(ancestor)
            if ancestor != path:
                settings.pop("name", None)
            self.preprocess(settings, ancestor.parent)
            self.config.from_dict(settings, str(ancestor), partial=True)  # an error names the file that holds the key
            settings.pop("extends", None)
            for key, value in settings.items():
                merged[key] = {**merged.get(key, {}), **value} if isinstance(value, dict) else value
        return self.config.from_dict(merged, str(path))

    def lineage(self, path: Path) -> list[Path]:
        """A file, the file that it extends, and so on."""
        chain = [path]
        while True:
            settings = read_yaml(chain[-1])
            if "extends" not in settings:
                return chain
            parent = settings["extends"]
            if not isinstance(parent, str) or not parent:
                raise ConfigurationError(f"{chain[-1]}: extends is {short(parent)}; it must be the name of one {self.noun}.")
            try:
                located = self._locate(parent, chain[-1].parent)
            except ConfigurationError as error:
                raise ConfigurationError(f"{chain[-1]}: extends {parent!r}: {error}") from None
            if located in chain:
                raise ConfigurationError(f"{chain[-1]}: extends {parent!r}, which extends it in turn.")
            chain.append(located)

    def _name(self, path: Path) -> str:
        if path.is_relative_to(self.folder):
            return path.relative_to(self.folder).with_suffix("").as_posix()
        return path.stem

    def _locate(self, name: str, base: Path) -> Path:
        """The file of a configuration; paths are relative to `base`."""
        if name.endswith(_SUFFIXES):
            try:
                path = base / Path(name).expanduser()
                if path.is_file():
                    return path.resolve()
            except (OSError, RuntimeError):  # a name that is too long, or the home of an unknown user
                path = base / name
            raise ConfigurationError(f"{short(str(path))[1:-1]}: no such {self.noun} file.")
        names = self.names()
        if name in names:
            return (self.folder / f"{name}.yaml").resolve()
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
        advice = f"did you mean {near[0]!r}? " if near else ""
        raise ConfigurationError(
            f"no {self.noun} {name[:80]!r}; {advice}`{self.command}` lists them; a file name ends in .yaml."
        )
