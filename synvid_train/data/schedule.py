"""The batch schedule: the samples of each training step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from synvid.errors import ConfigurationError
from synvid.formatting import format_count

__all__ = ["Schedule"]


@dataclass(frozen=True)
class Schedule:
    """Order of the clips: one random permutation per epoch, cut into batches, each divided among the ranks.

    A rank's part of a batch is cut into micro-batches of equal size, whose gradients are accumulated. The clips of a step do
    not depend on the number of ranks.

    Attributes:
        num_clips: clips in an epoch.
        samples_per_clip: samples of each clip, all in the same step.
        batch_size: clips in a step, over all ranks.
        device_batch_size: maximum number of samples in a micro-batch.
        epochs: number of epochs.
        seed: random seed of the order.
        resample_each_epoch: every epoch takes new clips: indices grow by `num_clips` per epoch.
        rank: rank of this process.
        world_size: number of processes.
        mixes_pairs: mixup or cutmix mixes samples in pairs, so micro-batches must have an even size.

    Raises:
        ConfigurationError: the batch cannot be divided among the ranks or is larger than an epoch, or a micro-batch is odd.
    """

    num_clips: int
    samples_per_clip: int
    batch_size: int
    device_batch_size: int
    epochs: int
    seed: int
    resample_each_epoch: bool = False
    rank: int = 0
    world_size: int = 1
    mixes_pairs: bool = False

    def __post_init__(self) -> None:
        if self.batch_size % self.world_size:
            raise ConfigurationError(
                f"optim.batch_size is {self.batch_size}; it must be a multiple of the {self.world_size} processes."
            )
        if self.steps_per_epoch == 0:
            raise ConfigurationError(
                f"optim.batch_size is {self.batch_size}, but an epoch has only {self.num_clips} clips; "
                f"--set optim.batch_size={self.num_clips} or less."
            )
        if self.mixes_pairs and self.micro_batch_size % 2:
            raise ConfigurationError(
                f"objective.mixup and cutmix mix clips in pairs, but optim.batch_size={self.batch_size} over "
                f"{format_count(self.world_size, 'device')} with run.device_batch_size={self.device_batch_size} gives "
                f"micro-batches of {self.micro_batch_size}; {self._even_setting()}."
            )

    def _even_setting(self) -> str:
        """Return a setting that makes micro-batches even."""
        if self._samples_per_rank % 2:
            multiple = 2 * self.world_size
            return f"--set optim.batch_size={max(self.batch_size // multiple, 1) * multiple}"
        sizes = range(2, max(min(self._samples_per_rank, self.device_batch_size), 2) + 1, 2)
        return f"--set run.device_batch_size={max(size for size in sizes if self._samples_per_rank % size == 0)}"

    @property
    def steps_per_epoch(self) -> int:
        """Steps in an epoch; clips that do not fill a batch are dropped."""
        return self.num_clips // self.batch_size

    @property
    def steps(self) -> int:
        """Steps in the run."""
        return self.steps_per_epoch * self.epochs

    @property
    def _samples_per_rank(self) -> int:
        """Samples in a step that one rank takes."""
        return self.batch_size // self.world_size * self.samples_per_clip

    @property
    def accumulation_steps(self) -> int:
        """Micro-batches in a step on one rank."""
        return self._samples_per_rank // self.micro_batch_size

    @property
    def micro_batch_size(self) -> int:
        """Samples in a micro-batch: the largest divisor of a rank's samples that is at most `device_batch_size`."""
        samples = self._samples_per_rank
        return next(size for size in range(min(samples, self.device_batch_size), 0, -1) if samples % size == 0)

    def micro_batches(self, start: int = 0) -> Iterator[list[tuple[int, int, int]]]:
        """Yield this rank's micro-batches from step `start` on, as lists of (epoch, clip index, repeat)."""
        clips = self.batch_size // self.world_size
        size = self.micro_batch_size
        order, order_epoch = np.empty(0, np.int64), -1
        for step in range(start, self.steps):
            epoch, step_in_epoch = divmod(step, self.steps_per_epoch)
            if epoch != order_epoch:
                order_epoch, order = epoch, np.random.default_rng((self.seed, epoch)).permutation(self.num_clips)
            first = step_in_epoch * self.batch_size + self.rank * clips
            shift = epoch * self.num_clips if self.resample_each_epoch else 0
            indices = order[first : first + clips]
            keys = [(epoch, int(i) + shift, repeat) for i in indices for repeat in range(self.samples_per_clip)]
            yield from (keys[k : k + size] for k in range(0, len(keys), size))
