"""ps-ray: a run on a Ray cluster, from start to end, whatever signals come."""

import dataclasses
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import click

from paramserver.cli.options import CommonOptions, common_options, parse_servers
from ps_common import command
from ps_common.errors import UsageError
from ps_common.saying import say
from ps_common.signals import pass_on

if TYPE_CHECKING:
    from paramserver.ray import RayRun

_Folder = click.Path(exists=True, file_okay=False, path_type=Path)
_Positive = click.FloatRange(0.1)


@click.command(context_settings={"auto_envvar_prefix": "PS", "show_default": True})
@click.argument("job")
@click.option("-n", "--workers", default=2, type=click.IntRange(1, 1024), help="Workers, an actor each.")
@click.option("--cpus-per-worker", default=1.0, type=click.FloatRange(0), metavar="N", help="Of Ray's.")
@click.option("--gpus-per-worker", default=0.0, type=click.FloatRange(0), metavar="N", help="Of Ray's.")
@click.option(
    "--address", default="auto", metavar="auto|local|HOST:PORT", help="The cluster; local: one of its own."
)
@click.option(
    "--working-dir", type=_Folder, metavar="DIR", help="Let Ray copy this folder to all nodes; JOB is in it."
)
@click.option(
    "--strategy",
    type=click.Choice(["SPREAD", "PACK", "STRICT_SPREAD", "STRICT_PACK"]),
    default="SPREAD",
    help="Of the placement group.",
)
@click.option("--device", metavar="auto|cpu|cuda[:i]", help="Where workers compute; by default as Ray says.")
@click.option("--threads", type=click.IntRange(1, 1024), help="BLAS threads of each worker (other bits).")
@click.option("--restarts", default=10, type=click.IntRange(0), metavar="N", help="Of each part.")
@click.option("--insecure", is_flag=True, help="No keys, though other machines reach it.")
@click.option(
    "--placement-timeout", default=300.0, type=_Positive, metavar="SECONDS", help="For room in the cluster."
)
@click.option(
    "--master-timeout", default=120.0, type=_Positive, metavar="SECONDS", help="For a lost master to be back."
)
@common_options
def cli(job: str, **given: Any) -> int:
    """Train JOB on a Ray cluster, where what is lost with its node is started again on another."""
    ray = _import()
    second: list[int] = []
    is_quiet, wanted = given["quiet"], _wanted(given)
    try:
        result = ray.run(job, on_begin=lambda running: _listen(running, second), **wanted)
    except ray.Interrupted:
        return 128 + second[0]
    if not is_quiet:
        metrics = "".join(f"  {name} {value:.4f}" for name, value in result.metrics.items())
        say(f"ps-ray: {result.status}{metrics}  weights_sha256 {result.weights_sha256 or 'none'}")
    return 0


def _wanted(given: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `paramserver.ray.run`."""
    threads, device = given.pop("threads"), given.pop("device")
    own = {
        name: given.pop(name)
        for name in (
            "workers", "cpus_per_worker", "gpus_per_worker", "address", "working_dir", "strategy", "restarts",
            "insecure",
        )
    }  # fmt: skip
    own["placement_timeout_s"] = given.pop("placement_timeout")
    own["master_timeout_s"] = given.pop("master_timeout")
    options = CommonOptions.of(given)
    averagers, urls = parse_servers(options.servers)
    kept_here = dataclasses.replace(
        options, servers=options.servers if urls else "1", checkpoint=None, out=None, json_path=None
    )
    worker_flags = ["--shutdown-timeout", str(options.shutdown_timeout)]
    worker_flags += ["--threads", str(threads)] if threads else []
    worker_flags += ["--device", device] if device else []
    worker_flags += ["--quiet"] if options.quiet else []
    return own | {
        "servers": averagers,
        "checkpoint": options.checkpoint,
        "out": options.out,
        "json_file": options.json_path,
        "keys": options.keys,
        "server_flags": kept_here.to_flags(),
        "worker_flags": worker_flags,
    }


def _listen(running: "RayRun", second: list[int]) -> None:
    """second: is told the number of the signal that cuts the run short."""

    def cut(number: int) -> None:
        second.append(number)
        running.cut()

    pass_on(running.stop, running.save, cut)


def _import() -> ModuleType:
    """Raises `UsageError` where Ray is not installed."""
    try:
        from paramserver import ray
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        text = "Ray is not installed; install it, on every node: pip install 'paramserver[ray]'"
        raise UsageError(text) from error
    return ray


def main() -> None:
    sys.exit(command.run(cli, "ps-ray"))


if __name__ == "__main__":
    main()
