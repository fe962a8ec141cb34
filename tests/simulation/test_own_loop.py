"""Users' own loops in the simulation, under random faults: the weights are those of one loop alone."""

import dataclasses
import random
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pytest

from paramserver.accounting import AVERAGED
from paramserver.averaging.mean import relative
from paramserver.settings import Settings
from paramserver.simulation.computing import Pace
from paramserver.simulation.slots import Slots
from ps_common.arrays import HostArray
from ps_common.job import Description
from ps_common.layout import Entry, Layout
from ps_common.loop_job import LoopJob
from ps_common.memory import Heap, Memory
from ps_common.plan import Plan
from ps_worker.batches import rows_of_unit, schedule_of
from ps_worker.effects import Contribution
from ps_worker.rows import ShardRows
from simulation.cluster import Cluster
from simulation.counting import check_counts
from simulation.faults import Faults, random_pace, random_weather
from simulation.jobs import Case

SEEDS = 4
SAMPLES = 30
PLAN = Plan(shards=3, batch_size=4, local_steps=2, epochs=2)  # units of 8 and 2 samples, or 8, 6 and 6
SLOW = Pace(0.0, 1.0)
SETTINGS = Settings(chunk_bytes=64, window=2, held_bytes=64, checkpoint_every_rounds=1, keeps_ledger=True)


class LoopReplica(Slots):
    """Does what a user's loop does with `batches`: it counts the samples of the unit's rows.

    A unit on n of its round's N samples adds N / n to each, so that the weighted mean adds one.
    """

    def __init__(self, job: Description, memory: Memory | None = None) -> None:
        self.job, self.schedule = job, schedule_of(job, SAMPLES, PLAN.batch_size)
        super().__init__(Layout([Entry("counts", (SAMPLES,), "float64")]), memory or Heap())

    def initialise(self) -> Contribution:
        self.vector[...] = 0
        return self._made(0, {}, self.layout.to_plain())

    def rows(self, round_: int, shard: int) -> HostArray:
        batches = list(rows_of_unit(self.job, self.schedule, round_, shard))
        return np.concatenate(batches) if batches else np.empty(0, np.int64)

    def train(self, base: HostArray | None, rows: ShardRows, round_: int, shard: int) -> Contribution:
        own, everyones = self.rows(round_, shard), sum(len(self.rows(round_, s)) for s in range(3))
        if base is not None:
            self.vector[...] = base
        np.add.at(self.vector.view(np.float64), own, everyones / len(own))
        return self._made(len(own), {"loss": [1.0, float(len(own))]})

    def _made(self, samples: int, sums: dict[str, list[float]], layout: Any = None) -> Contribution:
        descriptor = self._memory.descriptor(self.vector)
        return Contribution(samples, sums, 0.0, self.vector, layout, descriptor)

    def evaluate(self, base: HostArray | None, rows: ShardRows, shard: int) -> Contribution:
        raise AssertionError("a loop of a user's own is asked to evaluate nothing")


def oracle(job: Description, rounds: Iterable[Sequence[tuple[int, int]]]) -> HostArray:
    """One loop, one unit (round, shard) after the other of each round that is averaged."""
    replica = LoopReplica(job)
    vector = replica.initialise().vector.copy()
    for units in rounds:
        total, weights = np.zeros(SAMPLES), []
        for round_, shard in units:
            made = replica.train(vector, None, round_, shard)
            weights.append(made.samples)
            total = total + made.vector.view("float64") * relative(made.samples, weights[0])
        vector.view("float64")[...] = total / sum(relative(n, weights[0]) for n in weights)
    return vector


def run(job: Description, seed: int, servers: int, slow: int = 0) -> Cluster:
    case = Case(job, {"train": None, "test": None}, LoopReplica)
    rng = random.Random(seed)
    settings = dataclasses.replace(SETTINGS, server_timeout_s=5.0, server_losses_max=10**6)
    cluster = Cluster(seed, case, settings, is_shared=seed % 2 == 1, servers=servers)
    cluster.network.weather = random_weather(cluster)
    Faults(cluster, calm_after_s=rng.uniform(0.0, 15.0), every_s=rng.uniform(0.3, 3.0))
    cluster.start_master()
    for _ in range(rng.randint(1, 4)):
        cluster.start_worker(random_pace(cluster))
    for _ in range(slow):
        cluster.start_worker(SLOW)
    cluster.run()
    return cluster


@pytest.mark.parametrize("servers", [1, 2])
@pytest.mark.parametrize("length", [{"samples": SAMPLES}, {"rounds": 3}], ids=["samples", "rounds"])
def test_under_random_faults_every_sample_counts_once_an_epoch(length: dict[str, int], servers: int) -> None:
    job = LoopJob(plan=PLAN, seed=3, **length).describe()
    wanted = oracle(job, [[(r, s) for s in job.schedule.units(r)] for r in range(job.schedule.rounds)])
    epochs = 2 if job.own_loop.samples else 4  # of a shard: 6 rounds of 2 batches, 3 batches an epoch
    check_counts(wanted.view("float64"), epochs)
    for seed in range(SEEDS):
        cluster = run(job, seed, servers)
        assert (cluster.finished.exit_code, cluster.finished.reason) == (0, "finished"), f"seed {seed}"
        master = cluster.masters[-1].machine
        assert bytes(master.canonical.vector) == bytes(wanted), f"seed {seed}"
        assert master.progress.samples == SAMPLES * epochs, f"seed {seed}"


@pytest.mark.parametrize("servers", [1, 2])
@pytest.mark.parametrize("length", [{"samples": SAMPLES}, {"rounds": 3}], ids=["samples", "rounds"])
def test_what_a_quorum_leaves_out_comes_later_and_is_counted_as_it_says(
    length: dict[str, int], servers: int
) -> None:
    job = LoopJob(plan=dataclasses.replace(PLAN, quorum=0.6), seed=3, **length).describe()
    lacking = 0
    for seed in range(SEEDS):
        cluster = run(job, seed, servers, slow=1)
        assert (cluster.finished.exit_code, cluster.finished.reason) == (0, "finished"), f"seed {seed}"
        master = cluster.masters[-1].machine
        epochs = 2 if job.own_loop.samples else 4
        assert master.progress.samples == SAMPLES * epochs, f"seed {seed}"
        rounds = {one.version: one.units for node in cluster.masters for one in node.averaged}
        made = [[(u.round, u.shard) for u in rounds[v] if u.verdict == AVERAGED] for v in sorted(rounds)]
        assert bytes(master.canonical.vector) == bytes(oracle(job, made)), f"seed {seed}"
        cluster.checks.check_accounts(cluster.masters[-1])
        lacking += any(note.event == "left-out" for one in cluster.masters for note in one.notes)
    assert lacking, "no round of any run lacks a unit"
