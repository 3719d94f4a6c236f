"""Disturbing trainings: operations on the folder of one run, alone or of two ranks, and the check of what is left of it."""

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
from faults_process import FATES, Process, left_alive, start

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
#: How far weights of two ranks may be from the undisturbed ones'.
CLOSE = 1e-6
STOPS = ("kill -9", "SIGTERM group", "SIGTERM main", "SIGINT group")


# ---- Two ranks --------------------------------------------------------------------------------------------------------
class TwoRanks:
    """Two ranks in one process group, as `srun` starts them: a signal to the group reaches both and their loaders."""

    name = "two ranks"

    def __call__(self, args: list[str], prog_name: str) -> None:
        """Start both ranks, wait, and leave with the larger exit code."""
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
    """The program that PyTorch starts ranks with."""

    name = "torchrun"

    def __call__(self, args: list[str], prog_name: str) -> None:  # noqa: ARG002
        """Become torchrun."""
        line = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m", "synvid_train", *args]
        os.execv(sys.executable, [sys.executable, *line])  # noqa: S606


def prepare(root: Path) -> None:
    """Write the preset."""
    path = root / "clips.yaml"
    if not path.exists():
        path.write_text(synvid.load_preset("moving_circles", TINY).to_yaml())


class TrainSite:
    """A folder that trainings are disturbed in.

    Attributes:
        out: the folder.
        ranks: one or two.
        faults: kind → how often it was injected.
        failures: what was found to be wrong.
        done: what was done, in order.
    """

    def __init__(self, root: Path, folder: Path, rng: random.Random) -> None:
        prepare(root)
        self.root, self.folder, self.out, self.rng = root, folder, folder / "run", rng
        self.ranks = 2 if rng.random() < 0.4 else 1
        self.main = TwoRanks() if self.ranks == 2 else main
        self.faults: Counter[str] = Counter()
        self.failures: list[str] = []
        self.done: list[str] = [f"{self.ranks} rank{'s' * (self.ranks > 1)}"]
        self.strangers: dict[str, bytes] = {}
        self.groups: set[int] = set()
        self.log_before = b""

    def line(self, out: Path, *more: str, preset: str = "clips.yaml") -> list[str]:
        """The command of the run."""
        words = ["pretrain", "--preset", str(self.root / preset), "--clips", str(CLIPS), "--recipe", "laptop_pretrain"]
        words += ["--device", "cpu", "--workers", str(self.rng.choice((0, 1, 2))), "--out", str(out)]
        for setting in SETTINGS:
            words += ["--set", setting]
        return [*words, *more]

    def start(self, words: list[str], conditions: dict[str, int] | None = None, how: object = None) -> Process:
        """Start a command."""
        self.faults.update(list(conditions or {}))
        self.log_before = self.log()
        process = start(how or self.main, words, conditions)
        self.groups.add(process.pid)
        return process

    def finish(self, process: Process, codes: tuple[int, ...] = (0, 1, 2)) -> Process:
        """Wait for a command, judge how it ended, and see that nobody is left."""
        process.finish()
        process.note(self.folder)
        wrong = process.wrong(codes)
        if wrong:
            self.failures.append(f"pretrain: {wrong}")
        if left_alive(self.groups):
            self.failures.append("processes were left behind")
        return process

    def stop(self, process: Process, name: str, seconds: float) -> None:
        """Stop a command at a moment in its work, and see that a signal loses no step."""
        target = self.rng.randrange(STEPS) * self.rng.random()
        deadline = time.monotonic() + seconds
        while not process.over() and time.monotonic() < deadline and self.last_logged() < target:
            time.sleep(0.003)
        if process.over():
            return
        if self.ranks == 2 and name == "SIGTERM main":
            name = "SIGTERM group"
        process.send(*FATES[name])
        self.faults[name] += 1
        self.done[-1] += f" {name}"

    def log(self) -> bytes:
        """The log as it is."""
        with contextlib.suppress(FileNotFoundError):
            return (self.out / "log.jsonl").read_bytes()
        return b""

    def last_logged(self) -> int:
        """The last step in the log; 0 if there is none."""
        try:
            return max((int(line["step"]) for line in read_log(self.out / "log.jsonl")), default=0)
        except (OSError, ValueError):
            return 0

    def saved(self) -> int:
        """The step of the checkpoint; 0 if there is none."""
        return int(load_training(self.out / "last.pt")[2]) if (self.out / "last.pt").is_file() else 0

    def reference(self) -> Path:
        """The undisturbed run."""
        place = self.root / "references" / f"run-{self.ranks}"
        if not (place / "last.pt").exists():
            shutil.rmtree(place, ignore_errors=True)
            process = start(self.main, self.line(place))
            process.finish()
            if process.code != 0:
                raise SystemExit(f"an undisturbed training failed: {process.said}")
        return place

    # ---- The whole ----------------------------------------------------------------------------------------------------
    def run(self) -> None:
        """Some operations, and the check."""
        self.reference()
        for place in range(self.rng.randrange(2, 5)):
            operation = self.rng.choice(OPERATIONS if place else (train, train, twice, overwrite))
            self.done.append(operation.__name__)
            operation(self)
        self.check()

    def check(self) -> None:
        """The same command, undisturbed, ends with the weights and the log of the undisturbed run."""
        final = self.finish(self.start(self.line(self.out)))
        if final.code != 0:
            self.failures.append(f"the last training refuses: {final.said.strip()[-150:]}")
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
        for name, data in self.strangers.items():
            if not (self.out / name).is_file() or (self.out / name).read_bytes() != data:
                self.failures.append("a stranger's file is gone or changed")
        if list(self.out.glob(".last.*")):
            self.failures.append("temporary checkpoints are left")


def _first_difference(ours: list[tuple[int, bool]], theirs: list[tuple[int, bool]]) -> str:
    pairs = [f"{one} for {other}" for one, other in zip(ours, theirs, strict=False) if one != other]
    return pairs[0] if pairs else f"{len(ours)} lines for {len(theirs)}"


# ---- Operations -----------------------------------------------------------------------------------------------------
def train(site: TrainSite) -> None:
    """Train until a signal; what a signal that can be answered interrupts is saved."""
    name = site.rng.choice(STOPS)
    process = site.start(site.line(site.out))
    site.stop(process, name, 30)
    site.finish(process)
    _check_saved(site, process)


def torchrun(site: TrainSite) -> None:
    """The same under torchrun, which forwards SIGTERM to its ranks."""
    if site.ranks == 1:
        train(site)
        return
    process = site.start(site.line(site.out), how=TorchRun())
    site.stop(process, "SIGTERM main", 30)
    process.finish()
    process.note(site.folder)
    site.faults["torchrun"] += 1
    if process.hung:
        site.failures.append("torchrun hangs")
    _check_saved(site, process)


def twice(site: TrainSite) -> None:
    """The same command twice at once: one is refused."""
    one = site.start(site.line(site.out))
    time.sleep(site.rng.random() * 0.3)
    two = site.start(site.line(site.out))
    site.faults["two trainings at once"] += 1
    if site.rng.random() < 0.5:
        site.stop(one, site.rng.choice(STOPS), 30)
    for process in (one, two):
        site.finish(process)


def overwrite(site: TrainSite) -> None:
    """--overwrite with a typo is refused and touches nothing."""
    before = _contents(site.out)
    process = site.finish(site.start(site.line(site.out, "--overwrite", preset="clip.yaml")))
    site.faults["overwrite with a typo"] += 1
    if process.code != 2:
        site.failures.append(f"--overwrite with a typo: exit code {process.code}")
    if _contents(site.out) != before:
        site.failures.append("--overwrite with a typo changes the folder")


def overwrite_same(site: TrainSite) -> None:
    """--overwrite with the same settings goes on."""
    before = site.saved()
    process = site.start(site.line(site.out, "--overwrite"))
    site.stop(process, site.rng.choice(STOPS), 30)
    site.finish(process)
    site.faults["overwrite"] += 1
    if site.saved() < before:
        site.failures.append("--overwrite with the same settings loses steps")


def stranger(site: TrainSite) -> None:
    """A file that is none of ours."""
    name = site.rng.choice(("notes.txt", "mythesis/ch1.tex", "tensorboard/notes.txt"))
    (site.out / name).parent.mkdir(parents=True, exist_ok=True)
    site.strangers[name] = f"mine {site.rng.random()}".encode()
    (site.out / name).write_bytes(site.strangers[name])
    site.faults["stranger's file"] += 1


def torn_log(site: TrainSite) -> None:
    """A line of the log whose writing was cut off, as by a kill before its step was saved."""
    with contextlib.suppress(FileNotFoundError), (site.out / "log.jsonl").open("r+b") as file:
        file.seek(0, os.SEEK_END)
        file.write(b'{"step": 999, "epoch": 99.0, "learn'[: site.rng.randrange(1, 30)])
        site.faults["torn log"] += 1


def full_disk(site: TrainSite) -> None:
    """No checkpoint can be written."""
    condition = site.rng.choice(("full disk", "failing disk", "no locks", "slow disk"))
    process = site.start(site.line(site.out), {condition: site.rng.randrange(1 << 30)})
    site.done[-1] += f" {condition}"
    site.stop(process, site.rng.choice(STOPS), 30)
    site.finish(process)


OPERATIONS = [train, train, train, torchrun, twice, overwrite, overwrite_same, stranger, torn_log, full_disk]


def _check_saved(site: TrainSite, process: Process) -> None:
    """After a signal that can be answered, the checkpoint is of the last step in the log, if any step was done."""
    answered = process.sent and process.sent[0] != signal.SIGKILL and process.code != -process.sent[0]
    if answered and site.log() != site.log_before and site.saved() < site.last_logged():
        site.failures.append(f"a signal loses steps: saved {site.saved()}, done {site.last_logged()}")


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
