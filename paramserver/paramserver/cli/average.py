"""ps-average: one of several averaging servers, for a master that was given its address."""

import sys
from pathlib import Path

import click

from paramserver.log import Log
from paramserver.servers.averager_loop import AveragerLoop
from paramserver.serving import require_own_network
from ps_common import command


@click.command(context_settings={"auto_envvar_prefix": "PS_AVERAGE", "show_default": True})
@click.option(
    "--bind", default="tcp://127.0.0.1:5556", metavar="URL", help="Address to listen on; port 0 takes any."
)
@click.option("--insecure", is_flag=True, help="Allow binding beyond this machine without keys.")
@click.option(
    "--keys",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Let in only who has a key of this folder: the master's.",
)
@click.option(
    "--address-file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the address here while serving.",
)
@click.option(
    "--leave-with",
    type=int,
    metavar="PID",
    help="End when this process, which started it, does; share memory with it.",
)
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", help="Lines of the log.")
@click.option("--quiet", is_flag=True, help="Say nothing but what needs attention.")
def cli(
    bind: str, insecure: bool, keys: Path | None, address_file: Path | None, leave_with: int | None,
    log_format: str, quiet: bool,
) -> int:  # fmt: skip
    """Average a stretch of the weights for a master started with --servers URL,URL,..."""
    require_own_network(bind, insecure, keys)
    AveragerLoop(bind, address_file, keys, leave_with, Log(log_format, quiet)).run()
    return 0


def main() -> None:
    sys.exit(command.run(cli, "ps-average"))


if __name__ == "__main__":
    main()
