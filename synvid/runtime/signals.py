"""Deferred SIGINT and SIGTERM, polled between units of work so that nothing is interrupted in the middle."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

__all__ = ["Cancelled", "defer_signals", "interrupted", "raise_if_interrupted", "set_interrupt_check"]


_SIGNALS = (signal.SIGINT, signal.SIGTERM)
#: A second Ctrl-C ends the process at once, unless it comes this soon: a terminal and a launcher may both send the first one.
_REPEAT_DELAY = 0.3  # seconds

_active = False
_received: list[int] = []
_first_time = 0.0
_extra_check: Callable[[], bool] | None = None


class Cancelled(BaseException):
    """Raised by `raise_if_interrupted`; the executor treats it as an interruption, not an error."""


@contextlib.contextmanager
def defer_signals() -> Iterator[None]:
    """Defer SIGINT and SIGTERM to the end of the block; long work inside polls `interrupted`.

    Nested uses have no effect, nor do uses outside the main thread, where Python handles no signals. Signals that the process
    ignores (SIGINT in a background job) stay ignored.
    """
    global _active  # noqa: PLW0603  # signals belong to the process
    if _active or threading.current_thread() is not threading.main_thread():
        yield
        return
    # A Python function, not SIG_IGN: Python reports an error if a signal arrives while its handler is replaced by SIG_IGN.
    numbers = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, _record) for number in numbers}
    _active = True
    try:
        yield
    finally:
        _active = False
        for number, handler in previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        deferred = _received[:1]
        _received.clear()
        if deferred:
            signal.raise_signal(deferred[0])


def _record(number: int, _: object) -> None:
    global _first_time  # noqa: PLW0603
    if not _active:  # in a forked process that has not yet installed its own handlers
        return
    if number == signal.SIGINT and _received and time.monotonic() - _first_time > _REPEAT_DELAY:
        os._exit(128 + number)
    if not _received:
        _first_time = time.monotonic()
    _received.append(number)


def interrupted() -> bool:
    """Return whether a signal was received since `defer_signals` began, or the extra check says so."""
    return bool(_received) or (_extra_check is not None and _extra_check())


def set_interrupt_check(check: Callable[[], bool]) -> None:
    """Set the one extra function that `interrupted` calls; replaces an earlier one.

    Worker processes check the stop flag of their parent.
    """
    global _extra_check  # noqa: PLW0603
    _extra_check = check


def raise_if_interrupted() -> None:
    """Raise if a signal was received.

    Raises:
        Cancelled: see `interrupted`.
    """
    if interrupted():
        raise Cancelled


def _reset_after_fork() -> None:
    """Forget the parent's signals; until the forked process installs its own handlers, the inherited ones do nothing."""
    global _active  # noqa: PLW0603
    _active = False
    _received.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)
