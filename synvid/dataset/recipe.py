"""What a dataset is made from: a preset, a seed, a number of clips, and how they are stored. Kept as `synvid.yaml`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from synvid.config.strict_yaml import read_yaml
from synvid.dataset.real_videos import RealVideos
from synvid.errors import ConfigurationError, DatasetError
from synvid.paths import RECIPE_FILE
from synvid.preset import REAL, Preset
from synvid.version import __version__
from synvid.video.encode import Encoder, check_size, make_encoder

__all__ = ["FORMATS", "OUTPUT_VERSION", "RECIPE_FILE", "BankInfo", "DatasetRecipe"]


#: Raised when the frames of some preset change; the changelog says how.
OUTPUT_VERSION = 1

FORMATS = ("tar", "files")

_MAX_CLIPS = 999_999_999
#: Keys of `synvid.yaml` that change no byte of a clip.
_NOT_CONTENT = {"synvid", "preset.description"}


@dataclass(frozen=True)
class BankInfo:
    """What is known of a bank of textures wherever it lies; enough to build it again.

    Attributes:
        kind: of its textures.
        n: how many they are.
        digest: SHA-256 of all that it holds.
        seed: of the textures.
        size: height and width, pixels.
        version: of the kind.
        source: of images: a hash of the names and sizes of the files.
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
    """All that decides the bytes of a dataset.

    Attributes:
        preset: the distribution.
        n: number of clips; their indices are 0..n-1.
        seed: of all clips.
        shard_size: clips in a shard.
        format: `tar` (shards of video and JSON pairs) or `files` (one file a clip).
        encoding, encoder, codec: see `make_encoder`.
        banks: name → facts of every bank of textures that the preset names; of a bank that it names by path, the file's name.
        real: the video files that real clips are cut from.
        places: name → path of banks on this machine; no part of what is written. See `synvid.dataset.locate`.
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
    places: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        for name, low, high in (("n", 1, _MAX_CLIPS), ("seed", 0, 2**64 - 1), ("shard_size", 1, 1_000_000)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise ConfigurationError(f"{name} is {value!r}; it must be a whole number from {low} to {high}.")
        for name in ("format", "encoding", "encoder", "codec"):
            if not isinstance(getattr(self, name), str):
                raise ConfigurationError(f"{name} is {getattr(self, name)!r}; it must be text.")
        if self.format not in FORMATS:
            raise ConfigurationError(f"format is {self.format!r}; it must be one of {', '.join(FORMATS)}.")
        for name, facts in self.banks.items():
            texts, numbers = (name, facts.kind, facts.digest, facts.source), (facts.n, facts.seed, facts.size, facts.version)
            if not all(isinstance(text, str) for text in texts) or not all(type(number) is int for number in numbers):
                raise ConfigurationError(f"bank {name!r} is {asdict(facts)!r}; it must say kind, n, seed, size and digest.")
        wants_real = self.preset.mixture.source == REAL
        if wants_real and self.real is None:
            raise ConfigurationError(f"preset {self.preset.name} mixes in real clips: --real DIR says where the videos are.")
        if self.real is not None and not wants_real:
            raise ConfigurationError(f"preset {self.preset.name} has no real clips; leave out --real.")
        encoding = make_encoder(self.encoder, self.encoding, self.codec).encoding
        check_size(encoding, self.preset.video.width, self.preset.video.height)

    @cached_property
    def local(self) -> Preset:
        """The preset with its banks where they lie on this machine: what scenes that are to be rendered are drawn from."""
        return self.preset.with_banks(self.places)

    @property
    def num_shards(self) -> int:
        """How many shards the clips fill; only the last may be smaller."""
        return -(-self.n // self.shard_size)

    def indices(self, shard: int) -> range:
        """Clips of a shard."""
        return range(shard * self.shard_size, min((shard + 1) * self.shard_size, self.n))

    def make_encoder(self) -> Encoder:
        """The encoder of this recipe."""
        return make_encoder(self.encoder, self.encoding, self.codec)

    def try_encoder(self) -> None:
        """Encode one black frame, where the encoder is not ours.

        Raises:
            ConfigurationError: it refuses.
        """
        if self.encoder != "pyav":
            width, height = self.preset.video.width, self.preset.video.height
            self.make_encoder()([np.zeros((1, height, width, 3), np.uint8)], width, height, self.preset.video.fps)

    def to_dict(self) -> dict[str, Any]:
        """As it stands in `synvid.yaml`."""
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
            settings["banks"] = {name: asdict(facts) for name, facts in self.banks.items()}
        if self.real is not None:
            settings["real"] = {"files": self.real.files, "digest": self.real.digest}
        return {**settings, "preset": self.preset.to_dict()}

    def to_yaml(self) -> str:
        """The text of `synvid.yaml`."""
        head = "# Everything that this dataset was made from: `synvid render` with these settings makes it again.\n"
        return head + yaml.dump(self.to_dict(), sort_keys=False, default_flow_style=None, width=100)

    @classmethod
    def load(cls, folder: Path) -> DatasetRecipe:
        """Read the recipe of a dataset.

        Raises:
            DatasetError: the folder holds no dataset.
            ConfigurationError: its recipe is damaged, or of another output version.
        """
        if not (folder / RECIPE_FILE).is_file():
            raise DatasetError(f"{folder}: no dataset here ({RECIPE_FILE} is missing).")
        return cls.read(folder / RECIPE_FILE)

    @classmethod
    def read(cls, path: Path) -> DatasetRecipe:
        """Read a recipe from its file.

        Raises:
            ConfigurationError: it is damaged, or of another output version.
        """
        settings = read_yaml(path)
        version = settings.pop("output_version", None)
        if version != OUTPUT_VERSION:
            raise ConfigurationError(
                f"{path}: output_version is {version!r}, this synvid ({__version__}) makes {OUTPUT_VERSION}; "
                "use the synvid that wrote it, or another folder."
            )
        settings.pop("synvid", None)
        preset = settings.pop("preset", None)
        foreign = f"{path}: is not as `synvid render` wrote it; restore it or use another folder."
        known = {"n", "seed", "shard_size", "format", "encoding", "encoder", "codec", "banks", "real"}
        if not isinstance(preset, dict) or not settings.keys() <= known or "n" not in settings:
            raise ConfigurationError(foreign)
        parsed = Preset.from_dict(preset, str(path))
        try:
            real = RealVideos(path="", **settings.pop("real")) if "real" in settings else None
            banks = {name: BankInfo(**facts) for name, facts in settings.pop("banks", {}).items()}
            return cls(preset=parsed, banks=banks, real=real, **settings)
        except (TypeError, AttributeError):
            raise ConfigurationError(foreign) from None
        except ConfigurationError as error:
            raise ConfigurationError(f"{path}: {error}") from None

    @cached_property
    def digest(self) -> str:
        """The first 128 bits of a SHA-256 of all that decides the bytes of the clips, 32 hexadecimal digits.

        Records, rows and the JSON members of shards are bound to their dataset by it. The number of clips does not count,
        since a smaller set is the beginning of a larger one; nor do the version of synvid, a preset's description and the
        places of banks and real videos.
        """
        contents = {key: value for key, value in _flat(self._contents()).items() if key not in {*_NOT_CONTENT, "n"}}
        return hashlib.sha256(json.dumps(contents, sort_keys=True, allow_nan=False).encode()).hexdigest()[:32]

    def differences(self, other: DatasetRecipe) -> list[str]:
        """What differs from another recipe, as `key: ours, theirs`; the version of synvid does not count."""
        mine, theirs = _flat(self._contents()), _flat(other._contents())
        keys = [key for key in {**mine, **theirs} if key not in _NOT_CONTENT]
        return [f"{key}: {mine.get(key)}, {theirs.get(key)}" for key in keys if mine.get(key) != theirs.get(key)]

    def _contents(self) -> dict[str, Any]:
        """`to_dict` with banks and videos by what they hold, wherever they lie."""
        renamed = self.preset.with_banks(
            {name: f"{number}-{facts.digest[:12]}.bank" for number, (name, facts) in enumerate(self.banks.items())}
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
