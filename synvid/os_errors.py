"""Turn operating-system errors into error messages."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from synvid.errors import DatasetError

__all__ = ["describe_os_error", "raise_file_limit", "wrap_os_errors"]


@contextlib.contextmanager
def wrap_os_errors(path: Path) -> Iterator[None]:
    """Raise DatasetError in place of OSError.

    Args:
        path: the file that the message names if the error names none.

    Raises:
        DatasetError: the block has raised OSError.
    """
    try:
        yield
    except OSError as error:
        raise DatasetError(describe_os_error(error, path)) from None


def describe_os_error(error: OSError, path: Path | None = None) -> str:
    """The message for an OSError: the file, or `path` if it names none, and the reason; or the limit that was reached."""
    if error.errno == errno.EMFILE:
        return (
            f"too many open files: the limit of a process is {raise_file_limit()}; raise `ulimit -n`, or use fewer --workers."
        )
    if error.errno == errno.EAGAIN and error.filename is None:
        return "no more processes can be started (`ulimit -u`, or a limit of the container); use fewer --workers."
    name = error.filename if isinstance(error.filename, str) else path
    return f"{name}: {error.strerror or error}." if name else f"{error.strerror or error}."


def raise_file_limit() -> int:
    """Raise the limit of open files as far as allowed; return the limit."""
    try:
        import resource
    except ImportError:  # Windows
        return 1 << 20
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 20 if soft == resource.RLIM_INFINITY else soft
