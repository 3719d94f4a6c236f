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


# ---- Processes ----------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class DistributedContext:
    """Which of how many processes this is, and its device.

    Attributes:
        rank, size: of this process, and how many there are.
        device: it computes on.
    """

    rank: int
    size: int
    device: torch.device

    @classmethod
    def join(cls, device: str | None = None, notify: Callable[[str], None] = lambda _: None) -> DistributedContext:
        """Join the processes that torchrun started, if it did, or another launcher that sets the same variables.

        Args:
            device: a name of torch's; None: cuda if there is one.
            notify: says a sentence where others are waited for.

        Raises:
            ConfigurationError: there is no such device, the environment contradicts itself, or the others do not come.
        """
        size, rank, local = _places()
        try:
            chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
            if chosen.type == "cuda" and torch.cuda.is_available():
                chosen = torch.device("cuda", local if chosen.index is None else chosen.index)
                torch.cuda.set_device(chosen)
            torch.empty(1, device=chosen)
        except (RuntimeError, AssertionError, ValueError):
            asked = f"--device {device}" if device else f"LOCAL_RANK {local}"
            raise ConfigurationError(f"{asked}: there is no such device here; cpu always is.") from None
        if size > 1 and not dist.is_initialized():
            store = _meet(rank, size, notify)
            dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", store=store, rank=rank, world_size=size)
        return cls(rank, size, chosen)

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def gather(self, items: list[str]) -> list[str]:
        """The items of all processes."""
        if self.size == 1:
            return items
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, items)
        return [item for part in found for item in part]

    @property
    def on_this_machine(self) -> int:
        """How many processes share this machine's cores, as torchrun says."""
        return int(os.environ.get("LOCAL_WORLD_SIZE", self.size))

    def from_first(self, value: Any) -> Any:
        """What the first process has, on all of them."""
        if self.size == 1:
            return value
        held = [value]
        dist.broadcast_object_list(held, device=self.device if self.device.type == "cuda" else None)
        return held[0]

    def leave(self) -> None:
        """Part from the other processes."""
        if self.size > 1:
            # gloo's threads give back Python objects and need the interpreter for it, which a destructor that waits for them
            # holds: let them do it first.
            time.sleep(_BREATH)
            dist.destroy_process_group()

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes."""
        if self.size > 1:
            dist.all_reduce(values)
        return values


_BREATH = 0.2  # seconds
#: Processes of a run start within this time, or it ends: machines of a cluster are handed out one after the other.
_MEETING = timedelta(minutes=10)


def _places() -> tuple[int, int, int]:
    """How many processes there are, which this one is, and which of its machine, as the environment says."""
    size, rank, local, _ = (
        _whole(name, default) for name, default in (("WORLD_SIZE", 1), ("RANK", 0), ("LOCAL_RANK", 0), ("LOCAL_WORLD_SIZE", 1))
    )
    way = "start with torchrun, or unset it to train in one process"
    if size < 1:
        raise ConfigurationError(f"WORLD_SIZE is {size}; it must be 1 or more: {way}.")
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if size > 1 and missing:
        raise ConfigurationError(f"WORLD_SIZE is {size}, but {', '.join(missing)} not set: {way}.")
    for name, value in (("RANK", rank), ("LOCAL_RANK", local)):
        if value >= size:
            known = f"is {size}" if "WORLD_SIZE" in os.environ else "is not set"
            raise ConfigurationError(f"{name} is {value}, but WORLD_SIZE {known}: {way}.")
    if size > 1 and not 0 < _whole("MASTER_PORT", 0) < 65536:
        raise ConfigurationError(f"MASTER_PORT is {os.environ['MASTER_PORT']}; it must be a number from 1 to 65535.")
    return size, rank, local


def _whole(name: str, default: int) -> int:
    """A variable of the environment that is a whole number from 0."""
    text = os.environ.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ConfigurationError(f"{name} is {text[:40]!r}; it must be a whole number, as torchrun sets it.")
    return int(text)


def _meet(rank: int, size: int, notify: Callable[[str], None]) -> Any:
    """The store through which the processes of a run find one another; waits until all are there."""
    where = f"MASTER_ADDR {os.environ['MASTER_ADDR']}, MASTER_PORT {os.environ['MASTER_PORT']}"
    if not dist.is_torchelastic_launched():  # torchrun starts all of them
        notify(f"Rank {rank} of {size} waits for the other processes, at most {_MEETING.seconds // 60} minutes ({where}).")
    try:
        store, *_ = next(rendezvous("env://", rank, size, timeout=_MEETING))
    except (RuntimeError, ValueError) as error:  # torch's errors of the network are RuntimeErrors
        why = str(error).partition("\n")[0][:200].rstrip(".")
        raise ConfigurationError(
            f"the {size} processes of WORLD_SIZE do not find one another by {where}: {why}; start all of them, with torchrun, "
            "or unset WORLD_SIZE to train in one process."
        ) from None
    return store


def autocast(recipe: TrainingRecipe, device: torch.device) -> torch.autocast:
    """The precision that a recipe asks for, in training and in every evaluation."""
    return torch.autocast(device.type, torch.bfloat16, enabled=recipe.run.precision == "bf16")
