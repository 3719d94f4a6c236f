"""The log of a training run: `log.jsonl`, and TensorBoard if it is installed."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from synvid.os_errors import wrap_os_errors
from synvid.storage.atomic_io import atomic_write
from synvid_train.distributed import DistributedContext

__all__ = ["RunLog", "StepMeter", "read_log"]


class StepMeter:
    """Accumulates the metrics of steps on the device, so that a step does not wait for the device to report them.

    Attributes:
        waited: seconds spent waiting for clips since the last `read`.
        non_finite_steps_in_a_row: steps up to the last `read` in which no process had a finite gradient; counted in whole
            intervals between two reads.
    """

    def __init__(self, device: torch.device) -> None:
        self._sums = torch.zeros(3, dtype=torch.float64, device=device)
        self._steps, self._start = 0, time.perf_counter()
        self.waited = 0.0
        self.non_finite_steps_in_a_row = 0

    def add(self, loss: Tensor, norm: Tensor, non_finite: Tensor) -> None:
        """Add a step: its loss, its gradient norm, and 1.0 if the gradient is not finite, else 0.0."""
        finite = 1 - non_finite
        self._sums += torch.stack([loss.double() * finite, norm.double() * finite, non_finite.double()]).nan_to_num(0, 0, 0)
        self._steps += 1

    def read(self, distributed: DistributedContext, batch_size: int) -> dict[str, float]:
        """Return means over the steps since the last call, for the log, and start again.

        Args:
            distributed: the processes, whose values are averaged.
            batch_size: clips per step.
        """
        loss, norm, non_finite = (distributed.sum(self._sums.clone()) / distributed.world_size).tolist()
        seconds, finite = time.perf_counter() - self._start, max(self._steps - non_finite, 1)
        all_non_finite = non_finite >= self._steps
        line = {
            "loss": math.inf if all_non_finite else loss / finite,
            "gradient_norm": math.inf if all_non_finite else norm / finite,
            "not_finite": non_finite,
            "clips_per_second": self._steps * batch_size / seconds,
            "waiting": self.waited / seconds,
        }
        self.non_finite_steps_in_a_row = self.non_finite_steps_in_a_row + self._steps if all_non_finite else 0
        self._sums.zero_()
        self._steps, self.waited, self._start = 0, 0.0, time.perf_counter()
        return line


class RunLog:
    """Writes `log.jsonl`, and TensorBoard's event files if TensorBoard is installed.

    Args:
        out: folder of the run.
        notify: called with a message if TensorBoard is installed but cannot be used.
    """

    def __init__(self, out: Path, notify: Callable[[str], None] = lambda _: None) -> None:
        self._path, self._notify = out / "log.jsonl", notify
        self._tensorboard: Any = None

    def resume(self, step: int, evaluated: bool) -> None:
        """Open the log, and remove the lines that a resumed run will write again.

        Args:
            step: the last step whose lines are kept.
            evaluated: False to remove the metrics of that step.
        """
        self._tensorboard = self._open_tensorboard(step)
        if self._path.is_file():
            lines = [line for line in read_log(self._path) if line["step"] <= step]
            if not evaluated:
                lines = [line for line in lines if line["step"] < step or "loss" in line]
            atomic_write(self._path, "".join(json.dumps(line) + "\n" for line in lines))

    def _open_tensorboard(self, step: int) -> Any:
        """Return a SummaryWriter; None if TensorBoard is not installed or, with a message, if it cannot be imported."""
        try:
            from torch.utils.tensorboard import SummaryWriter

            return SummaryWriter(str(self._path.parent / "tensorboard"), purge_step=step + 1)
        except OSError:
            raise
        except Exception as error:  # noqa: BLE001  # incompatible packages raise anything
            if getattr(error, "name", None) != "tensorboard":
                reason = f"{type(error).__name__}: {error}".partition("\n")[0][:200].rstrip(".")
                self._notify(
                    f"TensorBoard is installed but cannot be used ({reason}); log.jsonl and curves.png have the same curves."
                )
            return None

    def write(self, line: dict[str, float]) -> None:
        """Append a line; values that are not finite become null."""
        finite = {key: value if math.isfinite(value) else None for key, value in line.items()}
        with wrap_os_errors(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(finite) + "\n")
        if self._tensorboard:
            for key, value in line.items():
                self._tensorboard.add_scalar(key, value, int(line["step"]))
            self._tensorboard.flush()


def read_log(path: Path) -> list[dict[str, Any]]:
    """Read the lines of `log.jsonl`; a truncated line is skipped."""
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue
    return lines
