"""One run of jobs/flat.py by real processes of ours, and what its notes say of each round.

A round, as a worker sees it: from the end of its last step of one round (its weights are ready to push) to
the begin of its first step of the next (averaged weights are ready to use); the worst worker counts. It so
holds the copy out of the canonical weights, the checksums, the messages, waiting for the other workers and
the averaging.
"""

import contextlib
import dataclasses
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from measuring import HERE, MissingError, cpu_seconds, last_line, memory

from paramserver.cluster import ClusterError, LocalCluster
from ps_common.errors import TimedOut

JOB = HERE / "jobs" / "flat.py"
WARM_UP = 2  # rounds left out: they carry data and touch memory for the first time
SAMPLE_S = 0.02  # between two looks at the processes
LIMIT_S = 300.0

# round, shard, ready to use, ready to push, CPU seconds so far
Note = tuple[int, int, float, float, float]


@dataclasses.dataclass
class Watched:
    """One process, looked at from outside while it ran: (time, CPU seconds) pairs, most and each memory."""

    cpu: list[tuple[float, float]] = dataclasses.field(default_factory=list)
    peaks: dict[str, int] = dataclasses.field(default_factory=dict)
    resident: list[tuple[float, int]] = dataclasses.field(default_factory=list)
    own: list[int] = dataclasses.field(default_factory=list)

    def look(self, pid: int) -> None:
        now, spent, held = time.monotonic(), cpu_seconds(pid), memory(pid)
        if spent is not None and held:
            self.cpu.append((now, spent))
            self.resident.append((now, held["VmRSS"]))
            self.own.append(held.pop("own"))
            for name, value in held.items():
                self.peaks[name] = max(value, self.peaks.get(name, 0))

    def cpu_between(self, first: float, last: float) -> float:
        """CPU seconds from time `first` to `last`, from the nearest looks."""

        def at(when: float) -> float:
            return min(self.cpu, key=lambda pair: abs(pair[0] - when))[1]

        return at(last) - at(first) if self.cpu else 0.0


@dataclasses.dataclass
class Run:
    """What one run showed. `seconds`: the worst worker's, one a round that all workers took part in."""

    seconds: list[float]
    elapsed_s: float  # from the first unit to the last
    rounds: int
    cpu_s: float  # a round, of master and workers together
    master_cpu_s: float  # a round
    master: Watched
    workers: list[Watched]
    record: dict[str, Any]

    @property
    def transport(self) -> str:
        """What the weights travelled over; a record that does not say means TCP."""
        return str(self.record.get("transport", "tcp"))


Beside = Callable[[str], contextlib.AbstractContextManager[object]]


def run(
    parameters: int,
    workers: int,
    rounds: int,
    flags: Sequence[str],
    look_at_workers: bool = False,
    beside: Beside | None = None,
    keys: Path | None = None,
) -> Run:
    """Run `rounds` rounds and a few to warm up. Raises `MissingError` where a flag is refused.

    beside: what goes on as soon as the workers are there, given the master's address. keys: as of a cluster.
    """
    with tempfile.TemporaryDirectory(prefix="rounds-") as folder:
        settings = job_flags(parameters, workers, rounds, Path(folder) / "notes")
        master, group, record = watch(JOB, workers, [*settings, *flags], look_at_workers, beside, keys)
        notes = read_notes(Path(folder))
    seconds = worst_gaps(notes, workers)
    first, last = (pick(note[3] for each in notes for note in each) for pick in (min, max))
    counted = max(1, rounds + WARM_UP)
    own = master.cpu_between(first, last) / counted
    theirs = sum(each[-1][4] - each[0][4] for each in notes) / counted
    return Run(seconds, last - first, counted, own + theirs, own, master, group, record)


def watch(
    job: Path,
    workers: int,
    flags: Sequence[str],
    look_at_workers: bool = True,
    beside: Beside | None = None,
    keys: Path | None = None,
) -> tuple[Watched, list[Watched], dict[str, Any]]:
    """Run a job to its end: the master, the workers and the record. Raises `MissingError` if it fails."""
    master, group = Watched(), [Watched() for _ in range(workers)]
    try:
        with contextlib.ExitStack() as stack:
            cluster = stack.enter_context(LocalCluster(job, workers, server_flags=flags, keys=keys))
            if beside is not None:
                cluster.wait_for("starting", LIMIT_S)
                stack.enter_context(beside(cluster.address))
            assert cluster.master is not None
            deadline = time.monotonic() + LIMIT_S
            while cluster.master.is_alive and time.monotonic() < deadline:
                master.look(cluster.master.process.pid)
                if look_at_workers:
                    for watched, child in zip(group, cluster.workers, strict=True):
                        watched.look(child.process.pid)
                time.sleep(SAMPLE_S)
            return master, group, cluster.wait(1.0)
    except (ClusterError, TimedOut) as error:
        raise MissingError(last_line(str(error))) from error


def job_flags(parameters: int, workers: int, rounds: int, notes: Path) -> list[str]:
    """The flags of `ps-server` that give jobs/flat.py its size."""
    values = {
        "parameters": parameters,
        "workers": workers,
        "rounds": rounds + WARM_UP + 1,
        "notes": notes,
    }
    return [f"--set={name}={value}" for name, value in values.items()]


def read_notes(folder: Path) -> list[list[Note]]:
    """The notes of each worker process."""
    return [[tuple(note) for note in json.loads(p.read_text())] for p in folder.glob("notes-*.json")]


def worst_gaps(notes: Sequence[Sequence[Note]], workers: int) -> list[float]:
    """Seconds of each round in which every worker had a unit before and after, warm-up left out.

    A worker may compute two shards of one round and none of the next, or one that another had, too: such a
    round is not counted.
    """
    rounds: dict[int, dict[int, tuple[float, float]]] = {}
    raced = set()
    for worker, each in enumerate(notes):
        for round_, _, ready, pushed, _ in each:
            by_worker = rounds.setdefault(round_, {})
            if worker in by_worker:
                raced.add(round_)
            by_worker[worker] = (ready, pushed)
    whole = {n for n, by_worker in rounds.items() if n not in raced and len(by_worker) == workers}
    return [
        max(rounds[n + 1][w][0] - rounds[n][w][1] for w in range(workers))
        for n in sorted(whole)
        if n >= WARM_UP and n + 1 in whole
    ]


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of ours and leaves with this process."""
    return [sys.executable, "-m", module, *arguments, "--leave-with", str(os.getpid())]
