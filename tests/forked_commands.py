"""Start `synvid` and `synvid-train` as processes without their seconds of imports.

A server process imports torch and both packages once; each command is forked from it. It is a process of its own with its own
id, session, working directory, environment, signal handlers and standard streams, and ends like any Python program.
"""

import atexit
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

TESTS = str(Path(__file__).parent)


# ---- The server ----------------------------------------------------------------------------------------------------
def serve(descriptor):
    """Fork a command for each request that comes through a socket, and report the exit status of each."""
    connection = socket.socket(fileno=descriptor)
    _import_packages()
    wake_up, on_child = os.pipe()
    os.set_blocking(on_child, False)
    signal.signal(signal.SIGCHLD, lambda *_: os.write(on_child, b"."))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        ready, _, _ = select.select([connection, wake_up], [], [])
        if wake_up in ready:
            os.read(wake_up, 1 << 16)
            _report_ended(connection)
        if connection in ready:
            data, descriptors, _, _ = socket.recv_fds(connection, 1 << 20, 2)
            if not data:
                return
            pid = os.fork()
            if pid == 0:
                connection.close()
                os.close(wake_up)
                os.close(on_child)
                _run(json.loads(data), descriptors)
            for number in descriptors:
                os.close(number)
            connection.send(json.dumps({"started": pid}).encode())


def _import_packages():
    import importlib
    import pkgutil

    import synvid
    import synvid_train

    for package in (synvid, synvid_train):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    importlib.import_module("matplotlib.pyplot")


def _report_ended(connection):
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        connection.send(json.dumps({"ended": pid, "code": os.waitstatus_to_exitcode(status)}).encode())


def _run(request, descriptors):
    """Run the requested command in this process, and end the process as Python does, but without unloading the modules."""
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if request["session"]:
            os.setsid()
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["env"])
        for number, target in zip(descriptors, (1, 2), strict=True):
            os.dup2(number, target)
            os.close(number)
        sys.argv = [request["module"], *request["args"]]
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    except BaseException:  # noqa: BLE001  # printed as an interpreter prints it
        traceback.print_exc()
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


# ---- The client ----------------------------------------------------------------------------------------------------
_server = None
_ended = {}


def _connection():
    global _server  # noqa: PLW0603  # one server per process
    if _server is None or _server[0] != os.getpid():
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        code = f"import sys; sys.path.insert(0, {TESTS!r}); import forked_commands; forked_commands.serve({theirs.fileno()})"
        process = subprocess.Popen([sys.executable, "-c", code], pass_fds=[theirs.fileno()])
        theirs.close()
        _server = os.getpid(), ours, process
        atexit.register(_stop, ours, process)
    return _server[1]


def _stop(connection, process):
    connection.close()
    process.wait()


def _receive(timeout=None):
    connection = _connection()
    connection.settimeout(timeout)
    try:
        message = json.loads(connection.recv(1 << 16))
    except TimeoutError:
        return {}
    finally:
        connection.settimeout(None)
    if "ended" in message:
        _ended[message["ended"]] = message["code"]
    return message


class Command:
    """A running command, with the interface of subprocess.Popen that tests use."""

    def __init__(self, args, module="synvid_train", session=False, cwd=None, env=None):
        self.args = [module, *map(str, args)]
        self._out, self._err = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115  # closed by communicate
        request = {"module": module, "args": self.args[1:], "session": session, "cwd": str(cwd or Path.cwd())}
        request["env"] = dict(os.environ if env is None else env)
        socket.send_fds(_connection(), [json.dumps(request).encode()], [self._out.fileno(), self._err.fileno()])
        message = _receive()
        while "started" not in message:
            message = _receive()
        self.pid, self.returncode = message["started"], None

    def poll(self):
        """The exit code, or None while it runs."""
        while self.pid not in _ended and _receive(0.001):
            pass
        self.returncode = _ended.get(self.pid)
        return self.returncode

    def wait(self, timeout=None):
        """The exit code, once it has ended."""
        end = time.monotonic() + (timeout or 300)
        while self.poll() is None:
            _receive(max(0.001, min(1.0, end - time.monotonic())))
            if time.monotonic() > end and self.poll() is None:
                raise subprocess.TimeoutExpired(self.args, timeout)
        return self.returncode

    def communicate(self, timeout=None):
        """What it wrote to stdout and stderr, once it has ended."""
        self.wait(timeout)
        texts = []
        for file in (self._out, self._err):
            with file:
                file.seek(0)
                texts.append(file.read().decode())
        return tuple(texts)

    def send_signal(self, number):
        """Send it a signal."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        """Kill it."""
        self.send_signal(signal.SIGKILL)


def run(args, module="synvid_train", timeout=300, **options):
    """Run a command to its end: a subprocess.CompletedProcess with text."""
    command = Command(args, module, **options)
    out, err = command.communicate(timeout)
    return subprocess.CompletedProcess(command.args, command.returncode, out, err)
