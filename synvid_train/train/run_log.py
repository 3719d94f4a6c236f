"""The log of a training run."""

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


class StepMeter:
    """Sums on the device, read now and then: a step never waits for its own figures."""

    def __init__(self, device: torch.device) -> None:
        self.sums = torch.zeros(3, dtype=torch.float64, device=device)
        self.count, self.waited, self.began, self.broken = 0, 0.0, time.perf_counter(), 0

    def add(self, loss: Tensor, norm: Tensor, bad: Tensor) -> None:
        """A step's loss, gradient norm, and whether they are of no use."""
        self.sums += torch.stack([loss.double() * (1 - bad), norm.double() * (1 - bad), bad.double()]).nan_to_num(0, 0, 0)
        self.count += 1

    def read(self, world: DistributedContext, batch_size: int) -> dict[str, float]:
        """Means since the last time."""
        loss, norm, bad = (world.sum(self.sums.clone()) / world.size).tolist()
        seconds, good = time.perf_counter() - self.began, max(self.count - bad, 1)
        line = {
            "loss": loss / good if bad < self.count else math.inf,
            "gradient_norm": norm / good if bad < self.count else math.inf,
            "not_finite": bad,
            "clips_per_second": self.count * batch_size / seconds,
            "waiting": self.waited / seconds,
        }
        self.broken = self.broken + self.count if bad >= self.count else 0
        self.sums.zero_()
        self.count, self.waited, self.began = 0, 0.0, time.perf_counter()
        return line


class RunLog:
    """`log.jsonl`, and TensorBoard where it is installed."""

    def __init__(self, out: Path, notify: Callable[[str], None] = lambda _: None) -> None:
        self.path, self.notify = out / "log.jsonl", notify
        self.board: Any = None

    def cut(self, step: int, evaluated: bool) -> None:
        """Forget lines of steps that are done again, and figures of the last one if they are measured again."""
        self.board = self._open_board(step)
        if self.path.is_file():
            lines = [line for line in read_log(self.path) if line["step"] <= step]
            if not evaluated:
                lines = [line for line in lines if line["step"] < step or "loss" in line]
            atomic_write(self.path, "".join(json.dumps(line) + "\n" for line in lines))

    def _open_board(self, step: int) -> Any:
        """TensorBoard's writer, or None; an installation that is broken is told, and costs its curves only."""
        try:
            from torch.utils.tensorboard import SummaryWriter

            return SummaryWriter(str(self.path.parent / "tensorboard"), purge_step=step + 1)
        except OSError:
            raise
        except Exception as error:  # noqa: BLE001  # whatever packages that do not fit together raise
            if getattr(error, "name", None) != "tensorboard":
                why = f"{type(error).__name__}: {error}".partition("\n")[0][:200].rstrip(".")
                self.notify(f"TensorBoard is installed but cannot be used ({why}); log.jsonl and curves.png have its curves.")
            return None

    def write(self, line: dict[str, float]) -> None:
        """Add a line."""
        finite = {key: value if math.isfinite(value) else None for key, value in line.items()}
        with wrap_os_errors(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(finite) + "\n")
        if self.board:
            for key, value in line.items():
                self.board.add_scalar(key, value, int(line["step"]))
            self.board.flush()


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a log; a last one that was cut off does not count."""
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue
    return lines
