"""Read a dataset: manifest rows, scenes, decoded and rendered clips."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from synvid.clip import Clip
from synvid.config.arguments import parse_bank_paths, parse_frames, parse_optional_path, parse_path
from synvid.dataset.locate import locate_inputs
from synvid.dataset.manifest import Manifest
from synvid.dataset.recipe import DatasetRecipe
from synvid.errors import ConfigurationError, DatasetError
from synvid.formatting import format_count
from synvid.renderer import render
from synvid.scene.sample import sample_scene
from synvid.scene.scene import Scene
from synvid.textures.image_folder import ImageFiles
from synvid.video.decode import decode

__all__ = ["Dataset", "open_dataset"]

#: Number of clips that a notebook shows of a dataset.
_SHOWN_CLIPS = 4


@dataclass(frozen=True, eq=False)
class Dataset:
    """A finished dataset on disk.

    Attributes:
        path: the folder.
        recipe: the recipe.
        rows: the manifest, one mapping per clip; read from its file and checked on access.
        textures: paths of texture banks, as given to `open_dataset`.
        images: folder of image files, as given to `open_dataset`.

    Examples:
        >>> import tempfile, synvid
        >>> preset = synvid.load_preset("moving_circles", {"video.width": 32, "video.height": 32, "objects.count": 5})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     result = synvid.render_dataset(preset, n=2, out=folder, workers=1)
        ...     dataset = synvid.open_dataset(folder)
        ...     dataset[1]["key"], dataset.render(1, frames=[0, 5]).frames.shape
        ('000000001', (2, 32, 32, 3))
    """

    path: Path
    recipe: DatasetRecipe
    rows: Manifest
    textures: Mapping[str, str] = field(default_factory=dict)
    images: Path | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> dict[str, Any]:
        return self.rows[i]

    def __repr__(self) -> str:
        clips = format_count(len(self), "clip")
        return f"Dataset({str(self.path)!r}: {clips} of {self.recipe.preset.name}, seed {self.recipe.seed})"

    @cached_property
    def located(self) -> DatasetRecipe:
        """The recipe with the paths of its texture banks on this machine; they are found, or built, on first access.

        Raises:
            ConfigurationError: a bank is missing, or not the one that the dataset was made from.
        """
        images = None if self.images is None else ImageFiles(self.images)
        return locate_inputs(self.recipe, self.textures, images, need_real=False)

    def scene(self, i: int) -> Scene:
        """Sample the scene of clip i again.

        Raises:
            ConfigurationError: clip i is a real clip, or a texture bank is missing or not the right one.
        """
        return sample_scene(self.located.local_preset, self.recipe.seed, self.rows[i]["index"])

    def scene_without_banks(self, i: int) -> Scene:
        """Sample the scene of clip i without looking for its texture banks, without which it cannot be rendered."""
        if not self.recipe.banks or "located" in vars(self):
            return self.scene(i)
        unknown_paths = {name: f"{bank.digest[:12]}.bank" for name, bank in self.recipe.banks.items()}
        return sample_scene(self.recipe.preset.with_banks(unknown_paths), self.recipe.seed, self.rows[i]["index"])

    def render(self, i: int, frames: Iterable[int] | None = None) -> Clip:
        """Render clip i again, or some of its frames: exactly the frames that were encoded.

        Args:
            i: row of the clip in the manifest.
            frames: frame numbers in any order; None for all.

        Raises:
            ConfigurationError: it is a real clip, has no such frame, or a texture bank is not the one it was made from.
        """
        numbers = None if frames is None else parse_frames(frames, self.rows[i]["frames"])
        return render(self.scene(i), numbers)

    def decode(self, i: int, frames: Iterable[int] | None = None) -> Clip:
        """Decode clip i, or some of its frames, from its video file.

        Args:
            i: row of the clip in the manifest.
            frames: frame numbers in any order; None for all.

        Raises:
            ConfigurationError: the clip has no such frame.
            DatasetError: the shard is missing or damaged.
        """
        row = self.rows[i]
        numbers = None if frames is None else parse_frames(frames, row["frames"])
        is_real = self.recipe.preset.preset_for_clip(row["index"]) is None
        decoded = decode(io.BytesIO(self.video(i)), numbers, f"{self.path}, clip {row['key']}")
        return Clip(frames=decoded, fps=self.recipe.preset.video.fps, scene=None if is_real else self.scene_without_banks(i))

    def video(self, i: int) -> bytes:
        """Return the MP4 file of clip i.

        Raises:
            DatasetError: the shard is missing or too short.
        """
        row = self.rows[i]
        path = self.path / str(row.get("shard") or row["file_name"])
        try:
            with path.open("rb") as file:
                file.seek(row.get("offset", 0))
                data = file.read(row["size"])
        except OSError as error:
            raise DatasetError(f"{path}: {error.strerror}.") from None
        if len(data) != row["size"]:
            raise DatasetError(f"{path}: ends too soon; `synvid verify {self.path}` and `synvid render` repair it.")
        return data

    def _repr_html_(self) -> str:
        from synvid.video.display import figure_html, video_tag

        preset = self.recipe.preset
        synthetic = (i for i in range(len(self)) if preset.preset_for_clip(i) is not None)
        shown = list(itertools.islice(synthetic, _SHOWN_CLIPS)) or range(min(_SHOWN_CLIPS, len(self)))
        clips = (self.decode(i) if preset.preset_for_clip(i) is None else self.render(i) for i in shown)
        return figure_html([video_tag(clip.frames, clip.fps, side=128) for clip in clips], repr(self))


def open_dataset(
    path: str | Path, textures: Mapping[str, str | Path] | None = None, images: str | Path | None = None
) -> Dataset:
    """Open a finished dataset.

    Args:
        path: the folder that `render_dataset` or `synvid render --out` wrote.
        textures: paths of texture banks on this machine, by their name in the recipe; by default they are looked for.
        images: folder of image files, from which a bank of natural images can be built again.

    Raises:
        DatasetError: the folder holds no dataset, or it is not finished.
        ConfigurationError: the recipe is damaged, or has another output version.

    Examples:
        >>> import tempfile, synvid
        >>> preset = synvid.load_preset("moving_circles", {"video.width": 32, "video.height": 32, "objects.count": 5})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     result = synvid.render_dataset(preset, n=2, out=folder, workers=1)
        ...     len(synvid.open_dataset(folder))
        2
    """
    folder, banks, image_folder = parse_path("path", path), parse_bank_paths(textures), parse_optional_path("images", images)
    recipe = DatasetRecipe.load(folder)
    for name in banks:
        if name not in recipe.banks:
            names = ", ".join(recipe.banks) or "none"
            raise ConfigurationError(f"textures {name!r}: {folder} has no such bank; its banks: {names}.")
    rows = Manifest(recipe, folder)
    paths = {name: str(bank) for name, bank in banks.items()}
    return Dataset(path=folder, recipe=recipe, rows=rows, textures=paths, images=image_folder)
