"""ps-server own: a master for workers that bring their own training loop (`paramserver.connect`)."""

from typing import Any

import click

from paramserver.cli.master import master_options, run_master
from ps_common.errors import UsageError
from ps_common.loop_job import LoopJob
from ps_common.plan import Plan, overridden, parsed

_Count = click.IntRange(1)
_PLAN = ("shards", "batch_size", "local_steps", "epochs", "quorum", "rule")


@click.command(context_settings={"auto_envvar_prefix": "PS", "show_default": True})
@click.option("--samples", type=_Count, metavar="N", help="Samples of an epoch, each to be counted once.")
@click.option("--rounds", type=_Count, metavar="N", help="Rounds of an epoch, where samples are not known.")
@click.option("--batch-size", type=_Count, metavar="N", help="Same as --set batch_size=N.")
@click.option("--local-steps", type=_Count, metavar="N", help="Same as --set local_steps=N.")
@click.option(
    "--lease-timeout",
    default=60.0,
    type=click.FloatRange(0.1),
    metavar="SECONDS",
    help="Time without a batch or a push, then another loop gets the unit.",
)
@master_options
def cli(
    samples: int | None, rounds: int | None, batch_size: int | None, local_steps: int | None,
    lease_timeout: float, **given: Any,
) -> int:  # fmt: skip
    """Serve training loops of your own, which connect with paramserver.connect.

    A run has --epochs epochs, each of --samples samples cut into --shards shards, or of --rounds rounds.
    """
    plan = {"batch_size": batch_size, "local_steps": local_steps}
    flags = {name: str(value) for name, value in plan.items() if value is not None}

    def load(overrides: dict[str, str]) -> LoopJob:
        return _job(samples, rounds, overrides | flags)

    return run_master(load, given, lease_timeout_s=lease_timeout)


def _job(samples: int | None, rounds: int | None, settings: dict[str, str]) -> LoopJob:
    """The run as the flags say. Raises `UsageError` for a setting that there is not."""
    seed = parsed("seed", settings.get("seed", "0"), int)
    plan = {name: value for name, value in settings.items() if name != "seed"}
    unknown = {key for key in plan if key.partition(".")[0] not in _PLAN}
    if unknown:
        raise UsageError(
            f"--set {min(unknown)}: where loops are your own, a run has {', '.join(_PLAN)} and seed"
        )
    return LoopJob(plan=overridden(Plan(), plan), samples=samples, rounds=rounds, seed=seed)
