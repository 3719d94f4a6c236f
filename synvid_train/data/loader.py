"""Load batches of samples in worker processes."""

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

__all__ = ["catch_worker_death", "choose_num_workers", "load_batches", "load_samples"]


def choose_num_workers(workers: int | None, device: torch.device, num_processes: int) -> int:
    """Choose the number of worker processes that load clips; on the CPU, also set torch's thread count to the other cores.

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


#: Maximum size in bytes of the batches that wait in shared memory, over all workers; and their maximum number per worker.
_MAX_PREFETCH_BYTES = 1 << 30
_MAX_PREFETCH = 4
#: Open files in this process per worker (pipes), and for batches in transit.
_FILES_PER_WORKER, _FILES_IN_TRANSIT = 4, 16

#: Parts of torch's error messages when no more files can be opened or sent to another process.
_FILE_LIMIT_ERRORS = ("Too many open files", "items of ancdata")
#: Parts of torch's error messages when shared memory, which is a file, cannot be allocated.
_SHARED_MEMORY_ERRORS = (
    "unable to resize file",
    "unable to mmap",
    "unable to write to file",
    "unable to open shared memory",
)


def load_batches(
    dataset: Dataset[dict[str, Any]],
    batches: Iterable[list[Any]],
    workers: int,
    device: torch.device,
    collate: Any = None,
    notify: Callable[[str], None] = lambda _: None,
) -> Generator[dict[str, Any], None, None]:
    """Load batches in worker processes; the number of workers does not change the samples.

    Batches are passed through shared memory. Each worker prefetches at least one batch, and more while all of them take at
    most 1 GiB. If half of the free shared memory cannot hold one batch per worker, fewer workers are used.

    Workers ignore SIGINT and SIGTERM; this process stops them when the generator is closed. Close it
    (`contextlib.closing`), or workers survive an error and the process waits for them. Iterate inside `catch_worker_death`.

    Args:
        dataset: samples by key; its attribute `sample_bytes`, if any, limits prefetching.
        batches: keys of the samples of each batch.
        workers: number of worker processes; 0 loads in this process.
        device: device the batches go to; memory is pinned for CUDA.
        collate: function that combines samples into a batch; None: torch's default.
        notify: called with a message if fewer workers are used.

    Raises:
        DatasetError: a sample cannot be loaded.
    """
    batches = iter(batches)
    first = next(batches, None)
    if first is None:
        return
    workers, prefetch = _prefetch(dataset, first, workers, notify)
    running_before = multiprocessing.active_children()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)  # more workers than cores
            loader: Any = iter(
                DataLoader(
                    dataset, batch_sampler=itertools.chain([first], batches), num_workers=workers,
                    pin_memory=device.type == "cuda", collate_fn=collate, prefetch_factor=prefetch if workers else None,
                    worker_init_fn=_init_worker_process if workers else None,
                )
            )  # fmt: skip
    except BaseException:  # some workers may have started
        for process in set(multiprocessing.active_children()).difference(running_before):
            process.kill()
        raise
    try:
        yield from loader
    except DatasetError as error:  # a worker's error has its traceback in the text
        raise DatasetError(str(error).rsplit("DatasetError: ", 1)[-1].strip()) from None
    finally:
        if workers:
            loader._shutdown_workers()  # noqa: SLF001  # torch has no public function for this
            for process in loader._workers:  # noqa: SLF001  # torch would send SIGTERM, which they ignore
                process.kill()


def load_samples(
    dataset: Dataset[dict[str, Any]], keys: Sequence[Any], workers: int, device: torch.device
) -> Generator[dict[str, Any], None, None]:
    """Load samples one by one, not collated; otherwise like `load_batches`."""
    return load_batches(dataset, ([key] for key in keys), workers, device, _single_sample)


def _single_sample(batch: list[dict[str, Any]]) -> dict[str, Any]:
    return batch[0]


def _init_worker_process(_: int) -> None:
    """Ignore signals, which the parent handles, and exit when the parent dies."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    exit_with_parent()


def _prefetch(
    dataset: Dataset[dict[str, Any]], batch: list[Any], workers: int, notify: Callable[[str], None]
) -> tuple[int, int]:
    """Return the number of workers, and of batches each prefetches, that open files and shared memory allow."""
    files = max((raise_file_limit() - _count_open_files()) // 2 - _FILES_IN_TRANSIT, 0) // _FILES_PER_WORKER
    if files < workers:
        notify(
            f"--workers {workers} needs more than the {raise_file_limit()} files that a process may have open; {files} are "
            "used. Raise `ulimit -n` to use more."
        )
        workers = files
    if workers == 0 or not hasattr(dataset, "sample_bytes"):
        return workers, _MAX_PREFETCH
    batch_bytes = len(batch) * int(dataset.sample_bytes)
    available = _free_shared_memory() // 2 // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    fitting = min(workers, available // batch_bytes)
    if fitting < workers:
        notify(
            f"--workers {workers}: their batches of {batch_bytes / 1e6:.0f} MB do not fit into {available / 1e6:.0f} MB of "
            f"shared memory; {fitting} are used. Reduce run.device_batch_size or enlarge /dev/shm to use more."
        )
    return fitting, max(1, min(_MAX_PREFETCH, min(available, _MAX_PREFETCH_BYTES) // (batch_bytes * max(fitting, 1))))


def _count_open_files() -> int:
    """Return the number of files this process has open; an estimate if the system does not report it."""
    try:
        return sum(1 for _ in Path("/dev/fd").iterdir())
    except OSError:
        return _FILES_IN_TRANSIT


def _free_shared_memory() -> int:
    """Return the free shared memory in bytes; if there is no /dev/shm, more than is ever used."""
    try:
        return shutil.disk_usage("/dev/shm").free  # noqa: S108  # where torch puts shared tensors
    except OSError:
        return _MAX_PREFETCH_BYTES * 2


@contextlib.contextmanager
def catch_worker_death() -> Iterator[None]:
    """Turn torch's errors about a dead worker, open files or shared memory into an error message.

    Raises:
        DatasetError: in place of such a RuntimeError.
    """
    try:
        yield
    except RuntimeError as error:
        if any(text in str(error) for text in _FILE_LIMIT_ERRORS):
            raise DatasetError(describe_os_error(OSError(errno.EMFILE, ""))) from error
        if any(text in str(error) for text in _SHARED_MEMORY_ERRORS):
            raise DatasetError(
                "shared memory (/dev/shm) is full; use fewer --workers or a smaller run.device_batch_size. Everything saved "
                "is intact; rerun the same command to resume."
            ) from error
        if "exited unexpectedly" not in str(error) and "killed by signal" not in str(error):
            raise
        raise DatasetError(
            "a worker process that loads clips died, possibly out of memory; use fewer --workers. Everything saved is intact; "
            "rerun the same command to resume."
        ) from error
