"""ps-server: the master."""

import sys
from pathlib import Path
from typing import Any

import click

from paramserver.cli.options import CommonOptions, common_options, parse_every, parse_servers, parse_workers
from paramserver.log import Log
from paramserver.serve import serve
from paramserver.serving import Serving
from paramserver.settings import Settings
from ps_common import command
from ps_common.loader import load_job


@click.command(context_settings={"auto_envvar_prefix": "PS", "show_default": True})
@click.argument("job")
@click.option(
    "--bind", default="tcp://127.0.0.1:5555", metavar="URL", help="Address to listen on; port 0 takes any."
)
@click.option(
    "--advertise", metavar="URL", help="Address that workers reach the master at, where it is another."
)
@click.option("--workers", default="1", metavar="MIN[:MAX]", help="Workers to wait for, and at most to take.")
@click.option("--insecure", is_flag=True, help="Allow binding beyond this machine without keys.")
@click.option(
    "--address-file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the address here while serving.",
)
@click.option(
    "--leave-with", type=int, metavar="PID", help="Stop when this process, which started it, is gone."
)
@common_options
def cli(
    job: str, bind: str, advertise: str | None, workers: str, insecure: bool, address_file: Path | None,
    leave_with: int | None, **given: Any,
) -> int:  # fmt: skip
    """Serve JOB, a Python file with a variable `job` or package.module:name, to workers."""
    options = CommonOptions.of(given)
    least, most = parse_workers(workers)
    every_rounds, every_s = parse_every(options.checkpoint_every)
    settings = Settings(
        workers_min=least,
        workers_max=most,
        transport=options.transport,
        wait_timeout_s=options.wait_timeout,
        shutdown_timeout_s=options.shutdown_timeout,
        checkpoint_every_rounds=every_rounds,
        checkpoint_every_s=every_s,
    )
    loaded = load_job(job, options.overrides)
    averagers, servers = parse_servers(options.servers)
    serving = Serving(
        bind=bind,
        advertise=advertise,
        insecure=insecure,
        servers=servers,
        averagers=averagers,
        address_file=address_file,
        checkpoint_folder=options.checkpoint,
        model_file=options.out,
        leave_with=leave_with,
        is_live=sys.stderr.isatty() and options.log_format == "text" and not options.quiet,
    )
    log = Log(options.log_format, options.quiet)
    outcome = serve(loaded, settings, serving, log, options.resume, options.json_path)
    return outcome.exit_code


def main() -> None:
    sys.exit(command.run(cli, "ps-server"))


if __name__ == "__main__":
    main()
