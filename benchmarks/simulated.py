"""What ps-simulate predicts beside what real runs take: 2, 4 and 8 workers, each on a host of its own.

    python benchmarks/simulated.py        writes results/simulated.md

    master ==== bridge ==== worker 1, worker 2, ..., averaging servers

Hosts are network namespaces, and each has one link to a bridge: both ends send through a token bucket (`tc
tbf`), so that all workers share the master's link. Steps sleep, so that eight workers do not fight for two
cores. Needs root, iproute2 and a kernel with veth, bridges and tbf. Everything is removed afterwards.
"""

import contextlib
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ours
from measuring import HERE, MissingError, end, last_line, machine
from namespaces import call, inside, remove, remove_leftovers

PORT = 5555
LIMIT_S = 300.0
WARM_UP = 2  # rounds left out
ATTEMPTS = 3


class Case(NamedTuple):
    """One job on one cluster. sleep_s: of the one step of a unit."""

    kind: str
    workers: int
    servers: int
    parameters: int
    sleep_s: float
    megabit: int
    rounds: int


CASES = [
    *(Case("computing", n, 1, 1_000, 0.25, 400, 12) for n in (2, 4, 8)),
    *(Case("link", n, 1, 2_000_000, 0.001, 400, 8) for n in (2, 4, 8)),
    *(Case("both", n, 1, 2_000_000, 0.17 * n, 400, 8) for n in (2, 4, 8)),
    *(Case("link", n, 2, 2_000_000, 0.001, 400, 8) for n in (4, 8)),
    Case("link, slow", 8, 1, 2_000_000, 0.001, 100, 3),
]


def main() -> None:
    rows = []
    for case in CASES:
        predicted = prediction(case)
        measured = undisturbed(case)
        rows.append((case, predicted, measured))
        print(f"{case}: {predicted:.3f} s predicted, {measured:.3f} s measured", file=sys.stderr)
    (HERE / "results" / "simulated.md").write_text(text_of(rows))


def job_flags(case: Case, notes: str) -> list[str]:
    values = {
        "parameters": case.parameters,
        "workers": case.workers,
        "rounds": case.rounds + WARM_UP + 1,
        "sleep_s": case.sleep_s,
        "notes": notes,
    }
    return [f"--set={name}={value}" for name, value in values.items()]


def prediction(case: Case) -> float:
    """Seconds a round, as ps-simulate says."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "prediction.json"
        cluster = {
            "workers": case.workers,
            "servers": case.servers,
            "bandwidth": f"{case.megabit}Mbit",
            "step-time": case.sleep_s,
            "rounds": case.rounds,
            "json": path,
        }
        flags = [*(f"--{name}={value}" for name, value in cluster.items()), "--quiet"]
        words = [sys.executable, "-m", "paramserver.cli.simulate", str(ours.JOB)]
        subprocess.run([*words, *flags, *job_flags(case, "")], check=True, stdout=subprocess.DEVNULL)
        return float(json.loads(path.read_text())["round_seconds"]["median"])


def undisturbed(case: Case) -> float:
    """Seconds a round of a run in which every worker had one unit a round: nobody came late or was lost."""
    for _ in range(ATTEMPTS):
        measured = round_seconds(case)
        if measured is not None:
            return measured
    raise MissingError(f"{case}: workers came late or were lost in {ATTEMPTS} runs; is the machine busy?")


def round_seconds(case: Case) -> float | None:
    """The same of real processes: the median over shards and rounds, from a step to the next of its shard."""
    names = ["master", *(f"w{i}" for i in range(case.workers)), *(f"s{i}" for i in range(case.servers))]
    if case.servers == 1:
        names.remove("s0")
    running: list[subprocess.Popen[bytes]] = []
    with hosts(names, case.megabit) as places, contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="simulated-")))
        stack.callback(end, running)
        log = stack.enter_context((folder / "log").open("wb"))

        def start(name: str, module: str, *arguments: str) -> None:
            command = [*inside(places[name][0]), *ours.python(module, *arguments)]
            running.append(subprocess.Popen(command, stderr=log, stdout=log))

        urls = []
        for name in names:
            if name.startswith("s"):
                urls.append(f"tcp://{places[name][1]}:{PORT + 1}")
                start(name, "paramserver.cli.average", "--bind", urls[-1], "--insecure")
        flags = [*job_flags(case, str(folder / "notes")), "--transport", "tcp"]
        flags += ["--servers", ",".join(urls)] if urls else []
        bind = f"tcp://{places['master'][1]}:{PORT}"
        start(
            "master", "paramserver.cli.server", str(ours.JOB), "--bind", bind, "--insecure",
            "--workers", str(case.workers), *flags,
        )  # fmt: skip
        waited = [running[-1]]
        for name in names:
            if name.startswith("w"):
                start(name, "ps_worker.cli", "--master", bind, "--job", str(ours.JOB))
                waited.append(running[-1])
        wait(waited, folder / "log")
        notes = ours.read_notes(folder)
        is_even = [len(each) for each in notes] == [case.rounds + WARM_UP + 1] * case.workers
        return statistics.median(steps_apart(notes)) if is_even else None


def wait(processes: Sequence[subprocess.Popen[bytes]], log: Path) -> None:
    deadline = time.monotonic() + LIMIT_S
    for process in processes:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired as error:
            raise MissingError(f"not done within {LIMIT_S:g} s") from error
    if any(process.returncode for process in processes):
        raise MissingError(last_line(log.read_text()))


def steps_apart(notes: Sequence[Sequence[ours.Note]]) -> list[float]:
    """Seconds from each step of a shard to its next, in the next round."""
    began: dict[int, list[float]] = {}
    for _, shard, ready, *_ in itertools.chain(*notes):
        began.setdefault(shard, []).append(ready)
    return [b - a for times in began.values() for a, b in itertools.pairwise(sorted(times)[WARM_UP:])]


@contextlib.contextmanager
def hosts(names: Sequence[str], megabit: int) -> Iterator[dict[str, tuple[str, str]]]:
    """A namespace and an address for each name, all linked to one bridge."""
    if os.geteuid() != 0:
        raise MissingError("network namespaces need root")
    if not (shutil.which("ip") and shutil.which("tc")):
        raise MissingError("iproute2 (ip and tc) is not installed")
    remove_leftovers()
    limit = ["tbf", "rate", f"{megabit}mbit", "burst", "256kb", "latency", "50ms"]
    bridge, found = f"ps{os.getpid()}m", {}
    with contextlib.ExitStack() as stack:

        def add(namespace: str) -> None:
            call("ip", "netns", "add", namespace)
            stack.callback(remove, namespace)
            call(*inside(namespace), "ip", "link", "set", "lo", "up")

        add(bridge)
        call(*inside(bridge), "ip", "link", "add", "bridge", "type", "bridge")
        call(*inside(bridge), "ip", "link", "set", "bridge", "up")
        for number, name in enumerate(names, 1):
            namespace, address = f"ps{os.getpid()}h{number}", f"10.78.0.{number}"
            add(namespace)
            port = f"to{number}"
            ends = ["peer", "name", "up0", "netns", namespace]
            call("ip", "link", "add", port, "netns", bridge, "type", "veth", *ends)
            call(*inside(bridge), "ip", "link", "set", port, "master", "bridge")
            call(*inside(namespace), "ip", "address", "add", f"{address}/24", "dev", "up0")
            for where, link in ((bridge, port), (namespace, "up0")):
                call(*inside(where), "ip", "link", "set", link, "up")
                call(*inside(where), "tc", "qdisc", "add", "dev", link, "root", *limit)
            found[name] = (namespace, address)
        yield found


def text_of(rows: Sequence[tuple[Case, float, float]]) -> str:
    about: dict[str, Any] = machine(sys.executable)
    lines = [
        "# What ps-simulate predicts, and what real runs take",
        "",
        f"{about['date']}, {about['cores']} cores. Seconds a round; every worker on a host of its own (a",
        "network namespace), with a link of the given bandwidth each way. A unit sleeps, then sends float32",
        "parameters.",
        "",
        "| bound by | workers | servers | parameters | a step | Mbit/s | predicted | measured | ratio |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for case, predicted, measured in rows:
        lines.append(
            f"| {case.kind} | {case.workers} | {case.servers} | {case.parameters:,} | {case.sleep_s:.3g} s "
            f"| {case.megabit} | {predicted:.3f} | {measured:.3f} | {predicted / measured:.2f} |"
        )
    lines += [
        "",
        "On the slow link the chunks on their way, four a worker, take longer than the second after which a",
        "worker asks again: so bytes are sent twice, outside as in the simulation, but how many depends on",
        "the moment.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
