"""Run commands of synvid in processes that can be killed or run under faulty conditions (no locks, a full disk, ...).

A command is forked from this process, in which everything is imported and the kernels are compiled, so that it starts quickly.
It has its own process group.
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

#: Seconds after which a command counts as hanging.
TIMEOUT = 45.0

#: Ways to end a command: name → signal, and whether its whole process group gets it.
SIGNALS = {
    "kill -9": (signal.SIGKILL, True),
    "kill -9 main": (signal.SIGKILL, False),
    "SIGTERM group": (signal.SIGTERM, True),
    "SIGTERM main": (signal.SIGTERM, False),
    "SIGINT group": (signal.SIGINT, True),
}


# ---- Conditions, set in the new process before the command runs -----------------------------------------------------
def no_locks(_rng: random.Random) -> None:
    """Make file locks fail, as on a file system without them."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    fcntl.flock = fcntl.lockf = refuse  # type: ignore[assignment]


def no_links(_rng: random.Random) -> None:
    """Make hard links fail, as on a file system without them."""

    def refuse(source: object, target: object, **_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM), str(source), None, str(target))

    os.link = refuse  # type: ignore[assignment]


def full_disk(rng: random.Random) -> None:
    """Limit the size of files to a few kilobytes."""
    size = rng.randrange(0, 12_000)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def failing_disk(rng: random.Random) -> None:
    """Make one in ten calls that create, sync or move a file fail for lack of space."""

    def flaky(original: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **options: object) -> object:
            if rng.random() < 0.1:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(args[0]))
            return original(*args, **options)

        return call

    for name in ("replace", "mkdir", "fsync"):
        setattr(os, name, flaky(getattr(os, name)))


def slow_disk(rng: random.Random) -> None:
    """Make creating, linking and moving files take up to 50 ms, which widens races."""

    def slow(original: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **options: object) -> object:
            time.sleep(rng.random() * 0.05)
            return original(*args, **options)

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
    """A running command.

    Attributes:
        args: command-line arguments.
        pid: id of the process and of its group.
        pipe: file descriptor to read its stderr from.
        sent: signals sent to it.
        code: exit code after it has ended; negative: the signal that killed it.
        stderr: what it wrote to stderr so far.
        begin, end: monotonic seconds.
        hung: it was killed after the timeout.
    """

    args: list[str]
    pid: int
    pipe: int
    sent: list[int] = field(default_factory=list)
    code: int | None = None
    stderr: str = ""
    begin: float = field(default_factory=time.monotonic)
    end: float = 0.0
    hung: bool = False

    def send(self, number: int, group: bool) -> None:
        """Send a signal to the process, or to its group."""
        self.sent.append(number)
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.pid, number)

    def poll(self) -> bool:
        """Read its stderr, and return whether it has ended."""
        with contextlib.suppress(BlockingIOError):
            while text := os.read(self.pipe, 65536):
                self.stderr += text.decode(errors="replace")
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code, self.end = os.waitstatus_to_exitcode(status), time.monotonic()
        return self.code is not None

    def wait(self, seconds: float = TIMEOUT) -> bool:
        """Wait until it ends; return False if it still runs after some seconds."""
        deadline = time.monotonic() + seconds
        while not self.poll():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
        self.poll()  # reads the rest of stderr
        return True

    def finish(self) -> None:
        """Wait until it ends, and kill it after the timeout."""
        if not self.wait():
            self.hung = True
            self.send(signal.SIGUSR1, group=True)  # prints its stacks, for commands.log
            self.wait(1.0)
            self.send(signal.SIGKILL, group=True)
            self.wait()
        os.close(self.pipe)

    def write_log(self, folder: Path) -> None:
        """Append the command and its stderr to `commands.log` in a folder."""
        with (folder / "commands.log").open("a") as file:
            facts = f"exit code {self.code}, signals {self.sent}, {self.end - self.begin:.1f} s"
            file.write(f"$ {' '.join(self.args)}\n# {facts}\n{self.stderr}\n")

    def problem(self, codes: tuple[int, ...] = (0, 1, 2)) -> str:
        """Return what is wrong with how it ended, or an empty string.

        Args:
            codes: exit codes that an undisturbed command may have. After a signal it may also end with the signal's code.
        """
        allowed = {*codes, *(-number for number in self.sent), *(128 + number for number in self.sent)}
        if self.hung:
            return "hangs"
        if "Traceback" in self.stderr:
            return f"traceback: {self.stderr.strip().splitlines()[-1][:150]}"
        if self.code not in allowed:
            return f"exit code {self.code}: {self.stderr.strip()[-150:]}"
        if self.code in (1, 2) and not self.stderr.strip():
            return f"exit code {self.code} without an error message"
        return ""


def start(main: click.Group, args: list[str], conditions: dict[str, int] | None = None) -> Process:
    """Start a command in a process group of its own.

    Args:
        main: the click group.
        args: command-line arguments.
        conditions: names of `CONDITIONS` → seed.
    """
    pipe, end = os.pipe()
    os.set_blocking(pipe, False)
    pid = os.fork()
    if pid == 0:
        os.close(pipe)
        _run_child(main, args, conditions or {}, end)
    os.close(end)
    with contextlib.suppress(OSError):
        os.setpgid(pid, pid)  # in both processes, since either may be first
    return Process(args, pid, pipe)


def _run_child(main: click.Group, args: list[str], conditions: dict[str, int], end: int) -> None:
    """Run the command in the forked process and exit."""
    code: object = 1
    try:
        with contextlib.suppress(OSError):
            os.setpgid(0, 0)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor, target in ((null, 0), (null, 1), (end, 2)):
            os.dup2(descriptor, target)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
        faulthandler.register(signal.SIGUSR1, sys.stderr)
        for name, seed in conditions.items():
            CONDITIONS[name](random.Random(seed))
        main(args=args, prog_name=main.name)
        code = 0
    except SystemExit as leaving:
        code = leaving.code
    except KeyboardInterrupt:  # outside the command, where a real interpreter would be starting or exiting
        code = 130
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            multiprocessing.util._exit_function()  # type: ignore[attr-defined]  # joins processes, as at any other exit
        os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def live_processes(groups: set[int], seconds: float = 10.0) -> list[int]:
    """Return the processes of some groups that are still alive after some seconds."""
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
