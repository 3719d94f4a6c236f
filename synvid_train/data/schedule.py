"""Which clips each training step takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from synvid.errors import ConfigurationError
from synvid.formatting import format_count

__all__ = ["Schedule"]


@dataclass(frozen=True)
class Schedule:
    """Which clips each step takes: a permutation an epoch, cut into batches, of which each rank takes its part.

    Attributes:
        count: clips of an epoch.
        repeats: samples of each, all in the same step.
        batch_size: clips a step, over all ranks.
        device_batch_size: most samples that a rank takes at once.
        epochs: of the run.
        seed: of the order.
        fresh: clips of an epoch are others than those of the one before.
        rank, world: which part is ours.
        pairs: samples are mixed in pairs, so a piece must have an even number of them.
    """

    count: int
    repeats: int
    batch_size: int
    device_batch_size: int
    epochs: int
    seed: int
    fresh: bool = False
    rank: int = 0
    world: int = 1
    pairs: bool = False

    def __post_init__(self) -> None:
        if self.batch_size % self.world:
            raise ConfigurationError(
                f"optim.batch_size is {self.batch_size}; it must be a multiple of the {self.world} processes."
            )
        if self.steps_per_epoch == 0:
            raise ConfigurationError(
                f"optim.batch_size is {self.batch_size}, but an epoch has only {self.count} clips; "
                f"--set optim.batch_size={self.count} or less."
            )
        if self.pairs and self.piece % 2:
            raise ConfigurationError(
                f"objective.mixup and cutmix mix clips in pairs, but optim.batch_size={self.batch_size} over "
                f"{format_count(self.world, 'device')} with run.device_batch_size={self.device_batch_size} is cut into pieces of "
                f"{self.piece}; {self._even()}."
            )

    def _even(self) -> str:
        """What would make pieces even."""
        if self._share % 2:
            whole = 2 * self.world
            return f"--set optim.batch_size={max(self.batch_size // whole, 1) * whole}"
        sizes = range(2, max(min(self._share, self.device_batch_size), 2) + 1, 2)
        return f"--set run.device_batch_size={max(size for size in sizes if self._share % size == 0)}"

    @property
    def steps_per_epoch(self) -> int:
        """Full batches of an epoch."""
        return self.count // self.batch_size

    @property
    def steps(self) -> int:
        """Of the run."""
        return self.steps_per_epoch * self.epochs

    @property
    def _share(self) -> int:
        """Samples of a step that a rank takes."""
        return self.batch_size // self.world * self.repeats

    @property
    def accumulate(self) -> int:
        """Pieces that a rank's part of a step is cut into, equal ones."""
        return self._share // self.piece

    @property
    def piece(self) -> int:
        """Samples of such a piece, as many as a rank may take at once."""
        share = self._share
        return next(size for size in range(min(share, self.device_batch_size), 0, -1) if share % size == 0)

    def pieces(self, start: int = 0) -> Iterator[list[tuple[int, int, int]]]:
        """(epoch, index, repeat) of the clips of each piece, from step `start` on."""
        share = self.batch_size // self.world
        size = self.piece
        order, known = np.empty(0, np.int64), -1
        for step in range(start, self.steps):
            epoch, place = divmod(step, self.steps_per_epoch)
            if epoch != known:
                known, order = epoch, np.random.default_rng((self.seed, epoch)).permutation(self.count)
            first = place * self.batch_size + self.rank * share
            shift = epoch * self.count if self.fresh else 0
            chosen = order[first : first + share]
            keys = [(epoch, int(i) + shift, repeat) for i in chosen for repeat in range(self.repeats)]
            yield from (keys[k : k + size] for k in range(0, len(keys), size))
