"""ps-admin: orders to a running master."""

import sys
from pathlib import Path
from typing import Any

import click

from paramserver.cli.asking import asking, asking_options
from paramserver.cli.status import show_text
from ps_common import command

_SETTINGS = {"auto_envvar_prefix": "PS_ADMIN", "show_default": True}


@click.group(cls=command.Group, context_settings=_SETTINGS)
def cli() -> None:
    """Give an order to the master of a run; it says how the run is then.

    Ends with 69 where nobody answers in time, with 77 where the key may give no orders, and with 2 where the
    order cannot be carried out.
    """


@cli.command()
@asking_options
def stop(**where: Any) -> None:
    """End the run: units in hand are finished, a checkpoint is written, everyone goes home."""
    _give("stop", "", **where)


@cli.command()
@asking_options
def checkpoint(**where: Any) -> None:
    """Write a checkpoint now."""
    _give("checkpoint", "", **where)


@cli.command()
@click.argument("worker")
@asking_options
def drop(worker: str, **where: Any) -> None:
    """Send WORKER home; others do its unit. It may be started again."""
    _give("drop", worker, **where)


@cli.command()
@click.argument("worker")
@asking_options
def quarantine(worker: str, **where: Any) -> None:
    """Keep WORKER out for the rest of the run, and all that have its key; without keys this process alone."""
    _give("quarantine", worker, **where)


@cli.command()
@click.argument("worker")
@asking_options
def forgive(worker: str, **where: Any) -> None:
    """Forget the strikes of WORKER, or of its key; it may join again."""
    _give("forgive", worker, **where)


def _give(what: str, name: str, master: str, key: Path | None, timeout_s: float) -> None:
    with asking(master, key) as peer:
        show_text(peer.order(what, name, timeout_s))


def main() -> None:
    sys.exit(command.run(cli, "ps-admin"))


if __name__ == "__main__":
    main()
