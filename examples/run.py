"""Runs the examples whole, with one worker and with two, and writes what came out: results/README.md.

    python examples/run.py                              everything, some 20 minutes on two cores
    python examples/run.py --only movielens --quick     one of them, cut short: to see that it works

It holds each example's figure against its claim (`claims.py`) and the weights of both runs against each
other, and ends with 1 where a claim is not met or the weights differ. What was written of others stays.
"""

import datetime
import importlib
import importlib.metadata
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import report
from threadpoolctl import threadpool_limits

import paramserver
from paramserver import LocalCluster, Model

HERE = Path(__file__).parent
EXAMPLES = (
    "mnist_mlp",
    "mnist_cnn",
    "shakespeare_transformer",
    "shakespeare_lstm",
    "movielens",
    "breast_cancer",
    "diabetes",
    "online_retail",
    "stocks",
)
WORKERS = (1, 2)
RUN_TIMEOUT_S = 3600.0


@click.command(context_settings={"show_default": True})
@click.option(
    "--only", multiple=True, type=click.Choice(EXAMPLES), help="Examples; all by default. Repeat for several."
)
@click.option("--quick", is_flag=True, help="Cut short, and said so in the table: to see that it works.")
@click.option("--out", default=HERE / "results", type=click.Path(path_type=Path), help="Folder to write to.")
def main(only: tuple[str, ...], quick: bool, out: Path) -> None:
    """Train the examples with 1 and with 2 workers and write a table of what they reach."""
    out.mkdir(parents=True, exist_ok=True)
    if str(HERE) not in sys.path:
        sys.path.insert(0, str(HERE))
    store = out / "results.json"
    results = json.loads(store.read_text()) if store.exists() else {}
    for name in only or EXAMPLES:
        results[name] = run_example(name, quick, out)
        store.write_text(json.dumps(results, indent=1) + "\n")
        (out / "README.md").write_text(report.page({n: results[n] for n in EXAMPLES if n in results}))
    click.echo(f"written to {out / 'README.md'}")
    ran = [results[name] for name in only or EXAMPLES]
    sys.exit(
        not all(result["quick"] or result["is_met"] for result in ran) or not all(map(report.is_same, ran))
    )


def run_example(name: str, quick: bool, out: Path) -> dict[str, Any]:
    """Everything about one example, as it stands in results.json."""
    example = importlib.import_module(name)
    click.echo(f"{name}: the baselines", err=True)
    baselines = example.baselines()
    runs = [run_claim(name, example, workers, quick, out) for workers in WORKERS]
    return {
        "data": example.claim.data,
        "figure": example.claim.figure,
        "target": example.claim.target(),
        "baselines": baselines,
        "runs": runs,
        "is_met": all(example.claim.is_met(run["got"], baselines) for run in runs),
        "seed": example.job.seed,
        "quick": quick,
        "shown": [path.name for path in sorted(out.glob(f"{name}.*"))],
        "machine": machine(),
    }


def run_claim(name: str, example: ModuleType, workers: int, quick: bool, out: Path) -> dict[str, Any]:
    """All runs of a claim with so many workers, their figure, and what is shown of the models."""
    with tempfile.TemporaryDirectory(prefix="paramserver-") as folder:
        began, records, models = time.monotonic(), [], []
        for number, settings in enumerate(example.claim.runs):
            kept = Path(folder) / f"{number}.safetensors"
            record, model = train(name, workers, (*settings, *(example.claim.quick if quick else ())), kept)
            records.append(record)
            models.append(model)
        seconds = time.monotonic() - began
        with threadpool_limits(example.job.plan.threads):  # as the workers: so are the bits of the figure
            got = float(example.measure(models))
            example.show(models, out / name)
    click.echo(f"{name}: {got:.6g} with {workers} worker(s) after {seconds:.1f} s", err=True)
    return {
        "workers": workers,
        "got": got,
        "seconds": seconds,
        "train_seconds": sum(record["train_seconds"] for record in records),
        "digests": [record["weights_sha256"] for record in records],
        "parameters": records[0]["parameters"],
    }


def train(name: str, workers: int, settings: Sequence[str], kept: Path) -> tuple[dict[str, Any], Model]:
    """Run the example's job to its end with real processes, as `ps-local` does."""
    flags = [f"--set={setting}" for setting in settings] + ["--out", str(kept)]
    with LocalCluster(HERE / f"{name}.py", workers, server_flags=flags) as cluster:
        record = cluster.wait(RUN_TIMEOUT_S)
    return record, paramserver.load(kept)


def machine() -> dict[str, Any]:
    """The machine, the day and the versions that a figure belongs to."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    versions = {name: importlib.metadata.version(name) for name in ("paramserver", "numpy")}
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "place": f"{models[0] if models else platform.machine()}, {os.cpu_count()} cores",
        "versions": {"Python": platform.python_version(), **versions},
    }


if __name__ == "__main__":
    main()
