"""The training loop: one process or many, resumed exactly.

Nothing random is carried from step to step: clips are seeded by (seed, epoch, index), what a step draws by (seed, step, rank).
So weights, optimizer and the number of steps are the whole state of a run.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from synvid.errors import ConfigurationError, DatasetError
from synvid.os_errors import wrap_os_errors
from synvid.runtime.progress import Progress
from synvid.runtime.signals import Cancelled, defer_signals, interrupted
from synvid.storage.atomic_io import atomic_write
from synvid_train.data.loader import catch_worker_death, load_batches
from synvid_train.data.samples import TrainingClips
from synvid_train.data.schedule import Schedule
from synvid_train.data.transforms import seeded
from synvid_train.distributed import DistributedContext, autocast
from synvid_train.model.checkpoint import Checkpoint, load_training, save_training, save_weights
from synvid_train.model.videomae import SIZES, unwrapped_state_dict
from synvid_train.train.optim import learning_rate, make_optimizer, set_learning_rate
from synvid_train.train.run_folder import RUN_FILES, UNFINISHED, lock_run_folder
from synvid_train.train.run_log import RunLog, StepMeter
from synvid_train.training_recipe import TrainingRecipe

__all__ = ["InterruptedRunError", "TrainingTask", "train"]


Batch = dict[str, Any]

#: Steps in a row without a finite gradient after which a run ends.
_PATIENCE = 20


class InterruptedRunError(Exception):
    """Ctrl-C or termination came; the run is saved."""


# ---- A run --------------------------------------------------------------------------------------------------------
@dataclass
class TrainingTask:
    """What is trained, on what, and how.

    Attributes:
        kind: pretraining or classifier.
        recipe: all settings.
        model: on the CPU.
        clips: what samples are made of.
        loss: the mean loss of a batch on the device.
        evaluate: figures of the model, asked for after some epochs on all processes, with the number of loaders; may be {}.
        seed: of order, views, masks and all that a step draws.
        fresh: clips of an epoch are others than those of the one before.
        classes: names of the labels.
        origin: digest of the weights that the model starts from.
        pairs: the loss mixes clips in pairs.
    """

    kind: str
    recipe: TrainingRecipe
    model: nn.Module
    clips: TrainingClips
    loss: Callable[[nn.Module, Batch], Tensor]
    evaluate: Callable[[nn.Module, DistributedContext, int], dict[str, float]]
    seed: int = 0
    fresh: bool = False
    classes: tuple[str, ...] = ()
    origin: str = ""
    pairs: bool = False


def train(
    job: TrainingTask,
    out: Path,
    world: DistributedContext,
    workers: int = 0,
    progress: Progress | None = None,
    notify: Callable[[str], None] = lambda _: None,
    overwrite: bool = False,
) -> None:
    """Train, or go on where the run in `out` stopped.

    Writes there `recipe.yaml`, `log.jsonl` (a line every so many steps, one an epoch), `last.pt` (all that resuming needs) and
    `last.safetensors` (weights, settings and figures).

    Args:
        job: what is to be done.
        out: folder of the run.
        world: processes.
        workers: that load clips.
        progress: told of steps.
        notify: says a sentence.
        overwrite: remove another run that is in the folder, once everything has been found to be right; the same run is
            gone on with.

    Raises:
        InterruptedRunError: Ctrl-C or termination; the run is saved.
        DatasetError: the loss is not finite any more, the disk is full, or clips cannot be loaded.
        ConfigurationError: the folder holds another run.
    """
    progress = progress or Progress()
    with lock_run_folder(out, world):  # first: a refusal finds no collective of a model under way
        run = _Run(job, out, world, workers, notify)
        run.try_first_clips()
        if overwrite:
            run.remove_other()
        start, evaluated = run.resume()
        progress.start(run.schedule.steps, start, "step")
        try:
            with defer_signals(), catch_worker_death():
                run.steps(start, evaluated, progress)
        except Cancelled:
            raise InterruptedRunError from None
        except RuntimeError as error:
            if world.size == 1 or not any(words in str(error).lower() for words in _LEFT):
                raise
            if interrupted():
                raise InterruptedRunError from None
            raise DatasetError(
                f"{out}: rank {world.rank} stops, since another process of this run has ended; the checkpoint is whole, and "
                "the same command goes on from it."
            ) from error
        finally:
            progress.finish()


#: Of what gloo and NCCL say when another process is gone.
_LEFT = (
    "connection closed",
    "connection reset",
    "closed by peer",
    "connection refused",
    "broken pipe",
    "remote process exited",
)


class _Run:
    def __init__(
        self, job: TrainingTask, out: Path, world: DistributedContext, workers: int, notify: Callable[[str], None]
    ) -> None:
        self.job, self.out, self.world, self.workers, self.notify = job, out, world, workers, notify
        recipe, source = job.recipe, job.clips.source
        self.schedule = Schedule(
            len(source), recipe.data.samples_per_clip, recipe.optim.batch_size, recipe.run.device_batch_size, recipe.optim.epochs,
            job.seed, job.fresh, world.rank, world.size, job.pairs,
        )  # fmt: skip
        self.model = job.model.to(world.device)
        if recipe.run.compile:
            for module in self.model.modules():
                if type(module).__name__ == "Block":
                    module.compile()
        self.optimizer = make_optimizer(self.model, recipe.optim, SIZES[recipe.model.size][1])
        self.parallel: nn.Module = DistributedDataParallel(self.model) if world.size > 1 else self.model
        self.log = RunLog(out, notify) if world.first else None
        self.unread: dict[str, bool] = {}  # sentence: whether it has been said
        self.metrics: dict[str, float] = {}

    # ---- State ----
    def try_first_clips(self) -> None:
        """Load clips as the first step does, so that what is wrong with the data is known before anything is written."""
        if self.world.first:
            for key in next(iter(self.schedule.micro_batches())):
                self.job.clips[key]

    def remove_other(self) -> None:
        """Remove the files of another run; those of this one, and of anybody else, stay."""
        path = self.out / "last.pt"
        if not self.world.first or not (self.out / "recipe.yaml").is_file():  # no run of ours
            return
        if path.is_file():
            with contextlib.suppress(ConfigurationError):  # damaged: not one to go on with
                _, _, step, extra = load_training(path)
                if not self.differences(extra.get("identity", {}), step):
                    return
        with wrap_os_errors(self.out):
            for found in [found for pattern in RUN_FILES for found in self.out.glob(pattern)]:
                found.unlink()
            with contextlib.suppress(OSError):  # not there, or not empty
                (self.out / "tensorboard").rmdir()

    def resume(self) -> tuple[int, bool]:
        """Take up the run in the folder, as the first process finds it.

        Returns:
            The step to go on from, 0 of a new run; whether the model has been evaluated after the last one.
        """
        path = self.out / "last.pt"
        start, evaluated = 0, True
        if self.world.first:
            for left in self.out.glob(".*"):
                if UNFINISHED.fullmatch(left.name):  # of a save that was killed
                    left.unlink(missing_ok=True)
        if self.world.from_first(path.is_file()):
            checkpoint, optimizer, start, extra = load_training(path)
            steps = self.world.gather([str(start)])
            if len(set(steps)) > 1:
                raise ConfigurationError(f"{path}: the processes read it at different steps, {', '.join(steps)}; start again.")
            differences = self.differences(extra.get("identity", {}), start)
            if differences:
                raise ConfigurationError(
                    f"{self.out} holds a run with other settings ({', '.join(differences)}); {self.way_out(differences)}."
                )
            self.metrics, evaluated = checkpoint.metrics, bool(extra.get("evaluated", True))
            self.model.load_state_dict(checkpoint.weights)
            self.optimizer.load_state_dict(optimizer)
            self.notify(f"{self.out}: going on after step {start:,} of {self.schedule.steps:,}.")
        if self.log:
            with wrap_os_errors(self.out):
                atomic_write(self.out / "recipe.yaml", self.job.recipe.to_yaml())
            self.log.cut(start, evaluated)
        return start, evaluated

    def identity(self) -> dict[str, Any]:
        """What may not change between two parts of one run; how the work is done may."""
        settings = {
            key: value for key, value in self.job.recipe.to_dict().items() if key not in ("name", "description", "run")
        }
        settings["run"] = {"precision": self.job.recipe.run.precision}
        return {
            **settings,
            "kind": self.job.kind,
            "weights that learn": sum(p.numel() for p in self.model.parameters() if p.requires_grad),
            "seed": self.job.seed,
            "clips": self.job.clips.source.identity,
            "new clips each epoch": self.job.fresh,
            "origin": self.job.origin,
        }

    def differences(self, held: dict[str, Any], step: int) -> list[str]:
        """How the run in the folder is another than this one, in words; none where it can go on.

        The number of epochs may be another where all steps so far had the learning rates that they would have had with it.

        Args:
            held: its identity.
            step: how many steps it has done.
        """
        here, optim = self.identity(), held.get("optim", {})
        epochs = optim.get("epochs", 0)
        if self.same_rates(epochs, step):
            if step > self.schedule.steps:
                return [f"{step:,} steps are done there, {self.schedule.steps:,} are all here"]
            held = {**held, "optim": {**optim, "epochs": here["optim"]["epochs"]}}
        return _differences(held, here)

    def same_rates(self, epochs: int, step: int) -> bool:
        """Whether the steps before `step` have in a run of so many epochs the learning rates that they have here."""
        optim, schedule = self.job.recipe.optim, self.schedule
        per = schedule.steps_per_epoch
        return epochs == optim.epochs or all(
            learning_rate(optim, done, epochs * per, per) == learning_rate(optim, done, schedule.steps, per)
            for done in range(step)
        )

    def way_out(self, differences: list[str]) -> str:
        """What may be done where the folder holds another run."""
        if len(differences) > 1 or not differences[0].startswith("optim.epochs"):
            return "give another --out, or --overwrite"
        encoder = f", with --checkpoint {self.out} from the encoder of this one" if self.job.kind == "classifier" else ""
        return (
            "its learning rate falls to the last of its epochs, so with more or fewer it would be another run: go on with as "
            f"many as there, or begin one in another --out{encoder}"
        )

    def save(self, step: int, evaluated: bool = True) -> None:
        """Write both files of a checkpoint; whoever is killed, the one before is whole.

        Args:
            step: how many have been done.
            evaluated: False if figures of this step are still to be measured.
        """
        if not self.world.first:
            return
        weights = {name: value.detach().cpu() for name, value in unwrapped_state_dict(self.model).items()}
        checkpoint = Checkpoint(
            self.job.clips.architecture, self.job.kind, weights, self.job.classes, self.metrics, self.job.recipe.to_dict()
        )
        extra = {"identity": self.identity(), "evaluated": evaluated}
        save_training(self.out / "last.pt", checkpoint, self.optimizer.state_dict(), step, extra)
        save_weights(self.out / "last.safetensors", checkpoint)

    # ---- Steps ----
    def steps(self, start: int, evaluated: bool, progress: Progress) -> None:
        """All that is left of the run."""
        if not evaluated:
            self.evaluate(start)
        self.model.train()
        batches = self.schedule.micro_batches(start)
        pieces = load_batches(self.job.clips, batches, self.workers, self.world.device, notify=self.notify)
        with contextlib.closing(pieces):  # whatever happens, no process that loads clips is left
            self.take(pieces, start, progress)

    def take(self, pieces: Iterator[Batch], start: int, progress: Progress) -> None:
        """The steps from `start` on, with the log and the checkpoints between them."""
        recipe, schedule, world = self.job.recipe, self.schedule, self.world
        meter = StepMeter(world.device)
        for step in range(start, schedule.steps):
            rate = learning_rate(recipe.optim, step, schedule.steps, schedule.steps_per_epoch)
            set_learning_rate(self.optimizer.param_groups, rate)
            self.step(pieces, step, meter)
            done = step + 1
            last = done == schedule.steps
            stop = interrupted() if world.size == 1 else False
            if done % recipe.run.log_every == 0 or last or stop:
                line = meter.read(world, recipe.optim.batch_size)
                self.name_unread()
                if world.size > 1:  # all stop at the same step
                    stop = bool(world.sum(torch.tensor([float(interrupted())], device=world.device)))
                self.write({"step": done, "epoch": done / schedule.steps_per_epoch, "learning_rate": rate, **line})
                progress.note(
                    f"loss {line['loss']:.4f}, {line['clips_per_second']:.0f} clips/s, waiting {line['waiting']:.0%}"
                )
                if meter.broken >= _PATIENCE or (last and meter.broken == done):  # or a short run that changed nothing
                    raise DatasetError(
                        f"{self.out}: no finite gradient in the last {meter.broken} steps, up to step {done}; "
                        "a lower optim.base_learning_rate may help, the last checkpoint is from before."
                    )
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

    def step(self, pieces: Iterator[Batch], step: int, meter: StepMeter) -> None:
        """One update of the weights. If there can be none, since a loader or another process died, what is done is saved."""
        try:
            loss, norm = self.gradient(pieces, step, meter)
        except (DatasetError, RuntimeError):
            if step > 0:
                with contextlib.suppress(RuntimeError):
                    self.save(step)
            raise
        self.update(loss, norm, meter)

    def gradient(self, pieces: Iterator[Batch], step: int, meter: StepMeter) -> tuple[Tensor, Tensor]:
        """The gradient of a step; returns its loss and norm."""
        recipe, world, count = self.job.recipe, self.world, self.schedule.accumulation_steps
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=world.device)
        for k in range(count):
            waited = time.perf_counter()
            piece = next(pieces)
            meter.waited += time.perf_counter() - waited
            for sentence in filter(None, piece.pop("read_error")):
                self.unread.setdefault(sentence, False)
            batch = {name: value.to(world.device, non_blocking=True) for name, value in piece.items()}
            quiet = k < count - 1 and isinstance(self.parallel, DistributedDataParallel)
            with self.parallel.no_sync() if quiet else nullcontext():  # type: ignore[operator]
                with (
                    seeded(self.job.seed, step, world.rank, k),
                    autocast(recipe, world.device),
                ):
                    loss = self.job.loss(self.parallel, batch)
                (loss / count).backward()  # type: ignore[no-untyped-call]
            total += loss.detach() / count
        gradients = [p.grad for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if recipe.optim.clip_norm:
            torch._foreach_mul_(gradients, (recipe.optim.clip_norm / norm).clamp(max=1.0))
        return total, norm

    def update(self, loss: Tensor, norm: Tensor, meter: StepMeter) -> None:
        """One update of the weights; none where the gradient is not finite."""
        bad = (~norm.isfinite()).float()
        self.optimizer.found_inf = bad  # type: ignore[attr-defined]  # the fused kernels then leave weights and moments alone
        self.optimizer.step()
        meter.add(loss, norm, bad)

    def name_unread(self) -> None:
        """Say once of each clip that it could not be read, whichever process met it."""
        for sentence in self.world.gather([sentence for sentence, said in self.unread.items() if not said]):
            if not self.unread.get(sentence):
                self.unread[sentence] = True
                self.notify(f"{sentence} Another clip takes its place ({sum(self.unread.values())} so far).")

    def evaluate(self, step: int) -> None:
        """Measure figures of the model as it is, which has been saved, and save them with it."""
        self.model.eval()
        try:
            with torch.no_grad(), autocast(self.job.recipe, self.world.device):
                figures = self.job.evaluate(self.model, self.world, self.workers)
        except RuntimeError:
            if interrupted():  # another process came to its end first
                raise InterruptedRunError from None
            raise
        self.model.train()
        if figures:
            self.write({"step": step, "epoch": step / self.schedule.steps_per_epoch, **figures})
        self.metrics = figures
        self.save(step)

    def write(self, line: dict[str, float]) -> None:
        """Add a line to the log."""
        if self.log:
            self.log.write(line)


def _differences(there: dict[str, Any], here: dict[str, Any]) -> list[str]:
    """Where two nested mappings differ, in words."""
    found = []
    for key in sorted({*there, *here}):
        a, b = there.get(key), here.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += [f"{key}.{words}" for words in _differences(a, b)]
        elif a != b:
            found.append(_HASHED.get(key) or f"{key} is {a} there, {b} here")
    return found


#: What differs where hashes do.
_HASHED = {"clips": "other clips, names or labels", "origin": "other weights to start from"}
