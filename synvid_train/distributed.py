"""Distributed training: ranks, devices and collectives."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from synvid.errors import ConfigurationError
from synvid_train.training_recipe import TrainingRecipe

__all__ = ["DistributedContext", "autocast"]


#: Time for all processes of a run to start. A cluster scheduler may allocate its machines one after another.
_RENDEZVOUS_TIMEOUT = timedelta(minutes=10)
_SHUTDOWN_DELAY = 0.2  # seconds


@dataclass(frozen=True)
class DistributedContext:
    """The rank and device of this process, and collectives over all processes; with one process, collectives do nothing.

    Attributes:
        rank: rank of this process, from 0.
        world_size: number of processes.
        device: the device of this process.
    """

    rank: int
    world_size: int
    device: torch.device

    @classmethod
    def join(cls, device: str | None = None, notify: Callable[[str], None] = lambda _: None) -> DistributedContext:
        """Join the process group if torchrun, or another launcher that sets the same environment variables, started us.

        Args:
            device: torch device name; None for cuda if available, else cpu.
            notify: called with a message before waiting for the other processes.

        Raises:
            ConfigurationError: the device does not exist, the environment variables contradict each other, or the other
                processes do not appear in time.
        """
        world_size, rank, local_rank = _read_environment()
        try:
            torch_device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
            if torch_device.type == "cuda" and torch.cuda.is_available():
                torch_device = torch.device("cuda", local_rank if torch_device.index is None else torch_device.index)
                torch.cuda.set_device(torch_device)
            torch.empty(1, device=torch_device)
        except (RuntimeError, AssertionError, ValueError):
            option = f"--device {device}" if device else f"LOCAL_RANK {local_rank}"
            raise ConfigurationError(f"{option}: no such device on this machine; cpu always works.") from None
        if world_size > 1 and not dist.is_initialized():
            store = _rendezvous(rank, world_size, notify)
            backend = "nccl" if torch_device.type == "cuda" else "gloo"
            dist.init_process_group(backend, store=store, rank=rank, world_size=world_size)
        return cls(rank, world_size, torch_device)

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, the only process that writes files and messages."""
        return self.rank == 0

    @property
    def local_size(self) -> int:
        """Number of processes on this machine, from LOCAL_WORLD_SIZE."""
        return int(os.environ.get("LOCAL_WORLD_SIZE", self.world_size))

    def gather(self, items: list[str]) -> list[str]:
        """Return the items of all processes, in the order of ranks, on every process."""
        if self.world_size == 1:
            return items
        gathered: list[Any] = [None] * self.world_size
        dist.all_gather_object(gathered, items)
        return [item for part in gathered for item in part]

    def broadcast(self, value: Any) -> Any:
        """Return the value that rank 0 passed, on every process."""
        if self.world_size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, device=self.device if self.device.type == "cuda" else None)
        return values[0]

    def sum(self, values: Tensor) -> Tensor:
        """Add up the tensors of all processes, in place, and return the result."""
        if self.world_size > 1:
            dist.all_reduce(values)
        return values

    def shutdown(self) -> None:
        """Leave the process group."""
        if self.world_size > 1:
            # gloo's threads need the interpreter lock to release Python objects, but the group's destructor holds the lock
            # while it joins these threads: let them finish first.
            time.sleep(_SHUTDOWN_DELAY)
            dist.destroy_process_group()


def _read_environment() -> tuple[int, int, int]:
    """World size, rank and local rank, from the environment variables of torchrun."""
    world_size, rank, local_rank, _ = (
        _read_int(name, default)
        for name, default in (("WORLD_SIZE", 1), ("RANK", 0), ("LOCAL_RANK", 0), ("LOCAL_WORLD_SIZE", 1))
    )
    advice = "start with torchrun, or unset it to train in one process"
    if world_size < 1:
        raise ConfigurationError(f"WORLD_SIZE is {world_size}; it must be 1 or more: {advice}.")
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if world_size > 1 and missing:
        verb = "is" if len(missing) == 1 else "are"
        raise ConfigurationError(f"WORLD_SIZE is {world_size}, but {', '.join(missing)} {verb} not set: {advice}.")
    for name, value in (("RANK", rank), ("LOCAL_RANK", local_rank)):
        if value >= world_size:
            state = f"is {world_size}" if "WORLD_SIZE" in os.environ else "is not set"
            raise ConfigurationError(f"{name} is {value}, but WORLD_SIZE {state}: {advice}.")
    if world_size > 1 and not 0 < _read_int("MASTER_PORT", 0) < 65536:
        raise ConfigurationError(f"MASTER_PORT is {os.environ['MASTER_PORT']}; it must be a number from 1 to 65535.")
    return world_size, rank, local_rank


def _read_int(name: str, default: int) -> int:
    """Read a non-negative whole number from an environment variable; the default if it is unset or empty."""
    text = os.environ.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ConfigurationError(f"{name} is {text[:40]!r}; it must be a whole number, as torchrun sets it.")
    return int(text)


def _rendezvous(rank: int, world_size: int, notify: Callable[[str], None]) -> Any:
    """Wait for all processes and return the store they share."""
    address = f"MASTER_ADDR {os.environ['MASTER_ADDR']}, MASTER_PORT {os.environ['MASTER_PORT']}"
    if not dist.is_torchelastic_launched():  # torchrun starts all of them
        minutes = _RENDEZVOUS_TIMEOUT.seconds // 60
        notify(f"Rank {rank} of {world_size} waits for the other processes, at most {minutes} minutes ({address}).")
    try:
        store, *_ = next(rendezvous("env://", rank, world_size, timeout=_RENDEZVOUS_TIMEOUT))
    except (RuntimeError, ValueError) as error:  # torch raises network errors as RuntimeError
        reason = str(error).partition("\n")[0][:200].rstrip(".")
        raise ConfigurationError(
            f"the {world_size} processes of WORLD_SIZE could not connect through {address}: {reason}; start all of them, for "
            "example with torchrun, or unset WORLD_SIZE to train in one process."
        ) from None
    return store


def autocast(recipe: TrainingRecipe, device: torch.device) -> torch.autocast:
    """Return the autocast context for the recipe's `run.precision`, used in training and in every evaluation."""
    return torch.autocast(device.type, torch.bfloat16, enabled=recipe.run.precision == "bf16")
