"""ps-keys: makes, lists and revokes the keys of a run. A run that goes on sees it within a second."""

import sys
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from ps_common import command
from ps_common.key_folder import KeyFolder
from ps_common.keys import ROLES

_folder = click.option(
    "--keys",
    "folder",
    default="keys",
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    envvar="PS_KEYS",
    metavar="DIR",
    help="Folder of the run's keys.",
)


@click.group(cls=command.Group, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Who may take part in a run: ps-server --keys DIR lets in these keys and nobody else."""


@cli.command()
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), default="worker", show_default=True, help="What it may do.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the bundle here instead of to the folder.",
)
@_folder
def new(name: str, role: str, out: Path | None, folder: Path) -> None:
    """Make the key NAME, and let it in; with the first one, make the folder and the run's server key."""
    path = KeyFolder(folder).new(name, role, out)
    click.echo(f"{path}: the key of {role} {name}; move it to where {name} runs, and say --key {path.name}")


@cli.command("list")
@_folder
def list_(folder: Path) -> None:
    """Show who may come in, and who might once."""
    keys = KeyFolder(folder)
    keys.server()  # refuse what is no folder of keys
    authorised, complaints = keys.authorised()
    table = Table("name", "role", "fingerprint", "", box=None, pad_edge=False)
    for key in authorised:
        table.add_row(key.name, key.role, key.fingerprint.hex(), "")
    for key in keys.revoked():
        table.add_row(key.name, key.role, key.fingerprint.hex(), "revoked")
    width = None if sys.stdout.isatty() else 120
    Console(width=width, highlight=False, markup=False).print(table)
    for complaint in complaints:
        click.echo(complaint, err=True)


@cli.command()
@click.argument("name")
@_folder
def revoke(name: str, folder: Path) -> None:
    """Let the key NAME in no more: within a second its connections are closed."""
    key = KeyFolder(folder).revoke(name)
    who = name if key is None else f"{key.role} {name} ({key.fingerprint.hex()})"
    click.echo(f"{who} may come in no more")


def main() -> None:
    sys.exit(command.run(cli, "ps-keys"))


if __name__ == "__main__":
    main()
