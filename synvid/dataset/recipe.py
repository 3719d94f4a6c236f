"""The recipe of a dataset: preset, seed, number of clips and storage format. Stored as `synvid.yaml`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from synvid.config.arguments import check_type
from synvid.config.schema import RenamedSettingError
from synvid.config.strict_yaml import read_yaml
from synvid.dataset.real_videos import RealVideos
from synvid.errors import ConfigurationError, DatasetError
from synvid.paths import RECIPE_FILE
from synvid.preset import REAL, Preset
from synvid.version import __version__
from synvid.video.encode import VideoEncoder, check_size, make_encoder

__all__ = ["FORMATS", "LIMITS", "OUTPUT_VERSION", "RECIPE_FILE", "BankInfo", "DatasetRecipe"]


#: Raised when frames, manifest rows or other files of existing presets change; see the changelog.
OUTPUT_VERSION = 1

#: Layouts: WebDataset shards, or one file per clip.
FORMATS = ("tar", "files")

#: Lowest and highest value of the numbers of a recipe.
LIMITS = {"n": (1, 999_999_999), "seed": (0, 2**64 - 1), "shard_size": (1, 1_000_000)}
#: Keys of `synvid.yaml` that do not affect the clips.
_NOT_CONTENT = {"synvid", "preset.description"}


@dataclass(frozen=True)
class BankInfo:
    """Identity of a texture bank, independent of its path; enough to build it again.

    Attributes:
        kind: kind of textures.
        n: number of textures.
        digest: SHA-256 of the content.
        seed: random seed of the textures.
        size: height and width of a texture, pixels.
        version: version of the generator.
        source: for images, a hash of the names and sizes of the image files.
    """

    kind: str
    n: int
    digest: str
    seed: int = 0
    size: int = 256
    version: int = 1
    source: str = ""


@dataclass(frozen=True)
class DatasetRecipe:
    """Everything that determines the bytes of a dataset.

    Attributes:
        preset: the distribution of the clips.
        n: number of clips; their indices are 0..n-1.
        seed: random seed of the dataset.
        shard_size: number of clips per shard.
        format: `tar` (shards of video and JSON pairs) or `files` (one file per clip).
        encoding, encoder, codec: see `make_encoder`.
        banks: the texture banks of the preset, by name; the name of a bank given by path is its file name.
        real: the video files that real clips are cut from.
        bank_paths: paths of the banks on this machine, by name; not written to `synvid.yaml`. See `synvid.dataset.locate`.

    Raises:
        ConfigurationError: a value is out of range, or does not fit the preset.
    """

    preset: Preset
    n: int
    seed: int = 0
    shard_size: int = 64
    format: str = "tar"
    encoding: str = "fast"
    encoder: str = "pyav"
    codec: str = ""
    banks: Mapping[str, BankInfo] = field(default_factory=dict)
    real: RealVideos | None = None
    bank_paths: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        for name, (low, high) in LIMITS.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise ConfigurationError(f"{name} is {value!r}; it must be a whole number from {low} to {high}.")
        for name in ("format", "encoding", "encoder", "codec"):
            check_type(name, getattr(self, name), str, "text")
        if self.format not in FORMATS:
            raise ConfigurationError(f"format is {self.format!r}; it must be one of {', '.join(FORMATS)}.")
        for name, bank in self.banks.items():
            texts, numbers = (name, bank.kind, bank.digest, bank.source), (bank.n, bank.seed, bank.size, bank.version)
            if not all(isinstance(text, str) for text in texts) or not all(type(number) is int for number in numbers):
                raise ConfigurationError(f"bank {name!r} is {asdict(bank)!r}; it must have kind, n, seed, size and digest.")
        wants_real = self.preset.mixture.source == REAL
        if wants_real and self.real is None:
            raise ConfigurationError(
                f"preset {self.preset.name} mixes in real clips; give the folder of the videos (--real DIR, or real=)."
            )
        if self.real is not None and not wants_real:
            raise ConfigurationError(f"preset {self.preset.name} has no real clips; leave out --real (real=).")
        encoding = make_encoder(self.encoder, self.encoding, self.codec).encoding
        check_size(encoding, self.preset.video.width, self.preset.video.height)

    @cached_property
    def local_preset(self) -> Preset:
        """The preset with the paths of its banks on this machine, from which scenes are sampled for rendering."""
        return self.preset.with_banks(self.bank_paths)

    @property
    def num_shards(self) -> int:
        """Number of shards; only the last may be smaller than `shard_size`."""
        return -(-self.n // self.shard_size)

    def indices(self, shard: int) -> range:
        """Return the indices of the clips of a shard."""
        return range(shard * self.shard_size, min((shard + 1) * self.shard_size, self.n))

    def make_encoder(self) -> VideoEncoder:
        """Return an encoder with these settings."""
        return make_encoder(self.encoder, self.encoding, self.codec)

    def to_dict(self) -> dict[str, Any]:
        """Return the content of `synvid.yaml`."""
        settings: dict[str, Any] = {
            "synvid": __version__,
            "output_version": OUTPUT_VERSION,
            "n": self.n,
            "seed": self.seed,
            "shard_size": self.shard_size,
            "format": self.format,
            "encoding": self.encoding,
            "encoder": self.encoder,
        }
        if self.codec:
            settings["codec"] = self.codec
        if self.banks:
            settings["banks"] = {name: asdict(bank) for name, bank in self.banks.items()}
        if self.real is not None:
            settings["real"] = {"files": self.real.files, "digest": self.real.digest}
        return {**settings, "preset": self.preset.to_dict()}

    def to_yaml(self) -> str:
        """Return the text of `synvid.yaml`."""
        head = "# The recipe of this dataset: `synvid render --recipe synvid.yaml` renders it again.\n"
        return head + yaml.dump(self.to_dict(), sort_keys=False, default_flow_style=None, width=100)

    @classmethod
    def load(cls, folder: Path) -> DatasetRecipe:
        """Read the recipe of a dataset.

        Args:
            folder: the dataset.

        Raises:
            DatasetError: the folder holds no dataset.
            ConfigurationError: the recipe is damaged, or has another output version.
        """
        if not (folder / RECIPE_FILE).is_file():
            raise DatasetError(f"{folder}: no dataset here ({RECIPE_FILE} is missing).")
        return cls.read(folder / RECIPE_FILE)

    @classmethod
    def read(cls, path: Path) -> DatasetRecipe:
        """Read a recipe from its file.

        Raises:
            ConfigurationError: the file is damaged, or has another output version.
        """
        settings = read_yaml(path)
        version = settings.pop("output_version", None)
        if version != OUTPUT_VERSION:
            raise ConfigurationError(
                f"{path}: output_version is {version!r}, but this synvid ({__version__}) has {OUTPUT_VERSION}; "
                "use the version of synvid that wrote it, or another folder."
            )
        settings.pop("synvid", None)
        preset = settings.pop("preset", None)
        damaged = f"{path}: has been modified since `synvid render` wrote it; restore it or use another folder."
        allowed = {"n", "seed", "shard_size", "format", "encoding", "encoder", "codec", "banks", "real"}
        if not isinstance(preset, dict) or not settings.keys() <= allowed or "n" not in settings:
            raise ConfigurationError(damaged)
        try:
            parsed = Preset.from_dict(preset, str(path))
        except RenamedSettingError as error:
            setting = str(error).removeprefix(f"{path}: ").partition(";")[0]
            raise ConfigurationError(
                f"{path}: was written by an older synvid ({setting}); render the dataset again into another folder, or use "
                "the synvid that wrote it."
            ) from None
        try:
            real = RealVideos(path="", **settings.pop("real")) if "real" in settings else None
            banks = {name: BankInfo(**bank) for name, bank in settings.pop("banks", {}).items()}
            return cls(preset=parsed, banks=banks, real=real, **settings)
        except (TypeError, AttributeError):
            raise ConfigurationError(damaged) from None
        except ConfigurationError as error:
            raise ConfigurationError(f"{path}: {error}") from None

    @cached_property
    def digest(self) -> str:
        """The first 128 bits of the SHA-256 of everything that determines the clips, 32 hexadecimal digits.

        Records, manifest rows and the JSON members of shards hold it. It does not depend on the number of clips, since a
        smaller dataset is the beginning of a larger one, nor on the version of synvid, the preset's description and the paths
        of texture banks and real videos.
        """
        contents = {key: value for key, value in _flat(self._contents()).items() if key not in {*_NOT_CONTENT, "n"}}
        return hashlib.sha256(json.dumps(contents, sort_keys=True, allow_nan=False).encode()).hexdigest()[:32]

    def differences(self, other: DatasetRecipe) -> list[str]:
        """Return the settings that differ from another recipe, each as `key: value, other value`, except synvid's version."""
        mine, theirs = _flat(self._contents()), _flat(other._contents())
        keys = [key for key in {**mine, **theirs} if key not in _NOT_CONTENT]
        return [f"{key}: {mine.get(key)}, {theirs.get(key)}" for key in keys if mine.get(key) != theirs.get(key)]

    def _contents(self) -> dict[str, Any]:
        """Return `to_dict` with texture banks and videos replaced by digests of their content."""
        renamed = self.preset.with_banks(
            {name: f"{number}-{bank.digest[:12]}.bank" for number, (name, bank) in enumerate(self.banks.items())}
        )
        settings = {**self.to_dict(), "preset": renamed.to_dict()}
        settings.pop("banks", None)
        if self.real is not None:
            settings["real"] = f"{self.real.files} videos {self.real.digest[:12]}"
        return settings


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
