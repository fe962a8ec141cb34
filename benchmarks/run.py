"""All measurements: writes results/*.json, results/report.md and results/rounds.svg. Asserts nothing.

    python benchmarks/run.py                          everything, about twenty minutes
    python benchmarks/run.py --only rounds --quick    one part, small

What is missing here (a peer that is not installed, rights) is named in the report with its reason.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attacked
import click
import curve
import fan_in
import memory_use
import mnist_race
import namespaces
import report
import rounds
import saving
import steps
from measuring import HERE, MissingError, Setting, foreign_cpu_seconds, machine

PARTS: dict[str, Callable[[Setting], dict[str, Any]]] = {
    "rounds": rounds.measure,
    "fan_in": fan_in.measure,
    "memory": memory_use.measure,
    "saving": saving.measure,
    "curve": curve.measure,
    "steps": steps.measure,
    "mnist": mnist_race.measure,
    "namespaces": namespaces.measure,
    "attacked": attacked.measure,
}


@click.command(context_settings={"show_default": True})
@click.option(
    "--only", multiple=True, type=click.Choice(list(PARTS)), help="Parts; all by default. Repeat for several."
)
@click.option("--quick", is_flag=True, help="Small sizes and few rounds: to see that it works.")
@click.option(
    "--peers", default=sys.executable, metavar="PYTHON", help="Python with PyTorch, Ray and mpi4py."
)
@click.option("--out", default=HERE / "results", type=click.Path(path_type=Path), help="Folder to write to.")
def main(only: tuple[str, ...], quick: bool, peers: str, out: Path) -> None:
    """Measure this project beside its peers and the machine's own ceilings."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # children and links go too
    setting = Setting(peers, quick, lambda text: click.echo(text, err=True))
    out.mkdir(parents=True, exist_ok=True)
    host = machine(peers)
    for name in only or PARTS:
        began, foreign, load = time.monotonic(), foreign_cpu_seconds(), os.getloadavg()[0]
        try:
            figures = PARTS[name](setting)
        except MissingError as error:
            figures = {"missing": {name: str(error)}}
        spent = {
            "load_before": load,
            "seconds": round(time.monotonic() - began, 1),
            "foreign_cpu_s": round(foreign_cpu_seconds() - foreign, 1),
            "quick": quick,
        }
        (out / f"{name}.json").write_text(json.dumps({"machine": host, **spent, **figures}, indent=1) + "\n")
        setting.say(f"{name}: done in {spent['seconds']:.0f} s")
    (out / "report.md").write_text(report.markdown(out))
    plot = subprocess.run([peers, str(HERE / "plot.py"), str(out)], capture_output=True, text=True)
    if plot.returncode:
        setting.say(f"no plot: {(plot.stderr.strip().splitlines() or ['it failed'])[-1]}")
    click.echo(f"written to {out / 'report.md'}")


if __name__ == "__main__":
    main()
