"""Sequences of disturbed trainings of one or two ranks: operations on the folder of a run, and the final check."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import sys
import time
from collections import Counter
from pathlib import Path

import torch
from faults_process import SIGNALS, Process, live_processes, start

import synvid
import synvid_train.eval.result_plots
import synvid_train.eval.visualize  # everything is imported before processes are forked
import synvid_train.train.pretrain
import synvid_train.train.trainer  # noqa: F401
from synvid_train.cli.main import main
from synvid_train.model.checkpoint import load_training
from synvid_train.train.run_log import read_log

torch.set_num_threads(1)
SETTINGS = [
    "model.image_size=16", "model.patch_size=8", "model.num_frames=4", "model.decoder_depth=1", "optim.batch_size=4",
    "optim.epochs=16", "optim.warmup_epochs=1", "run.log_every=1", "run.save_every=2", "run.device_batch_size=2",
]  # fmt: skip
CLIPS, STEPS = 12, 48
TINY = {"video.width": 32, "video.height": 32, "objects.count": 3, "video.num_frames_range": [8, 12]}
#: Maximum difference of the weights of two ranks from those of the undisturbed run.
CLOSE = 1e-6
STOPS = ("kill -9", "SIGTERM group", "SIGTERM main", "SIGINT group")


# ---- Two ranks --------------------------------------------------------------------------------------------------------
class TwoRanks:
    """Starts two ranks in one process group, as `srun` does: a signal to the group reaches both and their loaders."""

    name = "two ranks"

    def __call__(self, args: list[str], prog_name: str) -> None:
        """Start both ranks, wait for them, and exit with the larger exit code."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        world = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        pids = []
        for rank in range(2):
            pid = os.fork()
            if pid == 0:
                os.environ.update(world | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
                main(args=args, prog_name=prog_name)
                raise SystemExit(0)
            pids.append(pid)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        raise SystemExit(max(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids))


class TorchRun:
    """Starts ranks with torchrun."""

    name = "torchrun"

    def __call__(self, args: list[str], prog_name: str) -> None:  # noqa: ARG002
        """Replace this process by torchrun."""
        line = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m", "synvid_train", *args]
        os.execv(sys.executable, [sys.executable, *line])  # noqa: S606


def prepare(root: Path) -> None:
    """Write the preset."""
    path = root / "clips.yaml"
    if not path.exists():
        path.write_text(synvid.load_preset("moving_circles", TINY).to_yaml())


class TrainScenario:
    """A sequence of disturbed trainings in one folder.

    Attributes:
        out: folder of the run.
        ranks: number of ranks, 1 or 2.
        faults: kind of fault → number of injections.
        failures: failures that were found.
        done: operations, in order.
    """

    def __init__(self, root: Path, folder: Path, rng: random.Random) -> None:
        prepare(root)
        self.root, self.folder, self.out, self.rng = root, folder, folder / "run", rng
        self.ranks = 2 if rng.random() < 0.4 else 1
        self.main = TwoRanks() if self.ranks == 2 else main
        self.faults: Counter[str] = Counter()
        self.failures: list[str] = []
        self.done: list[str] = [f"{self.ranks} rank{'s' * (self.ranks > 1)}"]
        self.user_files: dict[str, bytes] = {}
        self.groups: set[int] = set()
        self.log_before = b""

    def command(self, out: Path, *more: str, preset: str = "clips.yaml") -> list[str]:
        """Return the arguments of the training command."""
        args = ["pretrain", "--preset", str(self.root / preset), "--clips", str(CLIPS), "--recipe", "laptop_pretrain"]
        args += ["--device", "cpu", "--workers", str(self.rng.choice((0, 1, 2))), "--out", str(out)]
        for setting in SETTINGS:
            args += ["--set", setting]
        return [*args, *more]

    def start(self, args: list[str], conditions: dict[str, int] | None = None, how: object = None) -> Process:
        """Start a command."""
        self.faults.update(list(conditions or {}))
        self.log_before = self.log()
        process = start(how or self.main, args, conditions)
        self.groups.add(process.pid)
        return process

    def finish(self, process: Process, codes: tuple[int, ...] = (0, 1, 2)) -> Process:
        """Wait for a command, check how it ended, and that no process is still running."""
        process.finish()
        process.write_log(self.folder)
        wrong = process.problem(codes)
        if wrong:
            self.failures.append(f"pretrain: {wrong}")
        if live_processes(self.groups):
            self.failures.append("processes are still running")
        return process

    def stop(self, process: Process, name: str, seconds: float) -> None:
        """Send a signal to a command at a random step."""
        target = self.rng.randrange(STEPS) * self.rng.random()
        deadline = time.monotonic() + seconds
        while not process.poll() and time.monotonic() < deadline and self.last_logged() < target:
            time.sleep(0.003)
        if process.poll():
            return
        if self.ranks == 2 and name == "SIGTERM main":
            name = "SIGTERM group"
        process.send(*SIGNALS[name])
        self.faults[name] += 1
        self.done[-1] += f" {name}"

    def log(self) -> bytes:
        """Return the content of the log."""
        with contextlib.suppress(FileNotFoundError):
            return (self.out / "log.jsonl").read_bytes()
        return b""

    def last_logged(self) -> int:
        """Return the last step in the log; 0 if there is none."""
        try:
            return max((int(line["step"]) for line in read_log(self.out / "log.jsonl")), default=0)
        except (OSError, ValueError):
            return 0

    def saved(self) -> int:
        """Return the step of the checkpoint; 0 if there is none."""
        return int(load_training(self.out / "last.pt")[2]) if (self.out / "last.pt").is_file() else 0

    def reference(self) -> Path:
        """Return the folder of the undisturbed run, which is trained on first use."""
        place = self.root / "references" / f"run-{self.ranks}"
        if not (place / "last.pt").exists():
            shutil.rmtree(place, ignore_errors=True)
            process = start(self.main, self.command(place))
            process.finish()
            if process.code != 0:
                raise SystemExit(f"an undisturbed training failed: {process.stderr}")
        return place

    # ---- Sequence -----------------------------------------------------------------------------------------------------
    def run(self) -> None:
        """Perform some operations and the final check."""
        self.reference()
        for step in range(self.rng.randrange(2, 5)):
            operation = self.rng.choice(OPERATIONS if step else (train, train, twice, overwrite))
            self.done.append(operation.__name__)
            operation(self)
        self.check()

    def check(self) -> None:
        """Check that the same command, undisturbed, gives the weights and the log of the undisturbed run."""
        final = self.finish(self.start(self.command(self.out)))
        if final.code != 0:
            self.failures.append(f"the last training fails: {final.stderr.strip()[-150:]}")
            return
        there, whole = (load_training(place / "last.pt")[0].weights for place in (self.out, self.reference()))
        distance = max(float((there[name] - whole[name]).abs().max()) for name in whole)
        if there.keys() != whole.keys() or distance > (CLOSE if self.ranks == 2 else 0):
            self.failures.append(f"weights differ from the undisturbed run's: by {distance:.2g}")
        ours, theirs = (read_log(place / "log.jsonl") for place in (self.out, self.reference()))
        kinds = [[(line["step"], "loss" in line) for line in lines] for lines in (ours, theirs)]
        if kinds[0] != kinds[1]:
            self.failures.append(f"log.jsonl has not every step once: {_first_difference(*kinds)}")
        elif self.ranks == 1 and [line.get("loss") for line in ours] != [line.get("loss") for line in theirs]:
            self.failures.append("losses differ from the undisturbed run's")
        for name, data in self.user_files.items():
            if not (self.out / name).is_file() or (self.out / name).read_bytes() != data:
                self.failures.append("a file of the user is missing or changed")
        if list(self.out.glob(".last.*")):
            self.failures.append("temporary checkpoints are left")


def _first_difference(ours: list[tuple[int, bool]], theirs: list[tuple[int, bool]]) -> str:
    pairs = [f"{actual} for {expected}" for actual, expected in zip(ours, theirs, strict=False) if actual != expected]
    return pairs[0] if pairs else f"{len(ours)} lines for {len(theirs)}"


# ---- Operations -----------------------------------------------------------------------------------------------------
def train(scenario: TrainScenario) -> None:
    """Train until a signal; after SIGINT and SIGTERM all steps must be saved."""
    name = scenario.rng.choice(STOPS)
    process = scenario.start(scenario.command(scenario.out))
    scenario.stop(process, name, 30)
    scenario.finish(process)
    _check_saved(scenario, process)


def torchrun(scenario: TrainScenario) -> None:
    """Train under torchrun, which forwards SIGTERM to its ranks."""
    if scenario.ranks == 1:
        train(scenario)
        return
    process = scenario.start(scenario.command(scenario.out), how=TorchRun())
    scenario.stop(process, "SIGTERM main", 30)
    process.finish()
    process.write_log(scenario.folder)
    scenario.faults["torchrun"] += 1
    if process.hung:
        scenario.failures.append("torchrun hangs")
    _check_saved(scenario, process)


def twice(scenario: TrainScenario) -> None:
    """Run the same command twice at the same time: one is rejected."""
    first = scenario.start(scenario.command(scenario.out))
    time.sleep(scenario.rng.random() * 0.3)
    second = scenario.start(scenario.command(scenario.out))
    scenario.faults["two trainings at once"] += 1
    if scenario.rng.random() < 0.5:
        scenario.stop(first, scenario.rng.choice(STOPS), 30)
    for process in (first, second):
        scenario.finish(process)


def overwrite(scenario: TrainScenario) -> None:
    """Run --overwrite with the name of a missing preset, which is rejected and changes nothing."""
    before = _contents(scenario.out)
    process = scenario.finish(scenario.start(scenario.command(scenario.out, "--overwrite", preset="clip.yaml")))
    scenario.faults["overwrite with a typo"] += 1
    if process.code != 2:
        scenario.failures.append(f"--overwrite with a typo: exit code {process.code}")
    if _contents(scenario.out) != before:
        scenario.failures.append("--overwrite with a typo changes the folder")


def overwrite_same(scenario: TrainScenario) -> None:
    """Run --overwrite with the same settings, which continues the run."""
    before = scenario.saved()
    process = scenario.start(scenario.command(scenario.out, "--overwrite"))
    scenario.stop(process, scenario.rng.choice(STOPS), 30)
    scenario.finish(process)
    scenario.faults["overwrite"] += 1
    if scenario.saved() < before:
        scenario.failures.append("--overwrite with the same settings loses steps")


def add_user_file(scenario: TrainScenario) -> None:
    """Add a file of the user."""
    name = scenario.rng.choice(("notes.txt", "mythesis/ch1.tex", "tensorboard/notes.txt"))
    (scenario.out / name).parent.mkdir(parents=True, exist_ok=True)
    scenario.user_files[name] = f"mine {scenario.rng.random()}".encode()
    (scenario.out / name).write_bytes(scenario.user_files[name])
    scenario.faults["file of the user"] += 1


def torn_log(scenario: TrainScenario) -> None:
    """Append an incomplete line to the log, as if the run was killed while writing it."""
    with contextlib.suppress(FileNotFoundError), (scenario.out / "log.jsonl").open("r+b") as file:
        file.seek(0, os.SEEK_END)
        file.write(b'{"step": 999, "epoch": 99.0, "learn'[: scenario.rng.randrange(1, 30)])
        scenario.faults["torn log"] += 1


def full_disk(scenario: TrainScenario) -> None:
    """Train on a file system on which checkpoints cannot be written."""
    condition = scenario.rng.choice(("full disk", "failing disk", "no locks", "slow disk"))
    process = scenario.start(scenario.command(scenario.out), {condition: scenario.rng.randrange(1 << 30)})
    scenario.done[-1] += f" {condition}"
    scenario.stop(process, scenario.rng.choice(STOPS), 30)
    scenario.finish(process)


OPERATIONS = [train, train, train, torchrun, twice, overwrite, overwrite_same, add_user_file, torn_log, full_disk]


def _check_saved(scenario: TrainScenario, process: Process) -> None:
    """Check that after SIGINT or SIGTERM the checkpoint is of the last step in the log, if any step was done."""
    answered = process.sent and process.sent[0] != signal.SIGKILL and process.code != -process.sent[0]
    if answered and scenario.log() != scenario.log_before and scenario.saved() < scenario.last_logged():
        scenario.failures.append(f"a signal loses steps: saved {scenario.saved()}, done {scenario.last_logged()}")


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
