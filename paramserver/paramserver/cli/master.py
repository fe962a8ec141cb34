"""What ps-server does with its options, whatever it serves: a job, or loops of the users' own."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from paramserver.cli.options import CommonOptions, common_options, parse_every, parse_servers, parse_workers
from paramserver.log import Log
from paramserver.serve import Loaded, serve
from paramserver.serving import Serving
from paramserver.settings import Settings

_F = TypeVar("_F", bound=Callable[..., Any])
_File = click.Path(dir_okay=False, path_type=Path)
_OPTIONS = [
    click.option(
        "--bind",
        default="tcp://127.0.0.1:5555",
        metavar="URL",
        help="Address to listen on; port 0 takes any.",
    ),
    click.option(
        "--advertise", metavar="URL", help="Address that workers reach the master at, where it is another."
    ),
    click.option(
        "--workers",
        default="1",
        metavar="MIN[:MAX]",
        help="Wait whenever fewer are here; take at most so many.",
    ),
    click.option(
        "--begin-with", type=click.IntRange(1), metavar="N", help="Workers to begin with, if more than MIN."
    ),
    click.option("--insecure", is_flag=True, help="Allow binding beyond this machine without keys."),
    click.option("--address-file", type=_File, metavar="FILE", help="Write the address here while serving."),
    click.option(
        "--leave-with", type=int, metavar="PID", help="Stop when this process, which started it, is gone."
    ),
    click.option(
        "--until-round",
        type=click.IntRange(1),
        metavar="N",
        help="Stop when N rounds are averaged, if not before.",
    ),
]
_NAMES = (
    "bind", "advertise", "workers", "begin_with", "insecure", "address_file", "leave_with", "until_round"
)  # fmt: skip


def master_options(function: _F) -> _F:
    """Decorator: the options of a master, handed to the command as keyword arguments."""
    function = common_options(function)
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def run_master(load: Callable[[dict[str, str]], Loaded], given: dict[str, Any], **settings: Any) -> int:
    """Serve what `load` makes of the overrides, until it is over; the exit code.

    settings: of the machine, beside those that the options name. Raises `UsageError`.
    """
    own = {name: given.pop(name) for name in _NAMES}
    options = CommonOptions.of(given)
    least, most = parse_workers(own["workers"])
    every_rounds, every_s = parse_every(options.checkpoint_every)
    made = Settings(
        workers_min=least,
        workers_at_start=own["begin_with"],
        workers_max=most,
        transport=options.transport,
        wait_timeout_s=options.wait_timeout,
        stall_timeout_s=options.stall_timeout,
        shutdown_timeout_s=options.shutdown_timeout,
        checkpoint_every_rounds=every_rounds,
        checkpoint_every_s=every_s,
        until_round=own["until_round"],
        **settings,
    )
    loaded = load(options.overrides)
    averagers, servers = parse_servers(options.servers)
    serving = Serving(
        bind=own["bind"],
        advertise=own["advertise"],
        insecure=own["insecure"],
        servers=servers,
        averagers=averagers,
        address_file=own["address_file"],
        checkpoint_folder=options.checkpoint,
        model_file=options.out,
        leave_with=own["leave_with"],
        is_live=sys.stderr.isatty() and options.log_format == "text" and not options.quiet,
    )
    log = Log(options.log_format, options.quiet)
    return serve(loaded, made, serving, log, options.resume, options.json_path).exit_code
