"""A worker whose contributions are not finite: nothing of it changes the weights, and it is named and out.

Real machines of everybody, over a network, in shared memory, and with averaging servers.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from paramserver.settings import Settings
from paramserver.simulation.case import Case
from paramserver.simulation.computing import Pace
from ps_common.arrays import HostArray
from ps_common.plan import Plan
from security import controls
from simulation.cluster import Cluster
from simulation.counting import check_counts
from simulation.jobs import counting_case

SETTINGS = Settings(chunk_bytes=64, window=2, held_bytes=64, race_after_s=1e6, keeps_ledger=True)
PLAN = Plan(shards=(10, 7, 12, 9, 8), batch_size=4, local_steps=1, epochs=2)
WAYS = [
    pytest.param(False, 1, id="tcp"),
    pytest.param(True, 1, id="shm"),
    pytest.param(False, 2, id="tcp, 2 servers"),
    pytest.param(True, 2, id="shm, 2 servers"),
]


def everywhere(counts: HostArray) -> None:
    counts[...] = math.nan


def at_the_end(counts: HostArray) -> None:
    counts[-1] = math.inf


def in_the_middle(counts: HostArray) -> None:
    counts[len(counts) // 2] = -math.inf


def poisoned(case: Case, poison: Callable[[HostArray], None], which: Callable[[int], bool]) -> Case:
    """The same job, some of whose workers, counted as they come, spoil the units of training."""
    made: list[int] = []

    def make_replica(job: Any, memory: Any) -> Any:
        replica = case.make_replica(job, memory)
        made.append(0)
        if which(len(made) - 1):
            train = replica.train

            def spoil(*arguments: Any) -> Any:
                contribution = train(*arguments)
                poison(contribution.vector.view(np.float64))
                return contribution

            replica.train = spoil
        return replica

    return dataclasses.replace(case, make_replica=make_replica)


def run_with(
    which: Callable[[int], bool],
    poison: Callable[[HostArray], None],
    is_shared: bool,
    servers: int,
    workers: int,
    **changes: Any,
) -> Cluster:
    case = poisoned(counting_case(PLAN, 7, 46), poison, which)
    settings = dataclasses.replace(SETTINGS, workers_at_start=workers, **changes)
    cluster = Cluster(3, case, settings, is_shared=is_shared, servers=servers)
    cluster.checks.are_all_honest = False
    cluster.start_master()
    for _ in range(workers):
        cluster.start_worker(Pace(step_s=0.05))
    cluster.run(within_s=300.0)
    return cluster


def notes(cluster: Cluster, event: str) -> list[str]:
    return [note.text for node in cluster.masters for note in node.notes if note.event == event]


@pytest.mark.parametrize(("is_shared", "servers"), WAYS)
@pytest.mark.parametrize("poison", [everywhere, at_the_end, in_the_middle])
def test_one_of_four_whose_contributions_are_not_finite_changes_no_weight_and_is_out(
    poison: Callable[[HostArray], None], is_shared: bool, servers: int
) -> None:
    cluster = run_with(lambda number: number == 1, poison, is_shared, servers, workers=4)
    assert cluster.finished is not None
    assert (cluster.finished.exit_code, cluster.finished.reason) == (0, "finished")
    check_counts(cluster.final.view("float64"), 2)
    (text,) = notes(cluster, "quarantine")
    assert "quarantined after 3 strikes" in text
    assert "NaN, infinity" in text
    (bad,) = [node for node in cluster.left if node.exit and node.exit.exit_code == 77]
    assert any("the master refused (not-finite; 1 of 3 strikes)" in note for note in bad.notes)
    assert not notes(cluster, "report")


@pytest.mark.parametrize(("is_shared", "servers"), WAYS)
def test_not_looking_whether_weights_are_finite_is_seen(
    is_shared: bool, servers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    controls.anything_is_finite(monkeypatch)
    cluster = run_with(lambda number: number == 1, everywhere, is_shared, servers, workers=4)
    with pytest.raises(AssertionError, match="were counted"):
        check_counts(cluster.final.view("float64"), 2)


@pytest.mark.parametrize(("is_shared", "servers"), WAYS)
def test_where_no_contribution_is_finite_the_run_ends_and_says_that_training_diverges(
    is_shared: bool, servers: int
) -> None:
    cluster = run_with(lambda number: True, at_the_end, is_shared, servers, workers=3)
    assert cluster.finished is not None
    assert cluster.finished.exit_code == 1
    assert "training diverges: lower the learning rate" in cluster.finished.reason
    assert not notes(cluster, "quarantine")


def far_away(counts: HostArray) -> None:
    counts[...] = 1e9


@pytest.mark.parametrize(("is_shared", "servers"), WAYS)
def test_one_of_four_that_moves_the_weights_far_is_named_by_default_and_changes_them(
    is_shared: bool, servers: int
) -> None:
    which, chunk_bytes = (lambda number: number == 1), 512  # one chunk: a unit of this job moves few weights
    cluster = run_with(which, far_away, is_shared, servers, workers=4, chunk_bytes=chunk_bytes)
    assert cluster.finished is not None
    assert cluster.finished.exit_code == 0
    assert not notes(cluster, "quarantine")
    assert all("more than 10 times as far as is usual" in text for text in notes(cluster, "outlier"))
    assert notes(cluster, "outlier")
    with pytest.raises(AssertionError, match="were counted"):
        check_counts(cluster.final.view("float64"), 2)


@pytest.mark.parametrize(("is_shared", "servers"), WAYS)
def test_where_outliers_are_rejected_it_changes_no_weight_and_is_out(is_shared: bool, servers: int) -> None:
    cluster = run_with(
        lambda number: number == 1, far_away, is_shared, servers, workers=4, rejects_outliers=True
    )
    assert cluster.finished is not None
    assert (cluster.finished.exit_code, cluster.finished.reason) == (0, "finished")
    check_counts(cluster.final.view("float64"), 2)
    (text,) = notes(cluster, "quarantine")
    assert "times as far as is usual" in text
    assert not notes(cluster, "report")
