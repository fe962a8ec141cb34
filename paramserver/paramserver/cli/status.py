"""ps-status: how a run is, now or until it is over."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from paramserver.cli.asking import asking, asking_options
from ps_common import command
from ps_common.saying import printable

EVERY_S = 1.0
PIPE_COLUMNS = 160  # where no terminal says how wide it is


@click.command(context_settings={"auto_envvar_prefix": "PS_STATUS", "show_default": True})
@asking_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("--watch", is_flag=True, help="Every second, until the run is over.")
def cli(master: str, key: Path | None, timeout_s: float, as_json: bool, watch: bool) -> None:
    """Show how the run of the master at --master is.

    Ends with 69 where nobody answers in time, and with 77 where the key may not look.
    """
    show = _show_json if as_json else show_text
    with asking(master, key) as peer:
        while True:
            status = peer.look(timeout_s)
            show(status)
            until = time.monotonic() + EVERY_S
            while watch and status["state"] != "over" and (left_s := until - time.monotonic()) > 0:
                heard = peer.hear(left_s)
                if heard is not None and heard["state"] == "over":
                    status = heard
                    show(status)
            if not watch or status["state"] == "over":
                return


def _show_json(status: dict[str, Any]) -> None:
    click.echo(json.dumps(status))


def show_text(status: dict[str, Any]) -> None:
    """A few lines and a table. What workers call themselves is shown without what moves a terminal."""
    click.echo(f"run {printable(status['run'])}, term {status['term']}: {_state(status)}")
    click.echo(
        f"epoch {status['epoch']} of {status['epochs']}, round {max(0, status['version'])} of "
        f"{status['rounds']}, {status['samples']:,} samples in {status['seconds']:.1f} s"
    )
    if status["metrics"]:
        values = status["metrics"].items()
        click.echo("  ".join(f"{printable(name)} {value:.4f}" for name, value in values))
    if status["servers"]:
        click.echo(f"averaging servers: {', '.join(map(printable, status['servers']))}")
    if status["workers"]:
        click.echo(_table(status["workers"]), nl=False)
    for one in status["quarantined"]:
        click.echo(f"quarantined: {printable(one['name'])}, after {printable(one['why'])}")
    if status["workers_unlisted"]:
        click.echo(f"and {status['workers_unlisted']:,} more workers")


def _state(status: dict[str, Any]) -> str:
    state, reason = status["state"], printable(status["reason"])
    if state == "waiting":
        return f"waiting, {status['members']} of {status['members_wanted']} workers here"
    if state == "over":
        return f"over: {reason}" + (f" ({status['exit_code']})" if status["exit_code"] else "")
    return f"{state}, {status['units_in_hand']} units in hand and {status['units_open']} open"


def _table(workers: list[dict[str, Any]]) -> str:
    table = Table(box=None, pad_edge=False)
    for column in ("worker", "host", "device", "doing", "step", "units", "samples", "refused", "strikes"):
        is_number = column in ("step", "units", "samples", "refused", "strikes")
        table.add_column(column, justify="right" if is_number else "left")
    for one in workers:
        silent = f", silent for {one['silent_s']:.0f} s" if one["silent_s"] > 1.0 else ""
        words = (one["name"], one["host"], one["device"], one["doing"] + silent)
        numbers = (one["step"], one["units"], one["samples"], one["rejections"], one["strikes"])
        table.add_row(*map(printable, words), *(f"{number:,}" for number in numbers))
    width = None if Console().is_terminal else PIPE_COLUMNS
    console = Console(width=width, markup=False, highlight=False, emoji=False)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def main() -> None:
    sys.exit(command.run(cli, "ps-status"))


if __name__ == "__main__":
    main()
