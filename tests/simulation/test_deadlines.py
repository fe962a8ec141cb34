"""No wait without a deadline: whoever is left alone for good, at any moment, ends in time and says why."""

import dataclasses
import random
from collections.abc import Callable
from typing import Any

import pytest

from paramserver.machine import Master
from paramserver.simulation.network import MASTER
from paramserver.simulation.world import Stuck
from simulation.cluster import Cluster
from simulation.faults import random_pace
from simulation.jobs import random_case, random_settings

SEEDS = 24
MASTER_TIMEOUT_S = 120.0  # of a worker that was told nothing else
SETTLING_S = 40.0  # to notice, to shut down, and to say goodbye


def going(seed: int, make_master: Callable[..., Master] = Master, **more: Any) -> Cluster:
    """A run stopped in its tracks at a random moment, before its end."""
    rng = random.Random(seed)
    case = random_case(rng)
    settings = dataclasses.replace(
        random_settings(rng), wait_timeout_s=50.0, stall_timeout_s=200.0, server_losses_max=10**6
    )
    cluster = Cluster(seed, case, settings, make_master=make_master, **more)
    cluster.start_master()
    for _ in range(max(settings.workers_min, rng.randint(1, 4))):
        cluster.start_worker(random_pace(cluster))
    events = rng.choice((30, 100, 300, 1000))
    until = cluster.world.events + events
    cluster.run_until(lambda: cluster.world.events >= until or cluster.finished is not None)
    return cluster


def master_ends(cluster: Cluster, within_s: float) -> str:
    """Why the master gives up; "finished" where all that it still needed was on its way."""
    cluster.run_until(lambda: cluster.finished is not None, within_s=within_s + SETTLING_S)
    assert cluster.finished is not None
    assert cluster.finished.exit_code == (0 if cluster.finished.reason == "finished" else 75)
    return cluster.finished.reason


def workers_end(cluster: Cluster) -> None:
    left = [node for node in cluster.left if node.exit is not None and node.exit.exit_code == 0]
    cluster.run_until(lambda: not cluster.workers, within_s=MASTER_TIMEOUT_S + SETTLING_S)
    for node in cluster.left:
        assert node.exit is not None
        if node not in left:
            assert node.exit.exit_code in (69, 75)
            where = (
                "nobody answers at the master's address" if node.exit.exit_code == 69 else "lost the master: "
            )
            assert where in node.exit.reason


@pytest.mark.parametrize("seed", range(SEEDS))
def test_workers_whose_master_is_gone_for_good(seed: int) -> None:
    cluster = going(seed, servers=1 + seed % 2, is_shared=seed % 3 == 0)
    if cluster.master is not None:
        states = {node.machine.state for node in cluster.workers}
        cluster.kill_master()
        workers_end(cluster)
        assert states


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_master_whose_workers_are_gone_for_good(seed: int) -> None:
    cluster = going(seed, servers=1 + seed % 2, is_shared=seed % 3 == 0)
    if cluster.finished is None:
        for node in list(cluster.workers):
            cluster.kill_worker(node)
        reason = master_ends(cluster, 50.0)
        assert reason == "finished" or " workers were here after 50 s" in reason


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_master_whose_workers_hang_for_good(seed: int) -> None:
    """All of them live, and say so; none moves."""
    cluster = going(seed, servers=1 + seed % 2, is_shared=seed % 3 == 0)
    if cluster.finished is not None:
        return
    for node in cluster.workers:
        node.computing.is_hanging = True
    reason = master_ends(cluster, 200.0)
    assert reason == "finished" or (reason.startswith("no progress for 200 s: ") and "(host, pid " in reason)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_everybody_in_a_network_that_carries_nothing_any_more(seed: int) -> None:
    cluster = going(seed, is_shared=seed % 3 == 0)
    if cluster.finished is not None:
        return
    towards, back = [(True, True), (True, False), (False, True)][seed % 3]
    for node in cluster.workers:
        cluster.network.cut(node.address, towards, back, MASTER)
    master_ends(cluster, 50.0 if towards else 200.0)
    workers_end(cluster)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_master_whose_averaging_server_is_gone_for_good(seed: int) -> None:
    cluster = going(seed, servers=2, elsewhere=[0, 1])
    if cluster.finished is not None or cluster.master is None:
        return
    gone = random.Random(seed).choice([b"server-0", b"server-1"])
    cluster.kill_server(gone)
    if cluster.master.machine.canonical.layout is None:
        return  # it is not needed yet
    reason = master_ends(cluster, 50.0 + cluster.settings.server_timeout_s)
    assert reason == "finished" or f"no averaging server at {gone.decode()} for " in reason


class Patient(Master):
    """Broken: waits for ever for workers that hang."""

    def _give_up_if_stuck(self, now: float) -> None:
        pass


def test_a_wait_without_a_deadline_is_seen() -> None:
    cluster = next(cluster for seed in range(9) if (cluster := going(seed, Patient)).finished is None)
    for node in cluster.workers:
        node.computing.is_hanging = True
    with pytest.raises(Stuck):
        master_ends(cluster, 200.0)
