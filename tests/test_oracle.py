"""One naive mean is the meaning of every path that averages: bit for bit, whatever the path and the model.

Each run goes through the machines of production: workers contribute given vectors, the master averages
them, and whatever a worker is then given to compute on must be the oracle's mean of the round before. A new
way of averaging, or of travelling, gets a place in the tables below and nothing else.
"""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paramserver.settings import Settings
from paramserver.simulation.slots import Slots
from ps_common import messages as m
from ps_common.job import Description, Job
from ps_common.layout import DTYPES, Entry, Layout
from ps_common.memory import Memory
from ps_common.plan import Plan
from ps_worker import nn
from ps_worker.effects import Contribution
from simulation.cluster import Cluster
from simulation.counting import numbered
from simulation.jobs import Case
from support_averages import naive_mean
from support_layouts import layouts

# Which workers are on the master's machine, over and over again.
TRANSPORTS = {"shm": [True], "tcp": [False], "mixed": [True, False], "mostly tcp": [False, True, False]}
ELSEWHERE = {"shm": [], "tcp": [0, 1, 2], "mixed": [], "mostly tcp": [1]}  # which averaging servers are not
WORKERS = (1, 2, 3, 4, 5)
SERVERS = (1, 2, 3)  # averaging processes; 1 is the master itself
MODELS = {
    **{dtype: layouts((dtype,), most=3) for dtype in DTYPES},
    "mixed": layouts(most=6),
    "scalars": st.just(
        Layout([Entry("a", ()), Entry("b", (), "float64"), Entry("c", (), "float16", "slot")])
    ),
    "nothing": st.just(Layout([Entry("w", (0, 3)), Entry("b", (0,), "float16", "buffer")])),
    "many chunks": st.just(Layout([Entry("w", (500,)), Entry("s", (3, 41), "float64", "slot")])),
}
SHARDS = st.lists(st.integers(1, 7), min_size=1, max_size=7)  # samples of each; two a round


@dataclasses.dataclass(frozen=True)
class Oracle:
    """What every unit contributes, and the mean of every round of it."""

    job: Description
    layout: Layout
    seed: int

    def given(self, round_: int, shard: int) -> np.ndarray:
        """The contribution of a unit: numbers of all magnitudes, and zeros of both signs."""
        rng = np.random.default_rng([self.seed, round_ + 1, shard])
        vector = self.layout.empty()
        for view in self.layout.views(vector).values():
            sizes = 10.0 ** rng.integers(-5, 4, view.shape)
            view[...] = rng.normal(size=view.shape) * sizes * rng.choice([-1, 0, 1, 1, 1], view.shape)
        return vector

    def version(self, version: int) -> np.ndarray:
        """The canonical weights at a version."""
        if version == 0:
            return self.given(-1, 0)
        schedule, round_ = self.job.schedule, version - 1
        shards = schedule.units(round_)
        vectors = [self.given(round_, shard) for shard in shards]
        return naive_mean(self.layout, vectors, [schedule.samples(round_, shard) for shard in shards])

    def check(self, vector: np.ndarray, version: int) -> None:
        wanted = self.layout.views(self.version(version))
        for name, view in self.layout.views(vector).items():
            assert view.tobytes() == wanted[name].tobytes(), f"{name} of version {version}"


class GivenReplica(Slots):
    """A replica whose contributions are given, and which looks at what it is to compute on."""

    def __init__(self, oracle: Oracle, memory: Memory) -> None:
        self._oracle = oracle
        super().__init__(oracle.layout, memory)

    def initialise(self) -> Contribution:
        return self._contribute(-1, 0, 0, {}, self.layout.to_plain())

    def train(self, base, rows, round_: int, shard: int) -> Contribution:
        self._oracle.check(self.vector if base is None else base, round_)
        samples = self._oracle.job.schedule.samples(round_, shard)
        return self._contribute(round_, shard, samples, {"loss": [1.0, float(samples)]})

    def evaluate(self, base, rows, shard: int) -> Contribution:
        if base is not None:
            self.vector[...] = base
        rounds = self._oracle.job.schedule.rounds
        self._oracle.check(self.vector, rounds)
        return Contribution(rows.size, {"loss": [1.0, float(rows.size)]}, 0.0)

    def _contribute(self, round_, shard, samples, sums, layout=None) -> Contribution:
        given = self.layout.views(self._oracle.given(round_, shard))
        for number, (name, view) in enumerate(self.layout.views(self.vector).items()):
            view[...] = AWKWARD[number % len(AWKWARD)](given[name])
        descriptor = self._memory.descriptor(self.vector)
        return Contribution(samples, sums, 0.0, self.vector, layout, descriptor)


def every_second(array: np.ndarray) -> np.ndarray:
    """The same numbers with a stride in every dimension."""
    wide = np.full([2 * n for n in array.shape], np.nan, array.dtype)
    part = wide[..., *[slice(None, None, 2)] * array.ndim]
    part[...] = array
    return part


# How the parameters of a model lie in the library that trains them.
AWKWARD = (
    lambda array: array,
    lambda array: array.T.copy().T,
    every_second,
    lambda array: np.flip(np.flip(array).copy()),
)


def run(
    oracle: Oracle, case: Case, transport: str, workers: int, servers: int, chosen: Settings, seed: int
) -> Cluster:
    """A run to its end, in which every version is looked at."""
    shares = list(itertools.islice(itertools.cycle(TRANSPORTS[transport]), workers))
    elsewhere = [index for index in ELSEWHERE[transport] if index < servers]
    cluster = Cluster(seed, case, chosen, is_shared=any(shares), servers=servers, elsewhere=elsewhere)
    cluster.start_master()
    for is_shared in shares:
        cluster.start_worker(is_shared=is_shared)
    cluster.run(within_s=40.0)  # of calm weather: what takes longer stands still
    assert cluster.finished is not None
    assert (cluster.finished.exit_code, cluster.finished.reason) == (0, "finished")
    oracle.check(cluster.final, oracle.job.schedule.rounds)
    _check_transport(cluster, transport)
    return cluster


def case_of(layout: Layout, sizes: Sequence[int], tests: int, seed: int) -> tuple[Oracle, Case]:
    """A job of given contributions; its model is there for the form's sake."""
    train, test = numbered(sum(sizes)), numbered(tests) if tests else None
    job = Job(
        model=nn.Dense(1, 2), loss=nn.SoftmaxCrossEntropy(), optimizer=nn.SGD(0.1), train=train, test=test,
        plan=Plan(shards=tuple(sizes), batch_size=2, local_steps=1, epochs=1), seed=seed,
    ).describe()  # fmt: skip
    oracle = Oracle(job, layout, seed)
    return oracle, Case(job, {"train": train, "test": test}, lambda _, memory: GivenReplica(oracle, memory))


@pytest.mark.parametrize("servers", SERVERS)
@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("transport", TRANSPORTS)
@settings(deadline=None, max_examples=6, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), sizes=SHARDS, seed=st.integers(0, 2**32))
def test_every_path_has_the_bits_of_the_naive_mean(transport, workers, servers, data, sizes, seed):
    layout = data.draw(st.sampled_from(sorted(MODELS)).flatmap(MODELS.__getitem__))
    oracle, case = case_of(layout, sizes, data.draw(st.integers(0, 3)), seed)
    chosen = Settings(
        workers_min=workers,
        chunk_bytes=64 * data.draw(st.sampled_from([1, 2, 3, 100])),
        window=data.draw(st.integers(1, 4)),
        held_bytes=data.draw(st.sampled_from([1, 200, 2**20])),
    )
    run(oracle, case, transport, workers, servers, chosen, seed)


@pytest.mark.parametrize("servers", SERVERS)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("transport", TRANSPORTS)
@settings(deadline=None, max_examples=3)
@given(data=st.data())
def test_every_model_has_the_bits_of_the_naive_mean_on_every_path(transport, model, servers, data):
    layout = data.draw(MODELS[model])
    oracle, case = case_of(layout, (3, 7, 4, 4, 1), 2, seed=5)
    chosen = Settings(workers_min=3, chunk_bytes=128, window=2, held_bytes=300)
    run(oracle, case, transport, 3, servers, chosen, 5)


def _check_transport(cluster: Cluster, transport: str) -> None:
    """The weights went the way that the test is about."""
    master = cluster.masters[0]
    members = [one for one in [*master.machine.members.gone, *master.machine.members] if one.units]
    trained = [one for one in members if one.samples]
    used = {one.join.place: one.record()["transport"] for one in trained}
    are_servers_shared = all(node.memory.place for node in cluster.all_servers)
    assert used.items() <= {"host": "shm" if are_servers_shared else "tcp", "": "tcp"}.items()
    if transport == "shm":
        for node in (master, *cluster.all_servers):
            assert node.sent[m.Weights] == node.sent[m.Grant] == 0
    elif master.machine.exchange.servers:
        assert master.sent[m.Weights] == master.sent[m.Grant] == 0
