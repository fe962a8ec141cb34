"""Runs in which something may be broken, and what happens to them: what the files test_broken_*.py share.

What breaks is a subclass or a patch in those files, never a switch in the product.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from paramserver.averaging.canonical import Canonical
from paramserver.averaging.rounds import Round
from paramserver.machine import Master
from paramserver.settings import Settings
from paramserver.simulation.computing import Pace
from paramserver.simulation.network import Weather
from ps_common.memory import Heap
from ps_common.plan import Plan
from ps_worker import nn
from simulation.cluster import Cluster
from simulation.counting import check_counts
from simulation.jobs import Case, case_of, counting_case
from simulation.naive import naive_run

SETTINGS = Settings(
    chunk_bytes=64,
    window=2,
    held_bytes=4096,
    checkpoint_every_rounds=1,
    lease_timeout_s=3.0,
    race_after_s=1e6,
    keeps_ledger=True,
)
NO_LEDGER = dataclasses.replace(SETTINGS, keeps_ledger=False)  # which would see it first
LOSSY = Weather(0.001, 0.02, drop=0.1)
PACES = (Pace(0.1, 0.2), Pace(0.1, 0.02), Pace(0.1, 0.07))


def real_case() -> Case:
    plan = Plan(shards=(12, 7, 9, 11, 5), batch_size=3, local_steps=2, epochs=2)
    return case_of(plan, 5, 44, 0, nn.Adam(0.01))


def count_case() -> Case:
    return counting_case(Plan(shards=(12, 7, 9, 11, 5), batch_size=3, local_steps=2, epochs=2), 5, 44)


def run(
    case: Case,
    make_master: Callable[..., Master] = Master,
    disturb: Callable[[Cluster], None] = lambda cluster: None,
    settings: Settings = SETTINGS,
    paces: Sequence[Pace] = PACES,
    weather: Weather = Weather(0.001, 0.02),  # noqa: B008
    seed: int = 3,
    **servers: Any,
) -> Cluster:
    """A run of three workers of different paces, with the checks of every simulation."""
    cluster = Cluster(seed, case, settings, weather, make_master, **servers)
    cluster.start_master()
    for pace in paces:
        cluster.start_worker(pace)
    disturb(cluster)
    cluster.run(within_s=200.0)
    assert cluster.finished is not None
    assert cluster.finished.exit_code == 0
    oracle = naive_run(case.description, case.make_replica(case.description, Heap()), case.sources)
    assert bytes(cluster.final) == bytes(oracle), "the final weights are not the oracle's"
    if settings.keeps_ledger:
        cluster.checks.check_accounts(cluster.masters[-1])
    if case.counts:
        check_counts(cluster.final.view("float64"), case.description.plan.epochs)
    return cluster


def kill_a_worker(cluster: Cluster) -> None:
    def strike() -> None:
        cluster.kill_worker(cluster.workers[0])
        cluster.start_worker(PACES[0])

    cluster.world.after(0.7, strike)


def kill_the_master(cluster: Cluster) -> None:
    cluster.world.after(1.3, lambda: _kill_and_start(cluster))


def kill_the_master_in_its_fourth_round(cluster: Cluster) -> None:
    is_there = cluster.checks._version == 3 and cluster.master is not None
    wait_s, event = (0.1, _kill_and_start) if is_there else (0.05, kill_the_master_in_its_fourth_round)
    cluster.world.after(wait_s, lambda: event(cluster))


def _kill_and_start(cluster: Cluster) -> None:
    cluster.kill_master()
    cluster.world.after(1.0, lambda: _start(cluster))


def _start(cluster: Cluster) -> None:
    cluster.start_master()


def kill_a_server(cluster: Cluster) -> None:
    """Twice."""
    for delay_s in (1.3, 2.7):
        cluster.world.after(delay_s, lambda: _restart(cluster, max(cluster.servers)))


def _restart(cluster: Cluster, address: bytes) -> None:
    cluster.kill_server(address)
    if address not in cluster.own_servers:
        cluster.start_server(address)


def undisturbed(cluster: Cluster) -> None:
    """Nothing happens."""


def generous(canonical: Canonical, *given: Any) -> Round:
    """Instead of `Canonical.new_round`: what waits for its turn may be any number of bytes."""
    round_ = _new_round(canonical, *given)
    round_._budget_bytes = 2**40
    return round_


_new_round = Canonical.new_round
