"""A worker that brings NaN while everything else goes wrong, too: the run ends with the right bits.

Random jobs under random faults, as in `test_seeds.py`: masters, workers and averaging servers are killed,
stopped and cut off while every fifth worker spoils what it brings.
"""

import dataclasses
import math
import random
from typing import Any

import pytest

from paramserver.members import Members
from paramserver.servers.averager import Averager
from paramserver.simulation.case import Case
from paramserver.simulation.worker_node import WorkerNode
from ps_common import messages as m
from ps_common.memory import Heap
from simulation.cluster import Cluster
from simulation.faults import Faults, random_pace, random_weather
from simulation.jobs import random_case, random_settings
from simulation.naive import naive_run

LATE, GONE = [29, 228], [27, 131]  # in which the controls below are needed
SEEDS = [*LATE, *GONE, *range(20)]
QUORUM_SEEDS = [*range(12)]


def spoiled(case: Case, rng: random.Random) -> Case:
    """The same job; every fifth worker makes a stretch of what it trains NaN."""
    made: list[int] = []

    def make_replica(job: Any, memory: Any) -> Any:
        replica = case.make_replica(job, memory)
        made.append(0)
        if len(made) % 5 == 2:
            train, which = replica.train, rng.randrange(100)

            def spoil(*arguments: Any) -> Any:
                contribution, runs = train(*arguments), replica.layout.runs
                run = runs[which % len(runs)]
                contribution.vector[run.start : run.stop].view(run.dtype)[...] = math.nan
                return contribution

            replica.train = spoil
        return replica

    return dataclasses.replace(case, make_replica=make_replica)


def run_seed(seed: int, quorum: float = 1.0) -> None:
    rng = random.Random(seed)
    case, settings = random_case(rng, quorum), random_settings(rng)
    settings = dataclasses.replace(
        settings, strikes_max=rng.choice([1, 3, 1000]), server_timeout_s=5.0, server_losses_max=10**6
    )
    servers = (1, 1, 2, 3)[seed // 2 % 4]
    cluster = Cluster(seed, spoiled(case, rng), settings, is_shared=seed % 2 == 1, servers=servers)
    cluster.checks.are_all_honest = False
    cluster.network.weather = random_weather(cluster)
    faults = Faults(cluster, calm_after_s=rng.uniform(0.0, 60.0), every_s=rng.uniform(0.3, 3.0))
    replace = cluster.on_left

    def on_left(node: WorkerNode) -> None:
        if node.exit is not None and node.exit.exit_code == 77:
            faults._later(3.0, faults._new_worker)
        elif replace is not None:
            replace(node)

    cluster.on_left = on_left
    cluster.start_master()
    for _ in range(max(settings.workers_min, rng.randint(4, 6))):
        cluster.start_worker(random_pace(cluster))
    cluster.run_until(lambda: cluster.finished is not None)
    assert cluster.finished is not None
    assert (cluster.finished.exit_code, cluster.finished.reason) == (0, "finished")
    if quorum == 1:
        oracle = naive_run(case.description, case.make_replica(case.description, Heap()), case.sources)
        assert bytes(cluster.final) == bytes(oracle), "the final weights are not the oracle's"
    cluster.checks.check_accounts(cluster.masters[-1])


def run_all(seeds: list[int], quorum: float = 1.0) -> None:
    for seed in seeds:
        try:
            run_seed(seed, quorum)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise


def test_a_run_with_a_faulty_worker_ends_with_the_right_bits_whatever_else_goes_wrong() -> None:
    run_all(SEEDS)


def test_a_run_with_a_quorum_and_a_faulty_worker_counts_every_unit_once() -> None:
    run_all(QUORUM_SEEDS, 0.5)


def late_words_are_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken: what a server says of a contribution that was taken back holds for the one after it."""

    def tell_delivered(self: Averager, chunks: Any, shard: int) -> None:
        if self._serve is not None:
            head = (self._serve.generation, 2**40, chunks.version + 1, shard)
            self._outbox.send(self._master, m.Delivered(*head))

    monkeypatch.setattr(Averager, "_tell_delivered", tell_delivered)


def who_has_left_keeps_its_credit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken: a unit that was found to be wrong stays with whoever brought it and has left."""
    monkeypatch.setattr(Members, "find", Members.get)


@pytest.mark.parametrize(
    ("control", "seeds", "told"),
    [(late_words_are_believed, LATE, "no progress"), (who_has_left_keeps_its_credit, GONE, "credited")],
)
def test_without_it_the_run_does_not(
    control: Any, seeds: list[int], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    control(monkeypatch)
    with pytest.raises(AssertionError, match=told):
        run_all(seeds)
