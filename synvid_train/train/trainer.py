"""The training loop: one process or many, with exact resumption.

No random state is kept between steps: clips are seeded by (seed, epoch, index), all other random numbers of a step by
(seed, step, rank, micro-batch). The state of a run is therefore its weights, its optimizer and the number of steps done.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from synvid.errors import ConfigurationError, DatasetError
from synvid.os_errors import wrap_os_errors
from synvid.runtime.progress import Progress
from synvid.runtime.signals import Cancelled, defer_signals, interrupted
from synvid.storage.atomic_io import atomic_write
from synvid_train.data.loader import catch_worker_death, load_batches
from synvid_train.data.schedule import Schedule
from synvid_train.data.transforms import seeded
from synvid_train.distributed import DistributedContext, autocast
from synvid_train.model.checkpoint import Checkpoint, load_training, save_training, save_weights
from synvid_train.model.videomae import SIZES, unwrapped_state_dict
from synvid_train.train.optim import learning_rate, make_optimizer, set_learning_rate
from synvid_train.train.run_folder import lock_run_folder, remove_run_files, remove_unfinished_files
from synvid_train.train.run_identity import find_differences, run_identity, suggest_remedy
from synvid_train.train.run_log import RunLog, StepMeter
from synvid_train.train.task import Batch, TrainingTask

__all__ = ["InterruptedRunError", "train"]


#: A run ends with an error after this many steps in a row without a finite gradient.
_MAX_NON_FINITE_STEPS = 20

#: Parts of the error messages of gloo and NCCL when another process has ended.
_PEER_LOST = (
    "connection closed",
    "connection reset",
    "closed by peer",
    "connection refused",
    "broken pipe",
    "remote process exited",
)


class InterruptedRunError(Exception):
    """SIGINT or SIGTERM ended the run after its state was saved."""


def train(
    task: TrainingTask,
    out: Path,
    distributed: DistributedContext,
    workers: int = 0,
    progress: Progress | None = None,
    notify: Callable[[str], None] = lambda _: None,
    overwrite: bool = False,
) -> None:
    """Train, or resume the run in `out`.

    Writes `recipe.yaml`, `log.jsonl` (a line every `run.log_every` steps and after each evaluation), `last.pt` (the
    state to resume from) and `last.safetensors` (weights, settings and metrics).

    Args:
        task: the model, its data, loss and evaluation.
        out: folder of the run.
        distributed: the processes of the run.
        workers: number of loader processes.
        progress: progress callback, in steps.
        notify: called with messages for the user.
        overwrite: remove a different run from the folder, after the settings and the data have been checked; the same run is
            resumed.

    Raises:
        InterruptedRunError: SIGINT or SIGTERM; the state has been saved.
        DatasetError: gradients stop being finite, a file cannot be written, or clips cannot be loaded.
        ConfigurationError: the folder holds a different run.
    """
    progress = progress or Progress()
    # Before the model is wrapped in DDP: if one process raised later, the others would wait in a collective call.
    with lock_run_folder(out, distributed):
        trainer = _Trainer(task, out, distributed, workers, notify)
        trainer.check_data()
        if overwrite:
            trainer.remove_different_run()
        start, evaluated = trainer.resume()
        progress.start(trainer.schedule.steps, start, "step")
        try:
            with defer_signals(), catch_worker_death():
                trainer.run(start, evaluated, progress)
        except Cancelled:
            raise InterruptedRunError from None
        except RuntimeError as error:
            if distributed.world_size == 1 or not any(text in str(error).lower() for text in _PEER_LOST):
                raise
            if interrupted():
                raise InterruptedRunError from None
            raise DatasetError(
                f"{out}: rank {distributed.rank} stops because another process of this run has ended; the checkpoint is "
                "intact, and the same command resumes from it."
            ) from error
        finally:
            progress.finish()


class _Trainer:
    """A run: the model and optimizer, and the files in the folder."""

    def __init__(
        self, task: TrainingTask, out: Path, distributed: DistributedContext, workers: int, notify: Callable[[str], None]
    ) -> None:
        self.task, self.out, self.distributed, self.workers, self.notify = task, out, distributed, workers, notify
        recipe, source = task.recipe, task.clips.source
        self.schedule = Schedule(
            len(source), recipe.data.samples_per_clip, recipe.optim.batch_size, recipe.run.device_batch_size,
            recipe.optim.epochs, task.seed, task.resample_each_epoch, distributed.rank, distributed.world_size,
            task.mixes_pairs,
        )  # fmt: skip
        self.model = task.model.to(distributed.device)
        if recipe.run.compile:
            for module in self.model.modules():
                if type(module).__name__ == "Block":
                    module.compile()
        self.optimizer = make_optimizer(self.model, recipe.optim, SIZES[recipe.model.size][1])
        self.parallel: nn.Module = DistributedDataParallel(self.model) if distributed.world_size > 1 else self.model
        self.log = RunLog(out, notify) if distributed.is_main else None
        self.read_errors: dict[str, bool] = {}  # error message: whether it has been reported
        self.metrics: dict[str, float] = {}

    # ---- State ----
    def check_data(self) -> None:
        """Load the first micro-batch, so that errors in the data appear before anything is written."""
        if self.distributed.is_main:
            for key in next(iter(self.schedule.micro_batches())):
                self.task.clips[key]

    def remove_different_run(self) -> None:
        """Remove the files of a run that this one cannot resume; all other files stay."""
        path = self.out / "last.pt"
        if not self.distributed.is_main or not (self.out / "recipe.yaml").is_file():  # not the folder of a run
            return
        if path.is_file():
            with contextlib.suppress(ConfigurationError):  # damaged: it cannot be resumed
                _, _, step, extra = load_training(path)
                if not find_differences(extra.get("identity", {}), self.task, self.schedule, step):
                    return
        remove_run_files(self.out)

    def resume(self) -> tuple[int, bool]:
        """Restore the state of the run in the folder, if there is one.

        Returns:
            The number of steps done, 0 for a new run; whether the model has been evaluated after the last of them.
        """
        path = self.out / "last.pt"
        start, evaluated = 0, True
        if self.distributed.is_main:
            remove_unfinished_files(self.out)
        if self.distributed.broadcast(path.is_file()):
            checkpoint, optimizer, start, extra = load_training(path)
            steps = self.distributed.gather([str(start)])
            if len(set(steps)) > 1:
                raise ConfigurationError(
                    f"{path}: the processes read different versions of it, of steps {', '.join(steps)}; start again."
                )
            differences = find_differences(extra.get("identity", {}), self.task, self.schedule, start)
            if differences:
                raise ConfigurationError(
                    f"{self.out} holds a run with different settings ({', '.join(differences)}); "
                    f"{suggest_remedy(differences, self.out, self.task.kind)}."
                )
            self.metrics, evaluated = checkpoint.metrics, bool(extra.get("evaluated", True))
            self.model.load_state_dict(checkpoint.weights)
            self.optimizer.load_state_dict(optimizer)
            self.notify(f"{self.out}: resuming after step {start:,} of {self.schedule.steps:,}.")
        if self.log:
            with wrap_os_errors(self.out):
                atomic_write(self.out / "recipe.yaml", self.task.recipe.to_yaml())
            self.log.resume(start, evaluated)
        return start, evaluated

    def save(self, step: int, evaluated: bool = True) -> None:
        """Write both checkpoint files, each atomically: a crash keeps the previous one.

        Args:
            step: number of steps done.
            evaluated: False if the evaluation after this step is still to come.
        """
        if not self.distributed.is_main:
            return
        task = self.task
        weights = {name: value.detach().cpu() for name, value in unwrapped_state_dict(self.model).items()}
        checkpoint = Checkpoint(task.clips.architecture, task.kind, weights, task.classes, self.metrics, task.recipe.to_dict())
        extra = {"identity": run_identity(task), "evaluated": evaluated}
        save_training(self.out / "last.pt", checkpoint, self.optimizer.state_dict(), step, extra)
        save_weights(self.out / "last.safetensors", checkpoint)

    # ---- Steps ----
    def run(self, start: int, evaluated: bool, progress: Progress) -> None:
        """Run the remaining steps, after the evaluation that an interrupted run did not finish, if any."""
        if not evaluated:
            self.evaluate(start)
        self.model.train()
        micro_batches = load_batches(
            self.task.clips, self.schedule.micro_batches(start), self.workers, self.distributed.device, notify=self.notify
        )
        with contextlib.closing(micro_batches):  # ends the loader processes, also after an error
            self.run_steps(micro_batches, start, progress)

    def run_steps(self, micro_batches: Iterator[Batch], start: int, progress: Progress) -> None:
        """Run the steps from `start` on, with the log, checkpoints and evaluations between them."""
        recipe, schedule, distributed = self.task.recipe, self.schedule, self.distributed
        meter = StepMeter(distributed.device)
        for step in range(start, schedule.steps):
            rate = learning_rate(recipe.optim, step, schedule.steps, schedule.steps_per_epoch)
            set_learning_rate(self.optimizer.param_groups, rate)
            self.step(micro_batches, step, meter)
            done = step + 1
            last = done == schedule.steps
            stop = interrupted() if distributed.world_size == 1 else False
            if done % recipe.run.log_every == 0 or last or stop:
                line = meter.read(distributed, recipe.optim.batch_size)
                self.report_read_errors()
                if distributed.world_size > 1:  # all processes stop at the same step
                    stop = bool(distributed.sum(torch.tensor([float(interrupted())], device=distributed.device)))
                self.write_log({"step": done, "epoch": done / schedule.steps_per_epoch, "learning_rate": rate, **line})
                progress.note(
                    f"loss {line['loss']:.4f}, {line['clips_per_second']:.0f} clips/s, waiting {line['waiting']:.0%}"
                )
                self.check_gradients(meter, done)
            progress.update(done)
            epoch_ends = done % schedule.steps_per_epoch == 0
            if last or (epoch_ends and done // schedule.steps_per_epoch % recipe.run.save_every == 0):
                self.save(done, evaluated=False)
                if stop and not last:
                    raise InterruptedRunError
                self.evaluate(done)
            elif stop:
                self.save(done)
            if stop and not last:
                raise InterruptedRunError

    def check_gradients(self, meter: StepMeter, done: int) -> None:
        """Raise an error if the run is diverging, or is so short that no step changed the weights."""
        count = meter.non_finite_steps_in_a_row
        if count >= _MAX_NON_FINITE_STEPS or (done == self.schedule.steps and count == done):
            raise DatasetError(
                f"{self.out}: no finite gradient in the last {count} steps, up to step {done}; "
                "try a lower optim.base_learning_rate. The last checkpoint was saved before them."
            )

    def step(self, micro_batches: Iterator[Batch], step: int, meter: StepMeter) -> None:
        """Do one step; if a loader or another process has died, save the steps done so far before the error is raised."""
        try:
            loss, norm = self.accumulate_gradient(micro_batches, step, meter)
        except (DatasetError, RuntimeError):
            if step > 0:
                with contextlib.suppress(RuntimeError):
                    self.save(step)
            raise
        self.update(loss, norm, meter)

    def accumulate_gradient(self, micro_batches: Iterator[Batch], step: int, meter: StepMeter) -> tuple[Tensor, Tensor]:
        """Compute the gradient of a step, clipped, over its micro-batches; return the loss and the norm before clipping."""
        recipe, distributed, count = self.task.recipe, self.distributed, self.schedule.accumulation_steps
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=distributed.device)
        for k in range(count):
            before = time.perf_counter()
            micro_batch = next(micro_batches)
            meter.waited += time.perf_counter() - before
            for message in filter(None, micro_batch.pop("read_error")):
                self.read_errors.setdefault(message, False)
            batch = {name: value.to(distributed.device, non_blocking=True) for name, value in micro_batch.items()}
            skip_sync = k < count - 1 and isinstance(self.parallel, DistributedDataParallel)
            with self.parallel.no_sync() if skip_sync else nullcontext():  # type: ignore[operator]
                with (
                    seeded(self.task.seed, step, distributed.rank, k),
                    autocast(recipe, distributed.device),
                ):
                    loss = self.task.loss(self.parallel, batch)
                (loss / count).backward()  # type: ignore[no-untyped-call]
            total += loss.detach() / count
        gradients = [p.grad for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if recipe.optim.clip_norm:
            torch._foreach_mul_(gradients, (recipe.optim.clip_norm / norm).clamp(max=1.0))
        return total, norm

    def update(self, loss: Tensor, norm: Tensor, meter: StepMeter) -> None:
        """Update the weights; a step whose gradient is not finite changes nothing."""
        non_finite = (~norm.isfinite()).float()
        self.optimizer.found_inf = non_finite  # type: ignore[attr-defined]  # the fused kernels then skip weights and moments
        self.optimizer.step()
        meter.add(loss, norm, non_finite)

    def report_read_errors(self) -> None:
        """Report each clip that could not be read, on any process, once."""
        for message in self.distributed.gather([message for message, reported in self.read_errors.items() if not reported]):
            if not self.read_errors.get(message):
                self.read_errors[message] = True
                self.notify(f"{message} Another clip replaces it ({sum(self.read_errors.values())} so far).")

    def evaluate(self, step: int) -> None:
        """Evaluate the model, which has been saved before, and save it again with its metrics."""
        self.model.eval()
        try:
            with torch.no_grad(), autocast(self.task.recipe, self.distributed.device):
                metrics = self.task.evaluate(self.model, self.distributed, self.workers)
        except RuntimeError:
            if interrupted():  # another process stopped first
                raise InterruptedRunError from None
            raise
        self.model.train()
        if metrics:
            self.write_log({"step": step, "epoch": step / self.schedule.steps_per_epoch, **metrics})
        self.metrics = metrics
        self.save(step)

    def write_log(self, line: dict[str, float]) -> None:
        """Append a line to the log, on the main process."""
        if self.log:
            self.log.write(line)
