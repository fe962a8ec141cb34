"""How a job would run on a cluster: the machines of production on modelled hosts, and who was busy meanwhile.

It runs a few rounds in virtual time and reads off what they took; the first one, which carries the first
weights to everybody, is left out. Nothing is trained. Who reads a job and measures its steps is elsewhere.
"""

import dataclasses
import gc
import itertools
import math
import statistics
from collections.abc import Callable, Iterable, Sequence

from paramserver.settings import Settings
from paramserver.simulation import cluster
from paramserver.simulation.case import Case
from paramserver.simulation.computing import Pace
from paramserver.simulation.hardware import Costs, Hardware
from paramserver.simulation.host import Host
from paramserver.simulation.idle import IdleReplica, OneVector
from paramserver.simulation.master_node import MasterNode
from paramserver.simulation.network import Weather
from paramserver.simulation.node import Node
from paramserver.simulation.small import scale_for, small_layout, small_settings
from ps_common.errors import TimedOut
from ps_common.job import Description
from ps_common.layout import Layout

WARM_UP = 1  # rounds left out
ROUND_MAX_S = 1e7  # of virtual time: nobody waits longer for a prediction to be wrong
NEVER_S = 1e9

# What may be in use, by name.
WORKERS = "workers' computing"
MASTER_CPU, SERVERS_CPU = "master's CPU", "servers' CPU"
MASTER_IN, MASTER_OUT = "master's link in", "master's link out"
SERVERS_IN, SERVERS_OUT = "servers' links in", "servers' links out"
WORKERS_IN, WORKERS_OUT = "workers' links in", "workers' links out"


@dataclasses.dataclass(frozen=True)
class Question:
    """What is to be predicted.

    job: with as many shards as are wanted. layout: of its model. workers, servers: how many; servers: 1, the
    master averages. bandwidth: of every host's link, bytes a second each way. latency_s: one way. cores: of
    every host. step_s: of a training step on a core of its own.
    """

    job: Description
    layout: Layout
    workers: int
    servers: int
    bandwidth: float
    latency_s: float
    step_s: float
    costs: Costs
    rounds: int
    workers_per_host: int = 1
    cores: float = math.inf
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Answer:
    """round_s: seconds of each simulated round. busy: share of the time that each resource was in use.

    messages: a round. lost: how often a worker or server was taken for lost.
    """

    round_s: tuple[float, ...]
    samples: int  # a round
    busy: dict[str, float]
    messages: float
    lost: int

    @property
    def median_s(self) -> float:
        return statistics.median(self.round_s)

    @property
    def p95_s(self) -> float:
        return sorted(self.round_s)[math.ceil(0.95 * len(self.round_s)) - 1]

    @property
    def samples_per_s(self) -> float:
        return self.samples * len(self.round_s) / sum(self.round_s)


class TimedCluster(cluster.Cluster):
    """A cluster that notes when versions close. on_version: told of each."""

    on_version: Callable[[int], None] = staticmethod(lambda version: None)
    version = -1

    def _on_master(self, node: MasterNode) -> None:
        super()._on_master(node)
        version = node.machine.progress.version
        if version > self.version:
            self.version = version
            self.on_version(version)


def predict(question: Question, tell: Callable[[str], None] = lambda text: None) -> Answer:
    """Run the rounds. tell: what a person who waits wants to know.

    Raises `TimedOut` where the run would give up.
    """
    built = _build(question)
    closed_at: list[float] = []
    marks: list[tuple[dict[str, list[float]], int]] = []

    def on_version(version: int) -> None:
        if version >= WARM_UP:
            closed_at.append(built.world.now)
            marks.append((_seconds(built), built.network.messages))
        if version > 0:
            tell(f"round {version} of {question.rounds + WARM_UP} is simulated")

    built.on_version = on_version
    last_version = WARM_UP + question.rounds
    gc.disable()  # there are no cycles to find, and thousands of machines to look for them in
    try:
        built.run_until(lambda: built.version == last_version or built.finished is not None, ROUND_MAX_S)
    finally:
        gc.enable()
    if built.finished is not None:
        raise TimedOut(f"on such a cluster the run would end before that: {built.finished.reason}")
    (before, first), (after, last) = marks[0], marks[-1]
    whole_s = closed_at[-1] - closed_at[0]
    busy = {
        name: max((b - a) / whole_s for a, b in zip(before[name], after[name], strict=True)) for name in after
    }
    computing = (sum(after[WORKERS]) - sum(before[WORKERS])) / len(after[WORKERS]) / whole_s
    schedule = question.job.schedule
    samples = sum(schedule.samples(WARM_UP, shard) for shard in schedule.units(WARM_UP))
    notes = [note.event for master in built.masters for note in master.notes]
    return Answer(
        round_s=tuple(b - a for a, b in itertools.pairwise(closed_at)),
        samples=samples,
        busy=busy | {WORKERS: computing},
        messages=(last - first) / question.rounds,
        lost=notes.count("loss"),
    )


def _build(question: Question) -> TimedCluster:
    """The cluster at its start."""
    servers = question.servers
    settings = Settings(workers_min=question.workers, transport="tcp", wait_timeout_s=NEVER_S)
    scale = scale_for(question.layout, settings, servers)
    layout = small_layout(question.layout, scale)
    vector = OneVector(layout.nbytes)
    case = Case(
        question.job, {"train": None, "test": None}, lambda job, memory: IdleReplica(job, layout, vector)
    )
    hardware = Hardware(question.bandwidth, question.cores, question.costs, scale=scale)
    built = TimedCluster(
        question.seed,
        case,
        small_settings(settings, scale),
        Weather(question.latency_s),
        servers=servers,
        elsewhere=range(servers),
        hardware=hardware,
    )
    built.start_master()
    host: Host | None = None
    for number in range(question.workers):
        if number % question.workers_per_host == 0:
            host = built.new_host()
        built.start_worker(Pace(prepare_s=0.0, step_s=question.step_s), host=host)
    return built


def _seconds(built: TimedCluster) -> dict[str, list[float]]:
    """How long each resource has been in use since the beginning, one number each of its kind."""
    assert built.master is not None
    servers, workers = list(built.servers.values()), built.workers
    hosts = {id(node.host): node.host for node in workers}.values()
    found = {
        WORKERS: [node.computing.busy_s for node in workers],
        MASTER_CPU: _cpu([built.master]),
        MASTER_IN: _links([built.master.host], "into"),
        MASTER_OUT: _links([built.master.host], "out"),
        WORKERS_IN: _links(hosts, "into"),
        WORKERS_OUT: _links(hosts, "out"),
    }
    if servers:
        found[SERVERS_CPU] = _cpu(servers)
        found[SERVERS_IN] = _links([node.host for node in servers], "into")
        found[SERVERS_OUT] = _links([node.host for node in servers], "out")
    return found


def _cpu(nodes: Sequence[Node]) -> list[float]:
    """Of the busier of the two threads of each process."""
    return [max(node.busy_s, node.moving_s) for node in nodes]


def _links(hosts: Iterable[Host], way: str) -> list[float]:
    return [getattr(host.links, way).busy_s for host in hosts]
