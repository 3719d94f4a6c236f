"""Ctrl-C and termination as a question, asked between two clips: nothing is ever broken off in the middle."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

__all__ = ["interrupted", "postponed"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

_active = False
_arrived: list[int] = []


@contextlib.contextmanager
def postponed() -> Iterator[None]:
    """Put off Ctrl-C and termination till the end; long work inside asks `interrupted` whether to come to it.

    Inside another it does nothing, and outside the main thread, where no signal is ever handled, too.
    """
    global _active  # noqa: PLW0603  # signals are the whole process's
    if _active or threading.current_thread() is not threading.main_thread():
        yield
        return
    # A Python function, never SIG_IGN: a signal that falls between Python's two tables of handlers would be complained of.
    before = {number: signal.signal(number, lambda number, _: _arrived.append(number)) for number in _SIGNALS}
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


def interrupted() -> bool:
    """Whether a signal has come since `postponed` began."""
    return bool(_arrived)


def _forget() -> None:
    """A forked process begins anew; until it has handlers of its own, signals find the ones of its parent and do nothing."""
    global _active  # noqa: PLW0603
    _active = False
    _arrived.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
