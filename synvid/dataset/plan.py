"""Plan a run: read the folder and find the inputs once, before anything is changed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from synvid.config.arguments import check_bool, check_type, parse_pair
from synvid.dataset.folder import compare_with_folder, read_folder
from synvid.dataset.locate import add_banks, locate_inputs, remember_path
from synvid.dataset.recipe import DatasetRecipe
from synvid.dataset.record import ShardRecord
from synvid.dataset.shard import render_clip
from synvid.dataset.status import read_shard_states
from synvid.errors import ConfigurationError
from synvid.runtime.progress import LogReporter, Reporter
from synvid.textures.bank import BankHeader
from synvid.textures.resolve_banks import list_image_files, missing_banks

__all__ = ["InputPaths", "RenderPlan", "plan_render"]


@dataclass(frozen=True)
class InputPaths:
    """Paths of the inputs of a dataset on this machine. Inputs without a path are searched for, see `synvid.dataset.locate`.

    Attributes:
        textures: paths of texture banks, by their name in the preset.
        images: folder of image files for a bank of natural images.
        real: folder of the videos that real clips are cut from.
    """

    textures: Mapping[str, str | Path] = field(default_factory=dict)
    images: Path | None = None
    real: Path | None = None


@dataclass(frozen=True)
class RenderPlan:
    """What a run has to do.

    Attributes:
        recipe: the recipe, with the paths of its inputs on this machine.
        folder: the dataset.
        part: (i, n): only shards i, i + n, i + 2 n, ... are rendered.
        overwrite: whether another dataset in the folder may be removed.
        done: records of the finished shards of the part, by shard number.
        missing: numbers of the shards of the part that were never finished.
        damaged: numbers of the shards of the part whose record or files are damaged.
        banks_to_build: texture banks that are missing, in a dry run, which builds none; `recipe` then has no banks.
    """

    recipe: DatasetRecipe
    folder: Path
    part: tuple[int, int]
    overwrite: bool
    done: Mapping[int, ShardRecord]
    missing: list[int]
    damaged: list[int]
    banks_to_build: list[BankHeader]

    @property
    def to_render(self) -> list[int]:
        """Numbers of the shards to render, ascending."""
        return sorted([*self.missing, *self.damaged])

    @property
    def clips_to_render(self) -> int:
        """Number of clips to render."""
        return sum(len(self.recipe.indices(shard)) for shard in self.to_render)

    @property
    def clips_done(self) -> int:
        """Number of clips of the part that are done."""
        return sum(len(self.recipe.indices(shard)) for shard in self.done)

    def estimate(self, workers: int) -> tuple[int, float]:
        """Estimate the bytes and seconds of the run from two clips, which are rendered and discarded."""
        if not self.to_render:
            return 0, 0.0
        encoder, seconds, sizes = self.recipe.make_encoder(), [], []
        for index in (0, 0, self.recipe.n // 2):  # the first time also compiles the kernels
            start = time.perf_counter()
            sizes.append(len(render_clip(self.recipe, index, encoder)[0]))
            seconds.append(time.perf_counter() - start)
        clips, processes = self.clips_to_render, min(workers, len(self.to_render))
        return round(clips * sum(sizes[1:]) / 2), clips * sum(seconds[1:]) / 2 / processes


def plan_render(
    recipe: DatasetRecipe,
    folder: Path,
    *,
    part: tuple[int, int] = (0, 1),
    overwrite: bool = False,
    inputs: InputPaths | None = None,
    workers: int = 1,
    reporter: Reporter | None = None,
    dry_run: bool = False,
) -> RenderPlan:
    """Plan which shards to render. The folder is not changed; texture banks that are missing are built.

    Args:
        recipe: what to render. A recipe without the banks of its preset gets them here.
        folder: where to render it.
        part: (i, n): only shards i, i + n, i + 2 n, ...
        overwrite: whether another dataset in the folder may be removed.
        inputs: paths of texture banks, images and real videos.
        workers: number of processes, to build banks.
        reporter: receives messages and progress. By default, messages about texture banks are logged.
        dry_run: build no banks.

    Raises:
        ConfigurationError: the folder holds something else, or an input is missing or not the right one.
        DatasetError: a file or folder cannot be read or written, or a bank is damaged.
    """
    check_bool("overwrite", overwrite)
    check_type("reporter", reporter, (Reporter, type(None)), "a synvid.Reporter, or None")
    part = _parse_part(part, overwrite)
    inputs, reporter = inputs or InputPaths(), reporter or LogReporter()
    existing = read_folder(folder)
    images = list_image_files(inputs.images)
    to_build = (
        missing_banks(recipe.preset, {name: str(path) for name, path in inputs.textures.items()}, images) if dry_run else []
    )
    is_new = not recipe.banks
    if not to_build:
        if is_new:
            recipe = add_banks(recipe, existing, inputs.textures, images, workers, reporter)
        compare_with_folder(recipe, existing, folder, overwrite)
    states = read_shard_states(recipe, folder, range(part[0], recipe.num_shards, part[1]))
    has_work = bool(states.missing or states.damaged)
    if recipe.real is not None and recipe.real.path:
        remember_path(recipe.real.digest, Path(recipe.real.path))
    if not to_build and not _is_located(recipe):
        if is_new and has_work:
            recipe = locate_inputs(recipe, real=inputs.real)
        elif not is_new and (has_work or inputs != InputPaths()):  # inputs that the caller names are checked in any case
            recipe = locate_inputs(recipe, inputs.textures, images, inputs.real)
    return RenderPlan(recipe, folder, part, overwrite, states.done, states.missing, states.damaged, to_build)


def _parse_part(part: object, overwrite: bool) -> tuple[int, int]:
    i, n = parse_pair("part", part, "a pair (i, n) of whole numbers with i from 0 to n - 1, such as (0, 8)")
    if not 0 <= i < n:
        raise ConfigurationError(f"part is {part}; it must be (i, n) with i from 0 to n - 1.")
    if overwrite and n > 1:
        raise ConfigurationError(
            f"overwrite with part {i}/{n}: parts would remove each other's shards; "
            "overwrite all at once (--part 0/1, or part=(0, 1)), or choose another folder."
        )
    return i, n


def _is_located(recipe: DatasetRecipe) -> bool:
    return recipe.bank_paths.keys() >= recipe.banks.keys() and (recipe.real is None or bool(recipe.real.path))
