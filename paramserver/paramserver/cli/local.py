"""ps-local: a master and workers on this machine, in one terminal."""

import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import click

from paramserver.cli.options import CommonOptions, common_options
from paramserver.cluster import ClusterError, LocalCluster
from ps_common import arrays, command
from ps_common.saying import say


@click.command(context_settings={"auto_envvar_prefix": "PS", "show_default": True})
@click.argument("job")
@click.option("-n", "--workers", default=2, type=click.IntRange(1, 1024), help="Worker processes to start.")
@click.option(
    "--device",
    default="auto",
    metavar="auto|cpu|cuda[:i]",
    help="Where the workers compute; cuda: on all GPUs in turn.",
)
@click.option("--threads", type=click.IntRange(1, 1024), help="BLAS threads of each worker (other bits).")
@click.option(
    "--restarts",
    default=10,
    type=click.IntRange(0),
    metavar="N",
    help="How often the master, and each worker, is started again when it was killed.",
)
@click.option(
    "--log-folder",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Keep the workers' logs here; by default they go with the run.",
)
@common_options
def cli(
    job: str, workers: int, device: str, threads: int | None, restarts: int, log_folder: Path | None,
    **given: Any,
) -> int:  # fmt: skip
    """Train JOB, a Python file with a variable `job` or package.module:name, on this machine."""
    options = CommonOptions.of(given)
    places = [str(place) for place in arrays.devices(device)]  # a wrong one is refused before anything starts
    worker_flags = ["--shutdown-timeout", str(options.shutdown_timeout)]
    worker_flags += ["--threads", str(threads)] if threads else []
    cluster = LocalCluster(
        job,
        workers,
        server_flags=options.to_flags(),
        worker_flags=worker_flags,
        devices=places,
        folder=log_folder,
        show=True,
        restarts=restarts,
    )
    signals: list[int] = []

    def on_signal(number: int, frame: FrameType | None) -> None:
        signals.append(number)
        if len(signals) == 1:
            cluster.stop()
        elif len(signals) == 2:
            cluster.interrupt(_SecondSignal())

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    try:
        try:
            cluster.start()
            code = cluster.wait_exit()
        finally:
            cluster.close()
        if code > 128 and not signals:
            text = f"the master was killed by signal {code - 128}; with --checkpoint, start again to go on"
            say(f"ps-local: {text}")
        return code
    except _SecondSignal:
        return 128 + signals[-1]
    except ClusterError as error:
        if signals and error.exit_code == 128 + signal.SIGTERM:
            return 0  # asked to stop before the master had begun
        if not error.is_shown:
            say(f"ps-local: {error}")
        return error.exit_code


class _SecondSignal(BaseException):
    """Raised by a second INT or TERM in the main thread: whatever it waits for, it ends now."""


def main() -> None:
    sys.exit(command.run(cli, "ps-local"))


if __name__ == "__main__":
    main()
