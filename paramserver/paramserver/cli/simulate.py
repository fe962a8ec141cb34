"""ps-simulate: how a job would run on a cluster, without the cluster."""

import json
import math
import re
import sys
import time
from pathlib import Path
from typing import Any

import click

from paramserver.cli.options import parse_settings
from paramserver.serve import require_writable
from paramserver.simulation.bottleneck import bottleneck_of
from paramserver.simulation.hardware import MEASURED
from paramserver.simulation.modelled import layout, modelled, step_s
from paramserver.simulation.prediction import Question, predict
from paramserver.simulation.report import Report
from ps_common import arrays, command
from ps_common.errors import UsageError
from ps_common.files import write_whole
from ps_common.loader import load_job
from ps_common.saying import say

_PREFIXES = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_Seconds = click.FloatRange(0.0, min_open=True)
_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


@click.command(context_settings={"auto_envvar_prefix": "PS_SIMULATE", "show_default": True})
@click.argument("job")
@click.option("-n", "--workers", default=2, type=click.IntRange(1, 100_000), help="Workers.")
@click.option(
    "--workers-per-host", default=1, type=click.IntRange(1), help="Workers that share a host and its link."
)
@click.option(
    "--servers",
    default=1,
    type=click.IntRange(1, 4096),
    help="Averaging servers; 1: the master averages.",
)
@click.option("--bandwidth", default="10Gbit", metavar="RATE", help="Of each host's link, each way.")
@click.option("--latency", default="50us", metavar="TIME", help="Between two hosts, one way.")
@click.option("--cores", type=click.IntRange(1), help="Of each host; by default enough for its workers.")
@click.option("--rounds", default=3, type=click.IntRange(1, 100_000), help="Rounds to simulate.")
@click.option(
    "--step-time",
    type=_Seconds,
    metavar="SECONDS",
    help="Of a training step; by default measured here.",
)
@click.option("--device", default="auto", metavar="auto|cpu|cuda[:i]", help="Where a step is measured.")
@click.option(
    "--set",
    "settings",
    envvar="PS_SIMULATE_SET",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a setting of the job.",
)
@click.option("--shards", type=click.IntRange(1), help="By default the job's, at least one a worker.")
@click.option("--samples", type=click.IntRange(1), help="As if there were so many training samples.")
@click.option("--seed", default=0, type=click.IntRange(0), help="Of chance in the simulation.")
@click.option(
    "--json",
    "json_path",
    envvar="PS_SIMULATE_JSON",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="PATH",
    help="Write the prediction here.",
)
@click.option("--quiet", is_flag=True, help="Do not say how far the simulation is.")
def cli(
    job: str, bandwidth: str, latency: str, step_time: float | None, device: str, settings: tuple[str, ...],
    shards: int | None, samples: int | None, json_path: Path | None, quiet: bool, **cluster: Any,
) -> None:  # fmt: skip
    """Predict how JOB, a Python file with a variable `job` or package.module:name, runs on a cluster."""
    began = time.monotonic()
    bytes_a_second, latency_s = parse_rate(bandwidth), parse_time(latency)
    if json_path is not None:
        require_writable("--json", json_path)
    where, overrides = arrays.device(device), parse_settings(settings)
    loaded = load_job(job, overrides)
    described = loaded.describe()
    least = cluster["workers"] if "shards" not in overrides else 1
    model = modelled(described, least, shards, samples, cluster["rounds"])
    is_measured = step_time is None
    question = Question(
        job=model,
        layout=layout(described, loaded.job),
        step_s=step_s(described, loaded.job, where) if step_time is None else step_time,
        bandwidth=bytes_a_second,
        latency_s=latency_s,
        costs=MEASURED,
        cores=cluster.pop("cores") or math.inf,
        **cluster,
    )
    answer = predict(question, _nothing if quiet else _progress)
    report = Report(question, answer, bottleneck_of(answer.busy), is_measured, time.monotonic() - began)
    for line in report.lines(described.schedule.shards.count):
        say(line, sys.stdout)
    if json_path is not None:
        write_whole(json_path, json.dumps(report.record(), indent=2) + "\n")


def _progress(text: str) -> None:
    say(f"ps-simulate: {text}")


def _nothing(text: str) -> None:
    pass


def parse_rate(text: str) -> float:
    """Bytes a second from "10Gbit" or "1.25GB"."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMGT]?)(bit|B)(?:/s)?", text)
    if match is None or float(match[1]) <= 0:
        raise UsageError(f"--bandwidth {text}: write it as 400Mbit, 10Gbit or 1.25GB (a second)")
    return float(match[1]) * _PREFIXES[match[2]] / (8 if match[3] == "bit" else 1)


def parse_time(text: str) -> float:
    """Seconds from "50us", "2ms" or "0.1s"."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|ms|us|µs|ns)", text)
    if match is None:
        raise UsageError(f"--latency {text}: write it as 50us, 2ms or 0.1s")
    return float(match[1]) * _UNITS[match[2]]


def main() -> None:
    sys.exit(command.run(cli, "ps-simulate"))


if __name__ == "__main__":
    main()
