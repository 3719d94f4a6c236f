"""What a dataset is made from: a preset, a seed, a number of clips, and how they are stored. Kept as `synvid.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from synvid import __version__
from synvid.errors import ConfigurationError, DatasetError
from synvid.preset import Preset
from synvid.strict_yaml import read_yaml
from synvid.video.encode import Encoder, check_size, make_encoder

__all__ = ["FORMATS", "OUTPUT_VERSION", "RECIPE_FILE", "Recipe"]

#: Raised when the frames of some preset change; the changelog says how.
OUTPUT_VERSION = 1

RECIPE_FILE = "synvid.yaml"
FORMATS = ("tar", "files")

_MAX_CLIPS = 999_999_999


@dataclass(frozen=True)
class Recipe:
    """All that decides the bytes of a dataset.

    Attributes:
        preset: the distribution.
        n: number of clips; their indices are 0..n-1.
        seed: of all clips.
        shard_size: clips in a shard.
        format: `tar` (shards of video and JSON pairs) or `files` (one file a clip).
        encoding, encoder, codec: see `make_encoder`.
    """

    preset: Preset
    n: int
    seed: int = 0
    shard_size: int = 64
    format: str = "tar"
    encoding: str = "fast"
    encoder: str = "pyav"
    codec: str = ""

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
        encoding = make_encoder(self.encoder, self.encoding, self.codec).encoding
        check_size(encoding, self.preset.video.width, self.preset.video.height)

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
        return {**settings, "preset": self.preset.to_dict()}

    def to_yaml(self) -> str:
        """The text of `synvid.yaml`."""
        head = "# Everything that this dataset was made from: `synvid render` with these settings makes it again.\n"
        return head + yaml.dump(self.to_dict(), sort_keys=False, default_flow_style=None, width=100)

    @classmethod
    def load(cls, folder: Path) -> Recipe:
        """Read the recipe of a dataset.

        Raises:
            DatasetError: the folder holds no dataset.
            ConfigurationError: its recipe is damaged, or of another output version.
        """
        path = folder / RECIPE_FILE
        if not path.is_file():
            raise DatasetError(f"{folder}: no dataset here ({RECIPE_FILE} is missing).")
        settings = read_yaml(path)
        version = settings.pop("output_version", None)
        if version != OUTPUT_VERSION:
            raise ConfigurationError(
                f"{path}: output_version is {version!r}, this synvid ({__version__}) makes {OUTPUT_VERSION}; "
                "use the synvid that wrote it, or another folder."
            )
        settings.pop("synvid", None)
        preset = settings.pop("preset", None)
        known = {"n", "seed", "shard_size", "format", "encoding", "encoder", "codec"}
        if not isinstance(preset, dict) or not settings.keys() <= known or "n" not in settings:
            raise ConfigurationError(f"{path}: is not as `synvid render` wrote it; restore it or use another folder.")
        parsed = Preset.from_dict(preset, str(path))
        try:
            return cls(preset=parsed, **settings)
        except ConfigurationError as error:
            raise ConfigurationError(f"{path}: {error}") from None

    def differences(self, other: Recipe) -> list[str]:
        """What differs from another recipe, as `key: ours, theirs`; the version of synvid does not count."""
        mine, theirs = _flat(self.to_dict()), _flat(other.to_dict())
        keys = [key for key in {**mine, **theirs} if key != "synvid"]
        return [f"{key}: {mine.get(key)}, {theirs.get(key)}" for key in keys if mine.get(key) != theirs.get(key)]


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
