"""How every command of this project ends: one line for what a user can mend, a traceback for our own bug.

finished                       its own code, or 0
click's usage error            2, with the usage and the nearest right name
`ParamserverError`             its own exit code, "NAME: message", no traceback
the user's own code raised     1, its traceback, from its own first line on, and the same
interrupted (Ctrl-C)           130
anything else                  70, the traceback and "this is a bug"
"""

import importlib
import sys
import traceback
from collections.abc import Sequence

import click

from ps_common import loader
from ps_common.errors import JobCodeError, ParamserverError, UsageError
from ps_common.saying import say
from ps_common.spelling import nearest


class Group(click.Group):
    """A command with commands below it that answers a misspelt one with the nearest right one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            raise click.UsageError(f"no command {args[0]!r}{nearest(args[0], self.commands)}", ctx)
        return super().resolve_command(ctx, args)


def run(command: click.Command, name: str, args: Sequence[str] | None = None) -> int:
    """Run a click command as the program `name` and return its exit code.

    `args` are the words after the name; None takes them from the command line. An entry point is
    `def main() -> None: sys.exit(run(cli, "ps-data"))`. A command ends with another code than 0 by
    returning it or by `ctx.exit(code)`.
    """
    try:
        result = command.main(
            args=None if args is None else list(args), prog_name=name, standalone_mode=False
        )
    except click.ClickException as error:
        error.show(sys.stderr)
        return UsageError.exit_code  # click has 1 for a file it cannot open: here 1 is the user's code
    except click.Abort:
        return 130
    except ParamserverError as error:
        if isinstance(error, JobCodeError) and error.__cause__ is not None:
            traceback.print_exception(_from_users_code(error.__cause__))
        say(f"{name}: {error}")
        return error.exit_code
    except Exception:
        traceback.print_exc()
        print(f"{name}: this is a bug; please report it with the traceback above", file=sys.stderr)
        return 70
    return result if type(result) is int else 0  # a bool or anything else is no exit code


def _from_users_code(error: BaseException) -> BaseException:
    """The error with the frames that led to the user's file left out."""
    trace = error.__traceback__
    while trace is not None and _leads_to_it(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    return error.with_traceback(trace)


def _leads_to_it(filename: str) -> bool:
    return (
        filename == loader.__file__
        or filename.startswith("<frozen importlib")
        or filename == importlib.__file__
    )
