"""Commands of synvid in processes that can be disturbed: killed, signalled, without locks, without links, on a full disk.

A command is a fork of this process, which has imported everything and compiled every kernel, so that it starts in no time;
it is a real process all the same, with a process group of its own.
"""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import fcntl
import multiprocessing.util
import os
import random
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import click
import psutil

#: Seconds after which a command hangs.
PATIENCE = 45.0

#: How a command may be ended: name → signal, and whether the whole group gets it.
FATES = {
    "kill -9": (signal.SIGKILL, True),
    "kill -9 main": (signal.SIGKILL, False),
    "SIGTERM group": (signal.SIGTERM, True),
    "SIGTERM main": (signal.SIGTERM, False),
    "SIGINT group": (signal.SIGINT, True),
}


# ---- Conditions: called in the new process before the command -------------------------------------------------------
def no_locks(_rng: random.Random) -> None:
    """A file system without locks."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    fcntl.flock = fcntl.lockf = refuse  # type: ignore[assignment]


def no_links(_rng: random.Random) -> None:
    """A file system without hard links."""

    def refuse(source: object, target: object, **_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM), str(source), None, str(target))

    os.link = refuse  # type: ignore[assignment]


def full_disk(rng: random.Random) -> None:
    """No file grows beyond a few kilobytes; what is written beyond is refused."""
    size = rng.randrange(0, 12_000)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def failing_disk(rng: random.Random) -> None:
    """Now and then there is no space left to make, sync or move a file."""

    def flaky(plain: Callable[..., object]) -> Callable[..., object]:
        def call(*words: object, **options: object) -> object:
            if rng.random() < 0.1:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(words[0]))
            return plain(*words, **options)

        return call

    for name in ("replace", "mkdir", "fsync"):
        setattr(os, name, flaky(getattr(os, name)))


def slow_disk(rng: random.Random) -> None:
    """Making, linking and moving files takes up to 50 ms, which widens every race."""

    def slow(plain: Callable[..., object]) -> Callable[..., object]:
        def call(*words: object, **options: object) -> object:
            time.sleep(rng.random() * 0.05)
            return plain(*words, **options)

        return call

    for name in ("replace", "mkdir", "link"):
        setattr(os, name, slow(getattr(os, name)))


CONDITIONS = {
    "no locks": no_locks,
    "no links": no_links,
    "full disk": full_disk,
    "failing disk": failing_disk,
    "slow disk": slow_disk,
}


# ---- A command ------------------------------------------------------------------------------------------------------
@dataclass
class Process:
    """A command that runs.

    Attributes:
        words: of the command line.
        pid: of the process, and of its group.
        sent: signals that it was sent.
        code: its exit code once it is over; negative: the signal that killed it.
        said: what it wrote to stderr.
        begin, end: monotonic seconds.
        hung: it had to be killed at the end of our patience.
    """

    words: list[str]
    pid: int
    pipe: int
    sent: list[int] = field(default_factory=list)
    code: int | None = None
    said: str = ""
    begin: float = field(default_factory=time.monotonic)
    end: float = 0.0
    hung: bool = False

    def send(self, number: int, group: bool) -> None:
        """Send a signal to the process, or its group."""
        self.sent.append(number)
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.pid, number)

    def over(self) -> bool:
        """Whether it has ended; reads what it says."""
        with contextlib.suppress(BlockingIOError):
            while text := os.read(self.pipe, 65536):
                self.said += text.decode(errors="replace")
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code, self.end = os.waitstatus_to_exitcode(status), time.monotonic()
        return self.code is not None

    def wait(self, seconds: float = PATIENCE) -> bool:
        """Wait for its end; False if it still runs then."""
        deadline = time.monotonic() + seconds
        while not self.over():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
        self.over()  # its last words
        return True

    def finish(self) -> None:
        """Wait for its end, and end it if it has none."""
        if not self.wait():
            self.hung = True
            self.send(signal.SIGUSR1, group=True)  # where it hangs, for commands.log
            self.wait(1.0)
            self.send(signal.SIGKILL, group=True)
            self.wait()
        os.close(self.pipe)

    def note(self, folder: Path) -> None:
        """Add what was done and said to `commands.log` of a folder."""
        with (folder / "commands.log").open("a") as file:
            facts = f"exit code {self.code}, signals {self.sent}, {self.end - self.begin:.1f} s"
            file.write(f"$ {' '.join(self.words)}\n# {facts}\n{self.said}\n")

    def wrong(self, codes: tuple[int, ...] = (0, 1, 2)) -> str:
        """What is wrong with the way it ended; empty if nothing is.

        Args:
            codes: that an undisturbed command may have; one that got a signal may also end by it.
        """
        allowed = {*codes, *(-number for number in self.sent), *(128 + number for number in self.sent)}
        if self.hung:
            return "hangs"
        if "Traceback" in self.said:
            return f"traceback: {self.said.strip().splitlines()[-1][:150]}"
        if self.code not in allowed:
            return f"exit code {self.code}: {self.said.strip()[-150:]}"
        if self.code in (1, 2) and not self.said.strip():
            return f"exit code {self.code} without a sentence"
        return ""


def start(main: click.Group, words: list[str], conditions: dict[str, int] | None = None) -> Process:
    """Start a command in a process group of its own.

    Args:
        main: the click group.
        words: of the command line.
        conditions: names of `CONDITIONS` → seed.
    """
    pipe, end = os.pipe()
    os.set_blocking(pipe, False)
    pid = os.fork()
    if pid == 0:
        os.close(pipe)
        _live(main, words, conditions or {}, end)
    os.close(end)
    with contextlib.suppress(OSError):
        os.setpgid(pid, pid)  # here and there: whoever is first
    return Process(words, pid, pipe)


def _live(main: click.Group, words: list[str], conditions: dict[str, int], end: int) -> None:
    """Be the command; never returns."""
    code: object = 1
    try:
        with contextlib.suppress(OSError):
            os.setpgid(0, 0)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor, target in ((nowhere, 0), (nowhere, 1), (end, 2)):
            os.dup2(descriptor, target)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
        faulthandler.register(signal.SIGUSR1, sys.stderr)
        for name, seed in conditions.items():
            CONDITIONS[name](random.Random(seed))
        main(args=words, prog_name=main.name)
        code = 0
    except SystemExit as leaving:
        code = leaving.code
    except KeyboardInterrupt:  # before or after the command, where the interpreter itself would be starting or ending
        code = 130
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            multiprocessing.util._exit_function()  # type: ignore[attr-defined]  # joins processes, as at any other exit
        os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def left_alive(groups: set[int], seconds: float = 10.0) -> list[int]:
    """Processes of some groups that are still alive after a while."""
    deadline = time.monotonic() + seconds
    while True:
        alive = []
        for process in psutil.process_iter(["status"]):
            with contextlib.suppress(ProcessLookupError, psutil.Error):
                if process.info["status"] != psutil.STATUS_ZOMBIE and os.getpgid(process.pid) in groups:
                    alive.append(process.pid)
        if not alive or time.monotonic() > deadline:
            return alive
        time.sleep(0.05)
