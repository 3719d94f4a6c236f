"""The training loop: one process or many, resumed exactly.

Nothing random is carried from step to step: clips are seeded by (seed, epoch, index), what a step draws by (seed, step, rank).
So weights, optimizer and the number of steps are the whole state of a run.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from synvid.errors import ConfigurationError, DatasetError
from synvid.work.disk import named_errors, write_whole
from synvid.work.interrupt import Cancelled, interrupted, postponed
from synvid.work.locks import hold
from synvid.work.progress import Progress
from synvid_train.checkpoint import Checkpoint, load_training, save_training, save_weights
from synvid_train.clips import Schedule, TrainingClips, living_loaders, load
from synvid_train.optim import learning_rate, make_optimizer, set_learning_rate
from synvid_train.recipe import Recipe
from synvid_train.videomae import SIZES, state_of
from synvid_train.views import seeded

__all__ = ["FILES", "InterruptedRunError", "Job", "World", "autocast", "train"]

Batch = dict[str, Any]

#: Steps in a row without a finite gradient after which a run ends.
_PATIENCE = 20


class InterruptedRunError(Exception):
    """Ctrl-C or termination came; the run is saved."""


# ---- Processes ----------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class World:
    """Which of how many processes this is, and its device.

    Attributes:
        rank, size: of this process, and how many there are.
        device: it computes on.
    """

    rank: int
    size: int
    device: torch.device

    @classmethod
    def join(cls, device: str | None = None, talk: Callable[[str], None] = lambda _: None) -> World:
        """Join the processes that torchrun started, if it did, or another launcher that sets the same variables.

        Args:
            device: a name of torch's; None: cuda if there is one.
            talk: says a sentence where others are waited for.

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
            store = _meet(rank, size, talk)
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


def _meet(rank: int, size: int, talk: Callable[[str], None]) -> Any:
    """The store through which the processes of a run find one another; waits until all are there."""
    where = f"MASTER_ADDR {os.environ['MASTER_ADDR']}, MASTER_PORT {os.environ['MASTER_PORT']}"
    if not dist.is_torchelastic_launched():  # torchrun starts all of them
        talk(f"Rank {rank} of {size} waits for the other processes, at most {_MEETING.seconds // 60} minutes ({where}).")
    try:
        store, *_ = next(rendezvous("env://", rank, size, timeout=_MEETING))
    except (RuntimeError, ValueError) as error:  # torch's errors of the network are RuntimeErrors
        why = str(error).partition("\n")[0][:200].rstrip(".")
        raise ConfigurationError(
            f"the {size} processes of WORLD_SIZE do not find one another by {where}: {why}; start all of them, with torchrun, "
            "or unset WORLD_SIZE to train in one process."
        ) from None
    return store


# ---- A run --------------------------------------------------------------------------------------------------------
@dataclass
class Job:
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
    recipe: Recipe
    model: nn.Module
    clips: TrainingClips
    loss: Callable[[nn.Module, Batch], Tensor]
    evaluate: Callable[[nn.Module, World, int], dict[str, float]]
    seed: int = 0
    fresh: bool = False
    classes: tuple[str, ...] = ()
    origin: str = ""
    pairs: bool = False


def train(
    job: Job,
    out: Path,
    world: World,
    workers: int = 0,
    progress: Progress | None = None,
    talk: Callable[[str], None] = lambda _: None,
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
        talk: says a sentence.
        overwrite: remove another run that is in the folder, once everything has been found to be right; the same run is
            gone on with.

    Raises:
        InterruptedRunError: Ctrl-C or termination; the run is saved.
        DatasetError: the loss is not finite any more, the disk is full, or clips cannot be loaded.
        ConfigurationError: the folder holds another run.
    """
    progress = progress or Progress()
    with occupied(out, world):  # first: a refusal finds no collective of a model under way
        run = _Run(job, out, world, workers, talk)
        run.try_first_clips()
        if overwrite:
            run.remove_other()
        start, evaluated = run.resume()
        progress.start(run.schedule.steps, start, "step")
        try:
            with postponed(), living_loaders():
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


def autocast(recipe: Recipe, device: torch.device) -> torch.autocast:
    """The precision that a recipe asks for, in training and in every evaluation."""
    return torch.autocast(device.type, torch.bfloat16, enabled=recipe.run.precision == "bf16")


#: All that a run writes into its folder.
FILES = ("recipe.yaml", "last.pt", "last.safetensors", "log.jsonl", "curves.png", "tensorboard/events.out.tfevents.*")
_UNFINISHED = re.compile(r"\.(recipe\.yaml|last\.pt|last\.safetensors|log\.jsonl|curves\.png)\.[0-9a-f]{12}")
_LOCK = "run.lock"
#: Where a network file system shows new files late, other machines are given so many seconds.
_VISIBLE = 20.0


@contextlib.contextmanager
def occupied(out: Path, world: World) -> Iterator[None]:
    """Keep other trainings out of a folder, and see that all processes mean the same folder.

    Raises:
        ConfigurationError: another run works in it, or not all processes see it.
        DatasetError: the file system refuses.
    """
    with contextlib.ExitStack() as stack:
        answer: tuple[str, str] = ("", "")
        if world.first:
            try:
                stack.callback(_remove_empty, [folder for folder in (out, *out.parents) if not folder.exists()])
                out.mkdir(parents=True, exist_ok=True)
                held = stack.enter_context(hold(out / _LOCK))
                answer = ("held", (out / _LOCK).read_text()) if held else ("busy", "")
            except OSError as error:
                answer = ("refused", f"{error.filename or out}: {error.strerror or error}.")
        state, word = world.from_first(answer)
        if state == "refused":
            raise DatasetError(word)
        if state == "busy":
            raise ConfigurationError(f"{out}: another run is working here; end it first, or give another --out.")
        blind = world.gather([] if _sees(out / _LOCK, word, world) else [str(world.rank)])
        if blind:
            raise ConfigurationError(
                f"{out}: is not the same folder for all processes (rank {', '.join(blind)} sees another); "
                "give a folder that all machines share as --out."
            )
        yield


def _remove_empty(folders: list[Path]) -> None:
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()


def _sees(path: Path, word: str, world: World) -> bool:
    """Whether a lock file of the first process is there for this one, too."""
    end = time.monotonic() + (0 if world.on_this_machine == world.size else _VISIBLE)
    while True:
        with contextlib.suppress(OSError):
            if path.read_text() == word:
                return True
        if time.monotonic() >= end:
            return False
        time.sleep(0.5)


class _Run:
    def __init__(self, job: Job, out: Path, world: World, workers: int, talk: Callable[[str], None]) -> None:
        self.job, self.out, self.world, self.workers, self.talk = job, out, world, workers, talk
        recipe, source = job.recipe, job.clips.source
        self.schedule = Schedule(
            len(source), recipe.data.samples_per_clip, recipe.optim.batch_size, recipe.run.device_batch, recipe.optim.epochs,
            job.seed, job.fresh, world.rank, world.size, job.pairs,
        )  # fmt: skip
        self.model = job.model.to(world.device)
        if recipe.run.compile:
            for module in self.model.modules():
                if type(module).__name__ == "Block":
                    module.compile()
        self.optimizer = make_optimizer(self.model, recipe.optim, SIZES[recipe.model.size][1])
        self.parallel: nn.Module = DistributedDataParallel(self.model) if world.size > 1 else self.model
        self.log = _Log(out, talk) if world.first else None
        self.unread: dict[str, bool] = {}  # sentence: whether it has been said
        self.metrics: dict[str, float] = {}

    # ---- State ----
    def try_first_clips(self) -> None:
        """Load clips as the first step does, so that what is wrong with the data is known before anything is written."""
        if self.world.first:
            for key in next(iter(self.schedule.pieces())):
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
        with named_errors(self.out):
            for found in [found for pattern in FILES for found in self.out.glob(pattern)]:
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
                if _UNFINISHED.fullmatch(left.name):  # of a save that was killed
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
            self.talk(f"{self.out}: going on after step {start:,} of {self.schedule.steps:,}.")
        if self.log:
            with named_errors(self.out):
                write_whole(self.out / "recipe.yaml", self.job.recipe.to_yaml())
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
        weights = {name: value.detach().cpu() for name, value in state_of(self.model).items()}
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
        pieces = load(self.job.clips, self.schedule.pieces(start), self.workers, self.world.device, talk=self.talk)
        with contextlib.closing(pieces):  # whatever happens, no process that loads clips is left
            self.take(pieces, start, progress)

    def take(self, pieces: Iterator[Batch], start: int, progress: Progress) -> None:
        """The steps from `start` on, with the log and the checkpoints between them."""
        recipe, schedule, world = self.job.recipe, self.schedule, self.world
        meter = _Meter(world.device)
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

    def step(self, pieces: Iterator[Batch], step: int, meter: _Meter) -> None:
        """One update of the weights. If there can be none, since a loader or another process died, what is done is saved."""
        try:
            loss, norm = self.gradient(pieces, step, meter)
        except (DatasetError, RuntimeError):
            if step > 0:
                with contextlib.suppress(RuntimeError):
                    self.save(step)
            raise
        self.update(loss, norm, meter)

    def gradient(self, pieces: Iterator[Batch], step: int, meter: _Meter) -> tuple[Tensor, Tensor]:
        """The gradient of a step; returns its loss and norm."""
        recipe, world, count = self.job.recipe, self.world, self.schedule.accumulate
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=world.device)
        for k in range(count):
            waited = time.perf_counter()
            piece = next(pieces)
            meter.waited += time.perf_counter() - waited
            for sentence in filter(None, piece.pop("unread")):
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

    def update(self, loss: Tensor, norm: Tensor, meter: _Meter) -> None:
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
                self.talk(f"{sentence} Another clip takes its place ({sum(self.unread.values())} so far).")

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


class _Meter:
    """Sums on the device, read now and then: a step never waits for its own figures."""

    def __init__(self, device: torch.device) -> None:
        self.sums = torch.zeros(3, dtype=torch.float64, device=device)
        self.count, self.waited, self.began, self.broken = 0, 0.0, time.perf_counter(), 0

    def add(self, loss: Tensor, norm: Tensor, bad: Tensor) -> None:
        """A step's loss, gradient norm, and whether they are of no use."""
        self.sums += torch.stack([loss.double() * (1 - bad), norm.double() * (1 - bad), bad.double()]).nan_to_num(0, 0, 0)
        self.count += 1

    def read(self, world: World, batch_size: int) -> dict[str, float]:
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


class _Log:
    """`log.jsonl`, and TensorBoard where it is installed."""

    def __init__(self, out: Path, talk: Callable[[str], None] = lambda _: None) -> None:
        self.path, self.talk = out / "log.jsonl", talk
        self.board: Any = None

    def cut(self, step: int, evaluated: bool) -> None:
        """Forget lines of steps that are done again, and figures of the last one if they are measured again."""
        self.board = self._open_board(step)
        if self.path.is_file():
            lines = [line for line in read_log(self.path) if line["step"] <= step]
            if not evaluated:
                lines = [line for line in lines if line["step"] < step or "loss" in line]
            write_whole(self.path, "".join(json.dumps(line) + "\n" for line in lines))

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
                self.talk(f"TensorBoard is installed but cannot be used ({why}); log.jsonl and curves.png have its curves.")
            return None

    def write(self, line: dict[str, float]) -> None:
        """Add a line."""
        finite = {key: value if math.isfinite(value) else None for key, value in line.items()}
        with named_errors(self.path), self.path.open("a", encoding="utf-8") as file:
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
