"""Render a dataset: recipe → plan → executor → shards → records → manifest."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synvid.config.arguments import (
    check_type,
    parse_bank_paths,
    parse_integer,
    parse_optional_path,
    parse_path,
)
from synvid.dataset.folder import claim_folder
from synvid.dataset.manifest import finish_dataset
from synvid.dataset.plan import InputPaths, RenderPlan, plan_render
from synvid.dataset.real_videos import RealVideos
from synvid.dataset.recipe import LIMITS, DatasetRecipe
from synvid.dataset.record import ShardRecord
from synvid.dataset.shard import UNREADABLE_VIDEOS, render_shard, warm_up_kernels
from synvid.dataset.status import ShardState, shard_state
from synvid.numerics.jit import is_cold
from synvid.paths import find_pattern_character
from synvid.preset import Preset, load_preset
from synvid.runtime.local_executor import check_workers, run_tasks
from synvid.runtime.progress import Reporter
from synvid.runtime.signals import defer_signals
from synvid.storage.atomic_io import read_and_delete_lines
from synvid.storage.workspace import STATE_FOLDER, remove_stale_workspaces

__all__ = ["RenderResult", "make_recipe", "render_dataset", "render_recipe", "run_plan"]


@dataclass(frozen=True)
class RenderResult:
    """What a run did.

    Attributes:
        clips: number of clips rendered.
        already_done: number of clips that were done before.
        failed: error messages of the shards that failed, by shard number.
        finished: whether the whole dataset is done.
        seconds: duration of the run, without the planning.
        bytes: size of the finished shards of the part.
        unreadable: names of real videos that could not be decoded and were replaced by others.

    Examples:
        >>> import tempfile, synvid
        >>> preset = synvid.load_preset("moving_circles", {"video.width": 32, "video.height": 32, "objects.count": 5})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     result = synvid.render_dataset(preset, n=2, out=folder, workers=1)
        ...     result.clips, result.failed, result.finished
        (2, {}, True)
    """

    clips: int = 0
    already_done: int = 0
    failed: dict[int, str] = field(default_factory=dict)
    finished: bool = False
    seconds: float = 0.0
    bytes: int = 0
    unreadable: list[str] = field(default_factory=list)


def render_dataset(
    preset: str | Path | Preset,
    n: int,
    out: str | Path,
    *,
    seed: int = 0,
    overrides: Mapping[str, Any] | None = None,
    shard_size: int = 64,
    format: str = "tar",  # noqa: A002  # as in `synvid.yaml`
    encoding: str = "fast",
    encoder: str = "pyav",
    codec: str = "",
    textures: Mapping[str, str | Path] | None = None,
    images: str | Path | None = None,
    real: str | Path | None = None,
    workers: int | None = None,
    part: tuple[int, int] = (0, 1),
    overwrite: bool = False,
    reporter: Reporter | None = None,
) -> RenderResult:
    """Render a dataset into a folder, or continue one: clips that are done are kept.

    Args:
        preset: a preset, the name of one, or the path of a YAML file.
        n: number of clips. A dataset in the folder can grow.
        out: folder of the dataset; created if needed.
        seed: random seed.
        overrides: settings that differ from the preset, for example {"objects.count": 200}.
        shard_size: number of clips per shard.
        format: `tar` (WebDataset shards) or `files` (one file per clip).
        encoding: `fast`, `small`, `yuv444` or `lossless`.
        encoder: `pyav`, or `ffmpeg` for the program that imageio-ffmpeg finds.
        codec: with `ffmpeg`, the codec to use instead of the default.
        textures: paths of texture banks, by their name in the preset. By default they are built in the user's cache.
        images: folder of image files, for presets that show natural images, such as `image_crops_300k`. Without it, these
            show the few images that scikit-image ships, and the logger `synvid` warns of that.
        real: folder of videos, for presets that mix in real clips.
        workers: number of processes; None for all cores.
        part: (i, n): render only shards i, i + n, i + 2 n, ..., for runs on several machines.
        overwrite: remove another dataset that is in the folder.
        reporter: receives messages and progress. By default, messages about texture banks are logged by the logger
            `synvid`, and all else is silent.

    Returns:
        What was done. Shards that failed are listed in `failed`; calling again renders them.

    Raises:
        ConfigurationError: an argument is wrong, or the folder holds something else.
        DatasetError: a file or folder cannot be read or written, or a texture bank is damaged.

    Examples:
        >>> import tempfile, synvid
        >>> small = {"video.width": 32, "video.height": 32, "video.num_frames_range": [4, 8], "objects.count": 5}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     result = synvid.render_dataset("moving_shapes", n=3, out=folder, overrides=small, workers=1)
        ...     result.clips, result.finished, len(synvid.open_dataset(folder))
        (3, True, 3)
    """
    folder, workers = parse_path("out", out), check_workers(workers)
    inputs = InputPaths(parse_bank_paths(textures), parse_optional_path("images", images), parse_optional_path("real", real))
    recipe = make_recipe(
        preset, n, overrides=overrides, real=inputs.real, seed=seed, shard_size=shard_size, format=format, encoding=encoding,
        encoder=encoder, codec=codec,
    )  # fmt: skip
    return render_recipe(recipe, folder, workers=workers, part=part, overwrite=overwrite, inputs=inputs, reporter=reporter)


def make_recipe(
    preset: str | Path | Preset,
    n: int,
    *,
    overrides: Mapping[str, Any] | None = None,
    real: Path | None = None,
    **settings: Any,
) -> DatasetRecipe:
    """Make a recipe without texture banks, which `plan_render` adds.

    Args:
        preset: a preset, the name of one, or the path of a YAML file.
        n: number of clips.
        overrides: settings that differ from the preset.
        real: folder of videos, for presets that mix in real clips.
        **settings: further attributes of `DatasetRecipe`.

    Raises:
        ConfigurationError: a setting is wrong, or there are no videos in the folder.
    """
    videos = None if real is None else RealVideos.find(real)
    check_type(
        "preset", preset, (Preset, str, os.PathLike), "a Preset, the name of one, or the path of a file ending in .yaml"
    )
    loaded = preset if isinstance(preset, Preset) else load_preset(preset)
    integers = {
        name: parse_integer(name, value, *LIMITS[name], "from {} to {}".format(*LIMITS[name]))
        for name, value in {"n": n, **settings}.items()
        if name in LIMITS
    }
    return DatasetRecipe(loaded if overrides is None else loaded.override(overrides), real=videos, **{**settings, **integers})


def render_recipe(
    recipe: DatasetRecipe,
    folder: Path,
    *,
    workers: int | None = 1,
    part: tuple[int, int] = (0, 1),
    overwrite: bool = False,
    inputs: InputPaths | None = None,
    reporter: Reporter | None = None,
) -> RenderResult:
    """Render what is missing of the dataset of a recipe; see `render_dataset` for arguments, result and errors."""
    workers = check_workers(workers)
    plan = plan_render(recipe, folder, part=part, overwrite=overwrite, inputs=inputs, workers=workers, reporter=reporter)
    return run_plan(plan, workers, reporter)


def run_plan(plan: RenderPlan, workers: int = 1, reporter: Reporter | None = None) -> RenderResult:
    """Render the shards of a plan, then write the manifest if the whole dataset is done.

    Args:
        plan: from `plan_render`, not of a dry run.
        workers: number of processes.
        reporter: receives messages and progress; silent by default.

    Raises:
        ConfigurationError: another run has put another dataset into the folder, or the encoder rejects its settings.
        DatasetError: a file or folder cannot be read or written.
    """
    start = time.monotonic()
    recipe, folder, reporter = plan.recipe, plan.folder, reporter or Reporter()
    _report_patterns(folder, reporter)
    if plan.to_render:
        if is_cold():
            reporter.message("Compiling the kernels, once on this machine: about ten seconds.")
        warm_up_kernels(recipe)  # before the folder changes: settings that the encoder rejects must not cost an old dataset
    with defer_signals():
        claim_folder(recipe, folder, plan.overwrite)
        remove_stale_workspaces(folder)
        tasks = [(shard, len(recipe.indices(shard))) for shard in plan.to_render]
        progress = reporter.progress(recipe.preset.name)
        failed = run_tasks(_RenderShard(recipe, folder), tasks, workers, progress, plan.clips_done)
        # If shards were rendered, hours may have passed: the records of the plan are then read again, not trusted.
        records = None if failed else finish_dataset(recipe, folder, {} if tasks else plan.done)
        unreadable = read_and_delete_lines(folder / STATE_FOLDER / UNREADABLE_VIDEOS)
    if records is not None:
        size = sum(record.size for record in records[plan.part[0] :: plan.part[1]])
    else:
        size = sum(record.size for record in plan.done.values())
        size += sum(record.size for shard in plan.to_render if (record := ShardRecord.read(recipe, folder, shard)))
    clips = sum(count for shard, count in tasks if shard not in failed)
    return RenderResult(clips, plan.clips_done, failed, records is not None, time.monotonic() - start, size, unreadable)


def _report_patterns(folder: Path, reporter: Reporter) -> None:
    """Warn of a path in which other loaders will not find the clips."""
    path = folder.absolute()
    pattern = find_pattern_character(path)
    if pattern:
        reporter.message(
            f"{path}: `datasets` and webdataset interpret {pattern} in a path as a pattern or a separator, and will "
            "not find the clips; letters, digits, _ - . and spaces are safe."
        )


@dataclass(frozen=True)
class _RenderShard:
    """Renders one shard in a worker process."""

    recipe: DatasetRecipe
    folder: Path

    def __call__(self, shard: int, on_progress: Callable[[], None]) -> None:
        # Check again: since the plan was made, another run in the same folder may have rendered the shard.
        if shard_state(self.recipe, self.folder, shard) is not ShardState.DONE:
            render_shard(self.recipe, self.folder, shard, on_progress)
