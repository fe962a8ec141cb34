"""ps-local: a master and workers on this machine, in one terminal."""

import sys
from pathlib import Path
from typing import Any

import click

from paramserver.cli.driving import drive
from paramserver.cli.options import CommonOptions, common_options
from paramserver.cluster import LocalCluster
from ps_common import arrays, command


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
        keys=options.keys,
        folder=log_folder,
        show=True,
        restarts=restarts,
    )
    return drive(cluster, "ps-local")


def main() -> None:
    sys.exit(command.run(cli, "ps-local"))


if __name__ == "__main__":
    main()
