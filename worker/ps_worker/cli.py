"""ps-worker: one worker process. The only reader of its flags and environment."""

import os
import socket
import sys
from pathlib import Path

import click

from ps_common import address, arrays, command
from ps_common import messages as m
from ps_common.errors import UsageError
from ps_common.keys import worker_key
from ps_common.loader import file_digest
from ps_common.saying import say
from ps_common.signals import PREEMPTED
from ps_worker.freed_memory import keep_freed_memory
from ps_worker.loop import Loop, Working, libraries


@click.command(context_settings={"auto_envvar_prefix": "PS", "show_default": True})
@click.option("--master", default="tcp://127.0.0.1:5555", metavar="URL", help="Address of the master.")
@click.option(
    "--job",
    "job_target",
    envvar="PS_JOB",  # click would take the parameter's name, not the flag's
    metavar="FILE",
    help="The job's file: the master's; needed for own code.",
)
@click.option("--device", default="auto", metavar="auto|cpu|cuda[:i]", help="Where to compute.")
@click.option(
    "--threads", type=click.IntRange(1, 1024), help="BLAS threads instead of the job's (other bits)."
)
@click.option(
    "--key",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="This worker's key, where the run has keys.",
)
@click.option("--name", default="worker", help="What the master should call this worker; without a key.")
@click.option(
    "--master-timeout",
    default=120.0,
    metavar="SECONDS",
    type=click.FloatRange(0.1),
    help="Give up after this silence.",
)
@click.option(
    "--shutdown-timeout",
    default=30.0,
    metavar="SECONDS",
    type=click.FloatRange(0.1),
    help="Leave at the latest then.",
)
@click.option(
    "--preemptible",
    is_flag=True,
    help="Exit with 143, not 0, when asked to stop before the run is over: whoever does starts another.",
)
@click.option(
    "--leave-with", type=int, metavar="PID", help="Stop when this process, which started it, is gone."
)
@click.option("--quiet", is_flag=True, help="Say nothing but errors.")
def cli(
    master: str,
    job_target: str | None,
    device: str,
    threads: int | None,
    key: Path | None,
    name: str,
    master_timeout: float,
    shutdown_timeout: float,
    preemptible: bool,
    leave_with: int | None,
    quiet: bool,
) -> int:
    """Train for the master at --master until its run is over."""
    keep_freed_memory(os.environ)
    parts = address.split(master)
    if parts is None or parts[1] == 0:
        raise UsageError(f"--master must look like tcp://host:5555, not {master!r}")
    if len(name) > m.NAME_MAX:
        raise UsageError(f"--name has at most {m.NAME_MAX} characters, not {len(name)}")
    bundle = worker_key(key)
    name = name if bundle is None else bundle.name
    place = arrays.device(device)
    working = Working(
        master,
        place,
        job_target,
        threads,
        master_timeout,
        shutdown_timeout,
        leave_with,
        quiet,
        bundle,
        PREEMPTED if preemptible else 0,
    )
    join = m.Join(
        protocol=m.PROTOCOL,
        name=name,
        host=socket.gethostname(),
        pid=os.getpid(),
        device=str(place),
        job_code=file_digest(job_target) if job_target else "",
        libraries=libraries(),
    )
    if not quiet:
        where = f"{place} ({place.model})" if place.model else str(place)
        say(f"{name}: computing on {where}, looking for the master at {master}")
    left = Loop(join, working).run()
    if left.exit_code:
        say(f"ps-worker: {left.reason}")
    return left.exit_code


def main() -> None:
    sys.exit(command.run(cli, "ps-worker"))


if __name__ == "__main__":
    main()
