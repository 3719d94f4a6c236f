"""Load samples in worker processes."""

from __future__ import annotations

import contextlib
import errno
import itertools
import multiprocessing
import os
import shutil
import signal
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from synvid.errors import DatasetError
from synvid.os_errors import describe_os_error, raise_file_limit
from synvid.runtime.local_executor import default_workers, exit_with_parent

__all__ = ["catch_worker_death", "load_batches", "load_samples", "set_num_loaders"]


def set_num_loaders(workers: int | None, device: torch.device, num_processes: int) -> int:
    """Choose the number of worker processes that load clips; on the CPU, also limit torch's threads to the other cores.

    Args:
        workers: number of worker processes. None: all cores, or half of them if the model runs on the CPU.
        device: device the model runs on.
        num_processes: number of training processes that share this machine's cores.

    Returns:
        The number of worker processes of this training process.
    """
    cores = default_workers()
    if device.type != "cpu":
        return max(cores // num_processes, 1) if workers is None else workers
    chosen = max(cores // 2 // num_processes, 1) if workers is None else workers
    if "OMP_NUM_THREADS" not in os.environ:  # with more threads than cores, training on the CPU is ten times slower
        torch.set_num_threads(max(cores // num_processes - chosen, 1))
    return chosen


def load_batches(
    dataset: Dataset[dict[str, Any]],
    batches: Iterable[list[Any]],
    workers: int,
    device: torch.device,
    collate: Any = None,
    notify: Callable[[str], None] = lambda _: None,
) -> Generator[dict[str, Any], None, None]:
    """Load batches in worker processes; samples do not depend on how many.

    Batches travel through shared memory. Of those that wait each worker has one, and more as long as all take at most
    `PREFETCH_BYTES`; where half of what is free cannot hold them there are fewer workers, which `notify` is told. Workers
    leave signals to this process, which ends them: to be closed, or they outlive an error and the process waits for them.

    To be used inside `living_loaders`, since torch says wherever one is that a process has died.
    """  # fmt: skip
    batches = iter(batches)
    first = next(batches, None)
    if first is None:
        return
    workers, ahead = _prefetch(dataset, first, workers, notify)
    others = multiprocessing.active_children()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)  # more workers than cores: as asked
            loader: Any = iter(
                DataLoader(
                    dataset, batch_sampler=itertools.chain([first], batches), num_workers=workers,
                    pin_memory=device.type == "cuda", collate_fn=collate, prefetch_factor=ahead if workers else None,
                    worker_init_fn=_init_loader if workers else None,
                )
            )  # fmt: skip
    except BaseException:  # some of them may have begun
        for process in set(multiprocessing.active_children()).difference(others):
            process.kill()
        raise
    try:
        yield from loader
    except DatasetError as error:  # from a worker: with its traceback as text
        raise DatasetError(str(error).rsplit("DatasetError: ", 1)[-1].strip()) from None
    finally:
        if workers:
            loader._shutdown_workers()  # noqa: SLF001  # torch offers nothing else
            for process in loader._workers:  # noqa: SLF001  # they ignore SIGTERM, by which torch would end them
                process.kill()


#: Bytes of batches that wait in shared memory, over all workers.
PREFETCH_BYTES = 1 << 30
_AHEAD = 4
#: Files that a worker keeps open in this process, pipes; and those that batches of its take on their way.
_FILES_EACH, _FILES = 4, 16


def _prefetch(
    dataset: Dataset[dict[str, Any]], batch: list[Any], workers: int, notify: Callable[[str], None]
) -> tuple[int, int]:
    """How many workers there may be, and how many batches each prepares, so that shared memory does not overflow."""
    files = max((raise_file_limit() - _open_files()) // 2 - _FILES, 0) // _FILES_EACH
    if files < workers:
        notify(
            f"--workers {workers}: a process may have {raise_file_limit()} files open, which is too few for them; {files} are "
            "used. A higher `ulimit -n` lets more."
        )
        workers = files
    if workers == 0 or not hasattr(dataset, "sample_bytes"):
        return workers, _AHEAD
    size = len(batch) * int(dataset.sample_bytes)
    room = _free_shared_memory() // 2 // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    fit = min(workers, room // size)
    if fit < workers:
        notify(
            f"--workers {workers}: the batches of {size / 1e6:.0f} MB that they prepare do not fit into {room / 1e6:.0f} MB "
            f"of shared memory; {fit} are used. A smaller run.device_batch_size, or a larger /dev/shm, lets more."
        )
    return fit, max(1, min(_AHEAD, min(room, PREFETCH_BYTES) // (size * max(fit, 1))))


def _open_files() -> int:
    """How many files this process has open; some where that is not known."""
    try:
        return sum(1 for _ in Path("/dev/fd").iterdir())
    except OSError:
        return _FILES


def _free_shared_memory() -> int:
    """Bytes; where there is no /dev/shm, shared memory is not limited so."""
    try:
        return shutil.disk_usage("/dev/shm").free  # noqa: S108  # where torch keeps tensors that are shared
    except OSError:
        return PREFETCH_BYTES * 2


def _init_loader(_: int) -> None:
    """Make a process that loads clips leave signals to its parent, and end when that is gone."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    exit_with_parent()


def load_samples(
    dataset: Dataset[dict[str, Any]], places: Sequence[Any], workers: int, device: torch.device
) -> Generator[dict[str, Any], None, None]:
    """The same without batches: samples as they are."""
    return load_batches(dataset, ([place] for place in places), workers, device, _only)


def _only(batch: list[dict[str, Any]]) -> dict[str, Any]:
    return batch[0]


#: What torch says where no more files can be opened, or handed over.
_NO_FILES = ("Too many open files", "items of ancdata")
#: What torch says where shared memory, a file of its own, cannot be had.
_NO_ROOM = ("unable to resize file", "unable to mmap", "unable to write to file", "unable to open shared memory")


@contextlib.contextmanager
def catch_worker_death() -> Iterator[None]:
    """Turn the death of a process that loads clips into a sentence.

    Raises:
        DatasetError: one died.
    """
    try:
        yield
    except RuntimeError as error:
        if any(words in str(error) for words in _NO_FILES):
            raise DatasetError(describe_os_error(OSError(errno.EMFILE, ""))) from error
        if any(words in str(error) for words in _NO_ROOM):
            raise DatasetError(
                "processes that load clips find no room in shared memory (/dev/shm); fewer --workers or a smaller "
                "run.device_batch_size take less, what is saved is whole, and the same command goes on from it."
            ) from error
        if "exited unexpectedly" not in str(error) and "killed by signal" not in str(error):
            raise
        raise DatasetError(
            "a process that loads clips has died, of too little memory perhaps; fewer --workers take less, what is saved is "
            "whole, and the same command goes on from it."
        ) from error
