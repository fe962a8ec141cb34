"""What ps-server does with its options, whatever it serves: a job, or loops of the users' own."""

import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from paramserver.cli.options import CommonOptions, common_options, parse_every, parse_servers, parse_workers
from paramserver.log import Log
from paramserver.serve import Loaded, serve
from paramserver.serving import Serving, placed
from paramserver.settings import OUTLIER_FACTOR, Settings

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
    click.option("--interface", metavar="NAME", help="Network card to listen on, or to advertise."),
    click.option(
        "--workers",
        default="1",
        metavar="MIN[:MAX]",
        help="Wait whenever fewer are here; take at most so many.",
    ),
    click.option(
        "--begin-with", type=click.IntRange(1), metavar="N", help="Workers to begin with, if more than MIN."
    ),
    click.option(
        "--trust-workers",
        is_flag=True,
        help="Let a worker make any number of a round's units, though the rule is a robust one.",
    ),
    click.option("--insecure", is_flag=True, help="Allow binding beyond this machine without keys."),
    click.option("--address-file", type=_File, metavar="FILE", help="Write the address here while serving."),
    click.option(
        "--leave-with", type=int, metavar="PID", help="Stop when this process, which started it, is gone."
    ),
    click.option(
        "--linger",
        type=click.FloatRange(0.1),
        metavar="SECONDS",
        help="Stay so long at the end for workers that are still to hear of it.",
    ),
    click.option(
        "--preemptible",
        is_flag=True,
        help="A signal is not the end of the run: save, leave the workers waiting, and exit with 143.",
    ),
    click.option(
        "--stay", is_flag=True, help="When the run has ended well, stay until a signal and tell who comes."
    ),
    click.option(
        "--until-round",
        type=click.IntRange(1),
        metavar="N",
        help="Stop when N rounds are averaged, if not before.",
    ),
]
_NAMES = (
    "bind", "advertise", "interface", "workers", "begin_with", "trust_workers", "insecure", "address_file",
    "leave_with", "linger", "preemptible", "stay", "until_round",
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
        strikes_max=options.strikes,
        outlier_factor=options.reject_outliers or OUTLIER_FACTOR,
        rejects_outliers=options.reject_outliers is not None,
        secret=1 + secrets.randbits(31),
        checkpoint_every_rounds=every_rounds,
        checkpoint_every_s=every_s,
        linger_s=own["linger"],
        until_round=own["until_round"],
        trusts_workers=own["trust_workers"],
        **settings,
    )
    loaded = load(options.overrides)
    averagers, servers = parse_servers(options.servers)
    bind, advertise = placed(own["bind"], own["advertise"], own["interface"])
    serving = Serving(
        bind=bind,
        advertise=advertise,
        insecure=own["insecure"],
        keys=options.keys,
        servers=servers,
        averagers=averagers,
        address_file=own["address_file"],
        checkpoint_folder=options.checkpoint,
        model_file=options.out,
        leave_with=own["leave_with"],
        is_preemptible=own["preemptible"],
        stays=own["stay"],
        is_live=sys.stderr.isatty() and options.log_format == "text" and not options.quiet,
    )
    log = Log(options.log_format, options.quiet)
    return serve(loaded, made, serving, log, options.resume, options.json_path).exit_code
