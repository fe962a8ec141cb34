"""ps-local: a master and workers on this machine, in one terminal."""

import signal
import sys
from types import FrameType
from typing import Any

import click

from paramserver.cli.options import CommonOptions, common_options
from paramserver.cluster import ClusterError, LocalCluster
from ps_common import command


@click.command(context_settings={"auto_envvar_prefix": "PS", "show_default": True})
@click.argument("job")
@click.option("-n", "--workers", default=2, type=click.IntRange(1, 1024), help="Worker processes to start.")
@click.option("--device", default="auto", metavar="auto|cpu|cuda[:i]", help="Where the workers compute.")
@click.option("--threads", type=click.IntRange(1, 1024), help="BLAS threads of each worker (other bits).")
@common_options
def cli(job: str, workers: int, device: str, threads: int | None, **given: Any) -> int:
    """Train JOB, a Python file with a variable `job` or package.module:name, on this machine."""
    options = CommonOptions.of(given)
    worker_flags = ["--device", device, *(["--threads", str(threads)] if threads else [])]
    cluster = LocalCluster(
        job, workers, server_flags=options.to_flags(), worker_flags=worker_flags, show=True
    )
    signals: list[int] = []

    def on_signal(number: int, frame: FrameType | None) -> None:
        signals.append(number)
        cluster.stop()  # the second one makes the master quit at once

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    try:
        cluster.start()
        code = cluster.wait_exit()
    except ClusterError as error:
        if not error.is_shown:
            print(f"ps-local: {error}", file=sys.stderr)
        return error.exit_code
    finally:
        cluster.close()
    return 128 + signals[-1] if len(signals) > 1 else code


def main() -> None:
    sys.exit(command.run(cli, "ps-local"))


if __name__ == "__main__":
    main()
