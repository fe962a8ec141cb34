"""What a fault costs: real processes, signals and a proxy. Writes results/chaos.json and results/chaos.md.

    make chaos                                        everything, about twenty minutes
    make chaos ARGS="--quick"                         two faults of each kind, about two minutes

Of each fault there are twenty, one after the other in one run of two workers, the second behind a proxy; the
next one comes when everybody is back. (In the short form all faults of a mode are in one run.) Who is behind
a proxy cannot prove which process it is, so in mode auto the first worker shares memory with the master, and
the second sends chunks. A round has
four units of 20 ms, so that whoever joins is given some. Recovery is the time from the fault to the end of
the first round that was begun after it, as the master's log dates it: that round needs whoever was hit, or
somebody in his place. So an ordinary round's time is in it. In the end the run is stopped, and its weights
are compared with those of as many rounds in which nothing happens.
"""

import concurrent.futures
import contextlib
import dataclasses
import itertools
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import psutil
from measuring import HERE, machine, summary

from paramserver import datasets
from paramserver.cluster import LocalCluster

sys.path.insert(0, str(HERE.parent / "tests"))
from support_proxy import Proxy, Side, Way

JOB = HERE / "jobs" / "chaos.py"
FAULTS, QUICK = 20, 2
WORKERS = 2
CALM_ROUNDS = 3  # closed with everybody there, before the next fault
LIMIT_S = 60.0  # for anything to happen
POLL_S = 0.005
LATEST_S = 0.05  # a fault comes so long after its turn at most, so that it hits any moment of a round
STOPPED_S = 5.0
HOLE_S = 10.0
ONE_WAY_S = 5.0
MODES = {"auto": ("--transport", "auto"), "tcp": ("--transport", "tcp"), "servers 2": ("--servers", "2")}


class Watch:
    """What the masters of a cluster have logged, one JSON object a line; looked at while they write."""

    def __init__(self, folder: Path) -> None:
        self.closed: list[float] = []  # when each round was closed, as time.time() counts
        self.rounds = 0  # closed, those not counted that a killed master had not saved
        self.members: set[str] = set()  # by name: who begins anew joins once more, and has not left
        self._folder = folder
        self._masters = 0
        self._read = 0  # bytes of the log of the last master

    def look(self) -> None:
        while True:
            path = self._folder / f"master-{self._masters or 1}.log"
            with path.open("rb") as log:
                log.seek(self._read)
                text = log.read()
            whole = text[: text.rfind(b"\n") + 1]
            self._read += len(whole)
            for line in whole.splitlines():
                try:
                    self._take(json.loads(line))
                except ValueError as error:
                    raise RuntimeError(f"{path.name} is no log:\n{text.decode()}") from error
            if not (self._folder / f"master-{max(1, self._masters) + 1}.log").exists():
                return
            self._masters, self._read, self.members = max(1, self._masters) + 1, 0, set()

    def _take(self, line: dict[str, Any]) -> None:
        if line["event"] == "epoch":
            self.closed.append(line["at"])
            self.rounds = line["epoch"]
        elif line["event"] == "join":
            self.members.add(line["worker"])
        elif line["event"] in ("leave", "loss") and "worker" in line:
            self.members.discard(line["worker"])

    def closed_after(self, moment: float) -> list[float]:
        return [at for at in self.closed[-1000:] if at > moment]


@dataclasses.dataclass
class Scene:
    """A run that is being disturbed."""

    cluster: LocalCluster
    proxy: Proxy
    watch: Watch
    rng: random.Random

    def wait_until(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + LIMIT_S
        while True:
            if not self.cluster.look_after():
                raise RuntimeError(f"the run has ended:\n{self.story()}")
            self.watch.look()
            if holds():
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"after {LIMIT_S:g} s: {what}\n{self.story()}")
            time.sleep(POLL_S)

    def story(self) -> str:
        """What the master and the workers have said of late, but for the rounds."""
        lines = [line for line in self.cluster.master_log().splitlines() if '"event": "epoch"' not in line]
        said = [self.cluster.worker_log(number)[-2000:] for number in range(len(self.cluster.workers))]
        return "\n".join([*lines[-30:], *said])

    def calm(self) -> None:
        """Wait until everybody is there, and rounds go by."""
        self.wait_until(lambda: len(self.watch.members) == WORKERS, "somebody is missing")
        now = time.time()
        self.wait_until(lambda: len(self.watch.closed_after(now)) >= CALM_ROUNDS, "no rounds are closed")

    def recovered(self, since: float) -> float:
        """Wait for the end of the first round begun after `since`; seconds until then."""
        self.wait_until(lambda: len(self.watch.closed_after(since)) >= 2, "the run does not go on")
        return self.watch.closed_after(since)[1] - since

    @property
    def victim(self) -> int:
        """The process id of the worker behind the proxy."""
        return self.cluster.workers[1].process.pid


# -- faults: each makes one, and returns the seconds until the run has recovered ----------------------------


def kill_a_worker(scene: Scene) -> float:
    os.kill(scene.victim, signal.SIGKILL)
    return scene.recovered(time.time())


def stop_a_worker(scene: Scene) -> float:
    began, victim = time.time(), scene.victim
    os.kill(victim, signal.SIGSTOP)
    took = scene.recovered(began)
    scene.wait_until(lambda: time.time() >= began + STOPPED_S, "time stands still")
    os.kill(victim, signal.SIGCONT)
    return took


def kill_the_master(scene: Scene) -> float:
    assert scene.cluster.master is not None
    os.kill(scene.cluster.master.process.pid, signal.SIGKILL)
    return scene.recovered(time.time())


def kill_a_server(scene: Scene) -> float:
    assert scene.cluster.master is not None
    servers = psutil.Process(scene.cluster.master.process.pid).children()
    scene.rng.choice(servers).kill()
    return scene.recovered(time.time())


def delay(scene: Scene) -> float:
    return _while_changed(scene, delay_s=0.05)


def slow_down(scene: Scene) -> float:
    return _while_changed(scene, bytes_per_s=20e6 / 8)


def cut(scene: Scene) -> float:
    return _while_connecting_again(scene, scene.proxy.cut)


def forget(scene: Scene) -> float:
    side: Side = scene.rng.choice(["caller", "target"])
    return _while_connecting_again(scene, lambda: scene.proxy.forget(side))


def black_hole(scene: Scene) -> float:
    return _while_held(scene, [scene.proxy.up, scene.proxy.down], HOLE_S)


def partition(scene: Scene) -> float:
    return _while_held(scene, [scene.rng.choice([scene.proxy.up, scene.proxy.down])], ONE_WAY_S)


def _while_connecting_again(scene: Scene, lose: Callable[[], None]) -> float:
    lose()
    began, before = time.time(), scene.proxy.up.passed
    took = scene.recovered(began)
    scene.wait_until(lambda: scene.proxy.up.passed > before, "the worker does not connect again")
    return took


def _while_changed(scene: Scene, **fault: float) -> float:
    ways = (scene.proxy.up, scene.proxy.down)
    for way in ways:
        way.change(**fault)
    took = scene.recovered(time.time())
    for way in ways:
        way.change()
    return took


def _while_held(scene: Scene, ways: list[Way], at_least_s: float) -> float:
    """Nothing comes through these ways, until the run has recovered and so long at least."""
    began = time.time()
    for way in ways:
        way.hold()
    took = scene.recovered(began)
    scene.wait_until(lambda: time.time() >= began + at_least_s, "time stands still")
    for way in ways:
        way.let_go()
    return took


@dataclasses.dataclass(frozen=True)
class Fault:
    """A kind of fault. modes: where there is such a thing. is_slow: most of its time is spent waiting."""

    name: str
    make: Callable[[Scene], float]
    work: str = "paced"
    modes: tuple[str, ...] = tuple(MODES)
    is_slow: bool = False


KINDS = (
    Fault("worker SIGKILL", kill_a_worker),
    Fault("worker SIGSTOP for 5 s", stop_a_worker, is_slow=True),
    Fault("master SIGKILL", kill_the_master),
    Fault("master SIGKILL, MNIST-5k", kill_the_master, work="mnist"),
    Fault("averaging server SIGKILL", kill_a_server, modes=("servers 2",)),
    Fault("network: 50 ms later", delay),
    Fault("network: 20 Mbit/s", slow_down),
    Fault("network: connection cut", cut),
    Fault("network: connection half open", forget, is_slow=True),
    Fault("network: nothing for 10 s", black_hole, is_slow=True),
    Fault("network: nothing one way for 5 s", partition, is_slow=True),
)


def measure(faults: list[Fault], mode: str, count: int) -> list[dict[str, Any]]:
    """One run with so many of each of these faults, and one without any."""
    with tempfile.TemporaryDirectory(prefix="chaos-") as name:
        flags = [*MODES[mode], f"--set=work={faults[0].work}", "--seed=7"]
        entries, record = _disturbed(faults, flags, Path(name), count)
        rounds = record["rounds"]
        with LocalCluster(JOB, 1, server_flags=[*flags, "--until-round", str(rounds)]) as cluster:
            undisturbed = cluster.wait(600.0)
    is_same = undisturbed["rounds"] == rounds and undisturbed["weights_sha256"] == record["weights_sha256"]
    return [entry | {"mode": mode, "rounds": rounds, "is_same": is_same} for entry in entries]


def _disturbed(
    faults: list[Fault], flags: list[str], folder: Path, count: int
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    notes = folder / "notes"
    kept = ["--checkpoint", str(folder / "kept"), "--checkpoint-every", "1round"]
    flags = [*flags, *kept, "--log-format", "json", f"--set=notes={notes}"]
    flags += ["--set=step_s=0"] if faults[0].work == "mnist" else []
    restarts = 2 * count * len(faults)
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(
            LocalCluster(JOB, 1, server_flags=flags, folder=folder / "logs", restarts=restarts)
        )
        proxy = stack.enter_context(Proxy(cluster.address))
        cluster.start_worker("--master", proxy.address)
        scene = Scene(cluster, proxy, Watch(folder / "logs"), random.Random(1))
        scene.calm()
        entries = []
        for fault in faults:
            closed = scene.watch.closed[-CALM_ROUNDS:]
            begun, rounds = notes.stat().st_size, scene.watch.rounds
            recovery = []
            for _ in range(count):
                time.sleep(scene.rng.uniform(0.0, LATEST_S))  # the instant
                recovery.append(fault.make(scene))
                scene.calm()
            steps, units = (1, 4) if fault.work == "paced" else (42, 6)  # of a unit, and of a round
            done = units * (scene.watch.rounds - rounds)
            entry = {
                "fault": fault.name,
                "recovery_s": recovery,
                "ordinary_round_s": statistics.median(b - a for a, b in itertools.pairwise(closed)),
                "units_again": max(0.0, (notes.stat().st_size - begun) / steps - done),
            }
            entries.append(entry)
        cluster.stop()
        return entries, cluster.wait(LIMIT_S)


# -- the whole of it ----------------------------------------------------------------------------------------


def percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def markdown(figures: dict[str, Any]) -> str:
    host, rows = figures["machine"], []
    for entry in figures["entries"]:
        seconds = entry["recovery_s"]
        rows.append(
            f"| {entry['fault']} | {entry['mode']} | {percentile(seconds, 50):.2f} | "
            f"{percentile(seconds, 95):.2f} | {len(seconds)} | {entry['units_again']:.0f} | "
            f"{'yes' if entry['is_same'] else 'NO'} |"
        )
    rounds = summary([entry["ordinary_round_s"] for entry in figures["entries"]])["median"]
    return "\n".join(
        (
            "# What a fault costs",
            "",
            f"{host['date']}, {host['processor']}, {host['cores']} cores, Linux {host['kernel']}"
            f"{'; a quick run, to see that it works' if figures['quick'] else ''}. Made by `make chaos`; "
            "[chaos.py](../chaos.py) says how.",
            "",
            "Seconds from a fault to the end of the first round begun after it; an ordinary round takes "
            f"{rounds:.2f}. A worker that is silent is given up after 2 s, a connection after 10 s. Units "
            "done again are those of all faults of a row; up to four of them were in hand at its end.",
            "",
            "| fault | mode | p50 (s) | p95 (s) | faults | units done again | same weights |",
            "|---|---|---:|---:|---:|---:|---|",
            *rows,
            "",
        )
    )


@click.command(context_settings={"show_default": True})
@click.option("--quick", is_flag=True, help="Two faults of each kind: to see that it works.")
@click.option(
    "--only", multiple=True, type=click.Choice([kind.name for kind in KINDS]), help="Faults; all by default."
)
@click.option("--out", default=HERE / "results", type=click.Path(path_type=Path), help="Folder to write to.")
def main(quick: bool, only: tuple[str, ...], out: Path) -> None:
    """Disturb runs in every way, and measure how long each takes to go on."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # children go too
    out.mkdir(parents=True, exist_ok=True)
    count, began = QUICK if quick else FAULTS, time.monotonic()

    kinds = [kind for kind in KINDS if kind.name in only or not only]
    if any(kind.work == "mnist" for kind in kinds):
        datasets.load("mnist-5k")  # fetched now, if need be, and not while anybody waits or logs

    def some(faults: list[Fault], mode: str) -> list[dict[str, Any]]:
        entries = measure(faults, mode, count)
        for entry in entries:
            click.echo(f"{entry['fault']}, {mode}: {statistics.median(entry['recovery_s']):.2f} s", err=True)
        return entries

    def alone(fault: Fault, mode: str) -> list[dict[str, Any]]:
        return some([fault], mode)

    found: list[list[dict[str, Any]]] = []
    # Beside one another where they wait for the most part, and where times do not matter.
    with concurrent.futures.ThreadPoolExecutor(len(MODES)) as lanes:
        if quick:  # all in one run, but for those of another job
            runs = [
                ([kind for kind in kinds if mode in kind.modes and kind.work == work], mode)
                for work in ("paced", "mnist")
                for mode in MODES
            ]
            found += lanes.map(lambda run: some(*run) if run[0] else [], runs)
        else:
            for fault in kinds:
                each = lanes.map if fault.is_slow else map
                found += each(alone, [fault] * len(fault.modes), fault.modes)
    order = {kind.name: number for number, kind in enumerate(KINDS)}
    entries = sorted((entry for some_ in found for entry in some_), key=lambda entry: order[entry["fault"]])
    figures = {
        "machine": machine(sys.executable),
        "seconds": round(time.monotonic() - began, 1),
        "quick": quick,
        "entries": entries,
    }
    (out / "chaos.json").write_text(json.dumps(figures, indent=1) + "\n")
    (out / "chaos.md").write_text(markdown(figures))
    click.echo(f"written to {out / 'chaos.md'}")


if __name__ == "__main__":
    main()
