"""Ctrl-C and termination as a question, asked between two pieces of work: nothing is broken off in the middle."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

__all__ = ["Cancelled", "add_interrupt_check", "defer_signals", "interrupted", "raise_if_interrupted"]


_SIGNALS = (signal.SIGINT, signal.SIGTERM)
#: A second Ctrl-C ends the process at once; one signal that arrives twice, from a terminal and a launcher, is no second one.
_SECOND = 0.3  # seconds

_active = False
_arrived: list[int] = []
_since = 0.0
_also: Callable[[], bool] | None = None


class Cancelled(BaseException):
    """Raised by `raise_if_interrupted`; whoever runs the work takes it for an interruption."""


@contextlib.contextmanager
def defer_signals() -> Iterator[None]:
    """Put off Ctrl-C and termination till the end; long work inside asks `interrupted` whether to come to it.

    Inside another it does nothing, and outside the main thread, where no signal is ever handled, too. A signal that the
    process ignores, as one in the background does, is ignored still.
    """
    global _active  # noqa: PLW0603  # signals are the whole process's
    if _active or threading.current_thread() is not threading.main_thread():
        yield
        return
    # A Python function, never SIG_IGN: a signal that falls between Python's two tables of handlers would be complained of.
    numbers = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, _note) for number in numbers}
    _active = True
    try:
        yield
    finally:
        _active = False
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        late = _arrived[:1]
        _arrived.clear()
        if late:
            signal.raise_signal(late[0])


def _note(number: int, _: object) -> None:
    global _since  # noqa: PLW0603
    if not _active:  # a forked process that has no handlers of its own yet
        return
    if number == signal.SIGINT and _arrived and time.monotonic() - _since > _SECOND:
        os._exit(128 + number)
    if not _arrived:
        _since = time.monotonic()
    _arrived.append(number)


def interrupted() -> bool:
    """Whether a signal has come since `defer_signals` began."""
    return bool(_arrived) or (_also is not None and _also())


def add_interrupt_check(question: Callable[[], bool]) -> None:
    """Take the answer of a function for an interruption as well: of a process that its parent stops."""
    global _also  # noqa: PLW0603
    _also = question


def raise_if_interrupted() -> None:
    """Come to an end here if a signal has come.

    Raises:
        Cancelled: one has.
    """
    if interrupted():
        raise Cancelled


def _forget() -> None:
    """A forked process begins anew; until it has handlers of its own, signals find the ones of its parent and do nothing."""
    global _active  # noqa: PLW0603
    _active = False
    _arrived.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
