"""Check every hash of a dataset, and optionally that its clips render to the same frames."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from synvid.config.arguments import check_bool, check_type, parse_bank_paths, parse_optional_path, parse_path
from synvid.dataset.layout import damaged_path, record_path, shard_name
from synvid.dataset.locate import locate_inputs
from synvid.dataset.manifest import read_shard_records, stale_files
from synvid.dataset.recipe import DatasetRecipe
from synvid.dataset.record import ShardRecord, read_rows
from synvid.dataset.shard import frames_sha256
from synvid.dataset.status import ShardState, shard_state
from synvid.errors import ConfigurationError
from synvid.runtime.local_executor import check_workers, run_tasks
from synvid.runtime.progress import Reporter
from synvid.storage.atomic_io import file_sha256
from synvid.textures.resolve_banks import list_image_files

__all__ = ["VerifyResult", "verify_dataset"]


@dataclass(frozen=True)
class VerifyResult:
    """What `verify_dataset` found.

    Attributes:
        shards: number of shards of the dataset.
        bad_shards: shard → what is wrong with it, for shards that are damaged, missing or render to other frames.
        stale_files: index file (manifest, video list or dataset card) → what is wrong with it. Checked only if all shards are
            right.

    Examples:
        >>> import tempfile, synvid
        >>> preset = synvid.load_preset("moving_circles", {"video.width": 32, "video.height": 32, "objects.count": 5})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     result = synvid.render_dataset(preset, n=2, out=folder, workers=1)
        ...     synvid.verify_dataset(folder, workers=1).ok
        True
    """

    shards: int
    bad_shards: dict[str, str] = field(default_factory=dict)
    stale_files: dict[str, str] = field(default_factory=dict)

    @property
    def problems(self) -> dict[str, str]:
        """All problems, by path in the dataset."""
        return self.bad_shards | self.stale_files

    @property
    def ok(self) -> bool:
        """Whether there are no problems."""
        return not self.problems


def verify_dataset(
    folder: str | Path,
    rerender: bool = False,
    *,
    textures: Mapping[str, str | Path] | None = None,
    images: str | Path | None = None,
    real: str | Path | None = None,
    workers: int | None = None,
    reporter: Reporter | None = None,
) -> VerifyResult:
    """Read a whole dataset and compare every hash.

    The record of a damaged shard is renamed to .damaged, so the next `render_dataset` renders the shard again. Nothing else is
    changed.

    Args:
        folder: the dataset.
        rerender: also render every clip again and compare its frames.
        textures: paths of texture banks on this machine, by their name in the recipe; with `rerender`.
        images: folder of image files, to build a bank of natural images again; with `rerender`.
        real: folder of the videos that real clips are cut from; with `rerender`.
        workers: number of processes; None for all cores.
        reporter: receives progress; silent by default.

    Returns:
        The problems, none if `result.ok`.

    Raises:
        DatasetError: the folder holds no dataset.
        ConfigurationError: the recipe is damaged, an input is missing or not the one that the dataset was made
            from, or is given without `rerender`.

    Examples:
        >>> import tempfile, synvid
        >>> preset = synvid.load_preset("moving_circles", {"video.width": 32, "video.height": 32, "objects.count": 5})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     result = synvid.render_dataset(preset, n=1, out=folder, workers=1)
        ...     synvid.verify_dataset(folder, rerender=True, workers=1)
        VerifyResult(shards=1, bad_shards={}, stale_files={})
    """
    folder, workers = parse_path("folder", folder), check_workers(workers)
    check_bool("rerender", rerender)
    check_type("reporter", reporter, (Reporter, type(None)), "a synvid.Reporter, or None")
    banks, image_folder = parse_bank_paths(textures), parse_optional_path("images", images)
    real_folder = parse_optional_path("real", real)
    if not rerender:
        listed = ", ".join(f"{name}={path}" for name, path in banks.items())
        for name, value in (("textures", listed), ("images", image_folder), ("real", real_folder)):
            if value:
                raise ConfigurationError(f"{name} is {value}; it can only be given with rerender=True (--rerender).")
    recipe = DatasetRecipe.load(folder)
    if rerender:
        recipe = locate_inputs(recipe, banks, list_image_files(image_folder), real_folder)
    tasks = [(shard, len(recipe.indices(shard))) for shard in range(recipe.num_shards)]
    progress = (reporter or Reporter()).progress("verify")
    errors = run_tasks(_VerifyShard(recipe, folder, rerender), tasks, workers, progress)
    if errors:
        return VerifyResult(recipe.num_shards, {shard_name(recipe, shard): error for shard, error in sorted(errors.items())})
    records = read_shard_records(recipe, folder)
    stale = [] if records is None else stale_files(recipe, folder, records)
    problems = {name: "has been modified" if (folder / name).exists() else "is missing" for name in stale}
    return VerifyResult(
        recipe.num_shards,
        stale_files={name: f"{problem}; `synvid merge {folder}` writes it again" for name, problem in problems.items()},
    )


@dataclass(frozen=True)
class _VerifyShard:
    """Verifies one shard in a worker process. If it is damaged, its record is renamed, which marks it as not done."""

    recipe: DatasetRecipe
    folder: Path
    rerender: bool

    def __call__(self, shard: int, on_progress: Callable[[], None]) -> None:
        """Raise RuntimeError with the problem, if there is one."""
        problem = self._find_problem(shard, on_progress)
        if problem:
            with contextlib.suppress(OSError):  # there is no record, or the folder is read-only
                record_path(self.folder, shard).replace(damaged_path(self.folder, shard))
            raise RuntimeError(problem)

    def _find_problem(self, shard: int, on_progress: Callable[[], None]) -> str:
        record = ShardRecord.read(self.recipe, self.folder, shard)
        if record is None:
            if shard_state(self.recipe, self.folder, shard) is ShardState.MISSING:
                return "not rendered yet"
            return "its record is damaged, or of another recipe"
        for file in record.files:
            path = self.folder / file["path"]
            if not path.is_file():
                return f"{file['path']} is missing"
            if path.stat().st_size != file["bytes"]:
                return f"{file['path']} has {path.stat().st_size} bytes, not {file['bytes']}"
            if file_sha256(path) != file["sha256"]:
                return f"{file['path']} has been altered"
        rows = read_rows(self.recipe, self.folder, shard)
        if rows is None:
            return "the rows in its record are damaged"
        for row in rows:
            if self.rerender and frames_sha256(self.recipe, row["index"]) != row["sha256"]:
                return f"clip {row['index']} renders to other frames"
            on_progress()
        return ""
