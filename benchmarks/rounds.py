"""One synchronisation round by everyone, in one run on one machine.

A contestant is started afresh for each block and measures all sizes in one start, so that nobody spins or
holds memory while another one is measured; the blocks are interleaved: A B C A B C A B C.
"""

import dataclasses
import itertools
import json
from collections.abc import Callable, Sequence
from typing import Any

import ours
from measuring import HERE, MissingError, Setting, free_port, run_all, summary

WORKERS = (2, 4)
ROUNDS = {1_000: 200, 100_000: 100, 1_000_000: 30, 25_000_000: 9}  # parameters: rounds a block
QUICK = {1_000: 50, 100_000: 20, 1_000_000: 10}
BLOCKS = 3
LIMIT_S = 240.0

Plan = list[tuple[int, int]]


@dataclasses.dataclass
class Sample:
    """What one contestant measured of one size in one block."""

    size: int
    seconds: list[float]
    cpu_s: float
    transport: str = ""


Measure = Callable[[Setting, int, Plan], list[Sample]]


def ours_by(*flags: str) -> Measure:
    """Master and workers of ours; the flags go to the master."""

    def measure(setting: Setting, workers: int, plan: Plan) -> list[Sample]:
        samples = []
        for size, rounds in plan:
            run = ours.run(size, workers, rounds, flags)
            samples.append(Sample(size, run.seconds, run.cpu_s, run.transport))
        return samples

    return measure


def gloo(setting: Setting, workers: int, plan: Plan) -> list[Sample]:
    address = ["127.0.0.1", str(free_port())]
    ranks = [[str(rank), str(workers), *address, json.dumps(plan)] for rank in range(workers)]
    return peers([[*script(setting, "gloo"), *arguments] for arguments in ranks])


def open_mpi(*options: str) -> Measure:
    def measure(setting: Setting, workers: int, plan: Plan) -> list[Sample]:
        start = ["mpirun", "--allow-run-as-root", "--oversubscribe", *options, "-n", str(workers)]
        return peers([[*start, *script(setting, "mpi"), json.dumps(plan)]])

    return measure


def ray_actors(setting: Setting, workers: int, plan: Plan) -> list[Sample]:
    return peers([[*script(setting, "ray_actors"), str(workers), json.dumps(plan)]])


def echo(setting: Setting, workers: int, plan: Plan) -> list[Sample]:
    arguments = [str(workers), str(free_port()), json.dumps(plan)]
    roles = ["server", *["worker"] * workers]
    return peers([[*script(setting, "echo"), role, *arguments] for role in roles])


def floor(setting: Setting, workers: int, plan: Plan) -> list[Sample]:
    return peers([[*script(setting, "floor"), str(workers), json.dumps(plan)]])


CONTESTANTS: dict[str, Measure] = {
    "ours, auto": ours_by("--transport", "auto"),
    "ours, auto, 2 servers": ours_by("--transport", "auto", "--servers", "2"),
    "ours, tcp": ours_by("--transport", "tcp"),
    "ours, tcp, 2 servers": ours_by("--transport", "tcp", "--servers", "2"),
    "gloo all_reduce": gloo,
    "Open MPI Allreduce": open_mpi(),
    "Open MPI Allreduce, btl tcp,self": open_mpi("--mca", "btl", "tcp,self"),
    "Ray actors": ray_actors,
    "ceiling: ZeroMQ echo": echo,
    "ceiling: memory": floor,
}


def script(setting: Setting, name: str) -> list[str]:
    return [setting.peers, str(HERE / "peers" / f"{name}.py")]


def peers(commands: Sequence[Sequence[str]]) -> list[Sample]:
    """Run a peer's processes; for each size the worst of those that tell seconds, and everyone's CPU."""
    lines = [line for output in run_all(commands, LIMIT_S) for line in output]
    samples = []
    for size in dict.fromkeys(line["size"] for line in lines):
        told = [line for line in lines if line["size"] == size]
        timed = [line["seconds"] for line in told if line["seconds"] is not None]
        worst = [max(each) for each in zip(*timed, strict=True)]
        samples.append(Sample(size, worst, sum(line["cpu_s"] for line in told)))
    return samples


def measure(setting: Setting) -> dict[str, Any]:
    """Every contestant, size and number of workers, and who is missing and why."""
    plan, blocks = list((QUICK if setting.quick else ROUNDS).items()), 1 if setting.quick else BLOCKS
    found: dict[tuple[str, int, int], list[Sample]] = {}
    missing: dict[str, str] = {}
    for workers, block in itertools.product(WORKERS, range(blocks)):
        setting.say(f"rounds: {workers} workers, block {block + 1} of {blocks}")
        for name, contestant in CONTESTANTS.items():
            if name in missing:
                continue
            try:
                for sample in contestant(setting, workers, plan):
                    found.setdefault((name, workers, sample.size), []).append(sample)
            except MissingError as error:
                missing[name] = str(error)
                setting.say(f"rounds: {name} is missing: {error}")
    entries = [_entry(*key, samples) for key, samples in found.items()]
    return {"entries": entries, "missing": missing, "contestants": list(CONTESTANTS), "sizes": dict(plan)}


def _entry(name: str, workers: int, size: int, samples: Sequence[Sample]) -> dict[str, Any]:
    seconds = [second for sample in samples for second in sample.seconds]
    return {
        "contestant": name,
        "workers": workers,
        "parameters": size,
        "seconds": summary(seconds) if seconds else None,
        "cpu_s": summary([sample.cpu_s for sample in samples])["median"],
        "transport": samples[0].transport,
    }
