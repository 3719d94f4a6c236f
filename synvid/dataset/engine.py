"""Many shards at once: a pool of processes over a range of integers, robust against their death."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from synvid.dataset.check import State, shard_state
from synvid.dataset.disk import STATE, clean_leftovers, named_errors, workspace, write_first, write_whole
from synvid.dataset.interrupt import interrupted, postponed
from synvid.dataset.manifest import MANIFESTS, finish
from synvid.dataset.progress import Progress
from synvid.dataset.recipe import RECIPE_FILE, Recipe
from synvid.dataset.shard import copy_shard, key_of, render_shard, shard_path, warm_up
from synvid.errors import ConfigurationError, DatasetError

__all__ = ["Result", "check_folder", "default_workers", "merge_parts", "open_folder", "render_dataset", "run_tasks", "todo"]

_ATTEMPTS = 3
_POLL = 0.1  # seconds


@dataclass
class Result:
    """What a run did.

    Attributes:
        clips: rendered now.
        skipped: clips that were there already.
        failed: shard → what went wrong.
        finished: whether the whole dataset is there.
        seconds: it took.
    """

    clips: int = 0
    skipped: int = 0
    failed: dict[int, str] = field(default_factory=dict)
    finished: bool = False
    seconds: float = 0.0


def default_workers() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_folder(recipe: Recipe, folder: Path, overwrite: bool = False) -> bool:
    """Whether a folder holds this dataset already, or another that may be overwritten; changes nothing.

    Raises:
        ConfigurationError: it holds another dataset, or other things.
        DatasetError: the file system refuses.
    """
    with named_errors(folder):
        others = folder.exists() and any(path.name != STATE for path in _entries(folder))
        present = (folder / RECIPE_FILE).is_file()  # asked after `others`: a run beside this one may just be putting it there
        if others and not present:
            raise ConfigurationError(
                f"{folder}: is not empty and holds no dataset of synvid; choose an empty folder for --out."
            )
        differences = recipe.differences(Recipe.load(folder)) if present else []
    if differences and not overwrite:
        more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise ConfigurationError(
            f"{folder}: holds a dataset of another configuration (asked, there: {'; '.join(differences[:3])}{more}); "
            "choose another folder, or --overwrite it."
        )
    return present


def open_folder(recipe: Recipe, folder: Path, overwrite: bool = False) -> None:
    """Make a folder the home of a dataset, unless it is.

    Raises:
        ConfigurationError: it holds another dataset, or other things.
        DatasetError: the file system refuses.
    """
    present = check_folder(recipe, folder, overwrite)
    with named_errors(folder):
        if present and overwrite:
            _remove(Recipe.load(folder), folder)
            with workspace(folder) as room:
                write_whole(folder / RECIPE_FILE, recipe.to_yaml(), room)
        elif not present:
            with workspace(folder) as room:
                first = write_first(folder / RECIPE_FILE, recipe.to_yaml(), room)
            if not first:  # another run has just begun here: of the same recipe?
                check_folder(recipe, folder)


def _entries(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise ConfigurationError(f"{folder}: is a file; --out must be a folder.")
    return list(folder.iterdir())


def _remove(recipe: Recipe, folder: Path) -> None:
    """Remove a dataset but for its recipe, and nothing that synvid has not written."""
    import shutil

    names = [MANIFESTS[recipe.format], "README.md", "lists/videomae.csv"]
    for shard in range(recipe.num_shards):
        place = shard_path(recipe, shard)
        videos = [(place / f"{key_of(index)}.mp4").as_posix() for index in recipe.indices(shard)]
        names += [place.as_posix()] if recipe.format == "tar" else videos
    for name in names:
        (folder / name).unlink(missing_ok=True)
    for parent in sorted({parent for name in names for parent in Path(name).parents if parent != Path()}, reverse=True):
        with contextlib.suppress(OSError):  # not empty: somebody else's files
            (folder / parent).rmdir()
    if (folder / STATE).exists():
        shutil.rmtree(folder / STATE)


def todo(recipe: Recipe, folder: Path, part: tuple[int, int] = (0, 1)) -> tuple[list[int], int]:
    """Shards of a part that are still to be rendered, and how many clips of it are done."""
    mine = range(part[0], recipe.num_shards, part[1])
    missing = [shard for shard in mine if shard_state(recipe, folder, shard) is not State.DONE]
    done = sum(len(recipe.indices(shard)) for shard in mine) - sum(len(recipe.indices(shard)) for shard in missing)
    return missing, done


def render_dataset(
    recipe: Recipe,
    folder: Path,
    *,
    workers: int = 1,
    part: tuple[int, int] = (0, 1),
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Render what is missing of a dataset.

    Args:
        recipe: what to make.
        folder: where; created if need be. What is there of the same recipe is kept.
        workers: processes.
        part: (i, n): only shards i, i + n, i + 2 n, ...
        overwrite: remove a dataset that is there.
        progress: told of every clip.

    Returns:
        What was done. Shards that failed are listed in it; the others are in place.

    Raises:
        ConfigurationError: the folder holds something else, or the encoder refuses.
        DatasetError: the file system refuses.
    """
    begin = time.monotonic()
    check_folder(recipe, folder, overwrite)
    if overwrite or todo(recipe, folder, part)[0]:
        warm_up(recipe)
    with postponed():
        open_folder(recipe, folder, overwrite)
        clean_leftovers(folder)
        missing, done = todo(recipe, folder, part)
        tasks = [(shard, len(recipe.indices(shard))) for shard in missing]
        failed = run_tasks(_Render(recipe, folder), tasks, workers, progress or Progress(), done)
        clips = sum(count for shard, count in tasks if shard not in failed)
        finished = finish(recipe, folder) and not todo(recipe, folder)[0]  # of any part
    return Result(clips, done, failed, finished, time.monotonic() - begin)


def merge_parts(folder: Path, sources: list[Path]) -> tuple[int, list[int]]:
    """Copy finished shards from other folders of the same recipe, and finish the dataset if it is whole.

    Returns:
        How many shards were copied, and which are still missing.

    Raises:
        ConfigurationError: a source is of another configuration.
        DatasetError: a folder holds no dataset, or the file system refuses.
    """
    recipe = Recipe.load(folder if (folder / RECIPE_FILE).is_file() or not sources else sources[0])
    open_folder(recipe, folder)
    copied = 0
    for source in sources:
        differences = recipe.differences(Recipe.load(source))
        if differences:
            raise ConfigurationError(f"{source}: is of another configuration than {folder}: {'; '.join(differences[:3])}.")
        for shard in todo(recipe, folder)[0]:
            if shard_state(recipe, source, shard) is State.DONE:
                copy_shard(recipe, source, folder, shard)
                copied += 1
    finish(recipe, folder)
    return copied, todo(recipe, folder)[0]


@dataclass(frozen=True)
class _Render:
    """Render one shard, unless somebody else just has."""

    recipe: Recipe
    folder: Path

    def __call__(self, shard: int, tick: Callable[[], None]) -> None:
        if shard_state(self.recipe, self.folder, shard) is not State.DONE:
            render_shard(self.recipe, self.folder, shard, tick)

    def name(self, shard: int) -> str:
        return shard_path(self.recipe, shard).as_posix()


# ---- Running tasks ------------------------------------------------------------------------------------------------
class _Cancelled(BaseException):
    """Raised between two clips when the run has been interrupted."""


class _Shared:
    """What the processes of a run have in common, without a lock that could die with its holder.

    Attributes:
        counts: units done of each task; only who does the task writes its count.
        stop: whether to come to an end.
    """

    def __init__(self, context: Any, tasks: int) -> None:
        self.counts = context.RawArray("q", tasks)
        self.stop = context.RawValue("b", 0)

    def done(self) -> int:
        """Units done of all tasks."""
        return int(np.frombuffer(self.counts, np.int64).sum())


_shared: _Shared | None = None


def _begin_worker(shared: _Shared, parent: int) -> None:
    """Between tasks: leave Ctrl-C to the parent, end when terminated, and die with the parent."""
    global _shared  # noqa: PLW0603  # a worker's one link to its parent
    _shared = shared
    signal.signal(signal.SIGINT, lambda *_: None)  # not SIG_IGN, see `postponed`
    signal.signal(signal.SIGTERM, lambda number, _: os._exit(128 + number))

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _work(call: Any, place: int, task: int) -> str | None:
    """Do one task in a worker; None, or what went wrong."""
    shared = _shared
    assert shared is not None  # set by _begin_worker
    shared.counts[place] = 0

    def tick() -> None:
        if shared.stop.value or interrupted():
            raise _Cancelled
        shared.counts[place] += 1

    with postponed():
        return _attempt(call, task, tick)


def _attempt(call: Any, task: int, tick: Callable[[], None]) -> str | None:
    """Do one task; None, or what went wrong, unless it is something that must end the run."""
    try:
        call(task, tick)
    except _Cancelled:
        return "interrupted"
    except (ConfigurationError, DatasetError):
        raise
    except Exception as error:  # noqa: BLE001  # one bad shard must not cost the others
        return f"{type(error).__name__}: {error}"
    return None


def run_tasks(call: Any, tasks: Iterable[tuple[int, int]], workers: int, progress: Progress, done: int = 0) -> dict[int, str]:
    """Do numbered tasks in processes.

    Args:
        call: call(task, tick) does one; it must be picklable, and calls `tick` after each of the task's units.
        tasks: number and units of each.
        workers: processes; with one, or one task, the work is done in this one.
        progress: told of every unit.
        done: units that were done before.

    Returns:
        Task → what went wrong, for those that failed.
    """
    units = dict(tasks)
    progress.start(done + sum(units.values()), done, "clip")
    try:
        with postponed():
            if min(workers, len(units)) <= 1:
                return _run_here(call, list(units), progress, done)
            return _run_pool(call, list(units), workers, progress, done)
    finally:
        progress.finish()


def _run_here(call: Any, tasks: list[int], progress: Progress, done: int) -> dict[int, str]:
    failed, count = {}, done

    def tick() -> None:
        nonlocal count
        if interrupted():
            raise _Cancelled
        count += 1
        progress.update(count)

    for task in tasks:
        try:
            problem = "interrupted" if interrupted() else _attempt(call, task, tick)
        except (ConfigurationError, DatasetError):
            if not interrupted():  # an encoder's process may have been hit by the same signal
                raise
            problem = "interrupted"
        if problem is not None:
            failed[task] = problem
    return failed


def _run_pool(call: Any, tasks: list[int], workers: int, progress: Progress, done: int) -> dict[int, str]:
    """Run in a pool; when a worker dies, start a new pool for what is left."""
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    left, failed = dict(enumerate(tasks)), dict[int, str]()
    with named_errors(Path(tempfile.gettempdir())):
        shared = _Shared(context, len(tasks))
    for _ in range(_ATTEMPTS):
        with (
            named_errors(Path(tempfile.gettempdir())),
            ProcessPoolExecutor(min(workers, len(left)), context, _begin_worker, (shared, os.getpid())) as pool,
        ):
            waiting: dict[Future[str | None], int] = {}
            try:
                for place, task in left.items():
                    waiting[pool.submit(_work, call, place, task)] = place
                while waiting and not interrupted():
                    over, _ = wait(waiting, timeout=_POLL, return_when=FIRST_COMPLETED)
                    progress.update(done + shared.done())
                    for future in over:
                        problem, place = future.result(), waiting.pop(future)
                        task = left.pop(place)
                        if problem is not None:
                            failed[task] = problem
            except BrokenProcessPool:
                pass
            finally:
                shared.stop.value = bool(waiting)
                pool.shutdown(wait=True, cancel_futures=True)
        if not left or interrupted():
            break
        shared.stop.value = 0
    why = "interrupted" if interrupted() else f"its worker died {_ATTEMPTS} times, of too little memory perhaps"
    return failed | dict.fromkeys(left.values(), why)
