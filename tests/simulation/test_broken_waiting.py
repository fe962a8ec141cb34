"""Broken: somebody waits without a deadline or for nobody, ticks on the spot, or fills memory."""

import dataclasses
import math

import pytest

from paramserver.averaging.canonical import Canonical
from paramserver.machine import Master
from paramserver.simulation.computing import Pace
from paramserver.simulation.world import Stuck
from ps_common.plan import Plan
from ps_worker.machine import Worker
from simulation.broken import SETTINGS, count_case, generous, run
from simulation.cluster import Cluster
from simulation.jobs import counting_case


def test_a_wait_without_a_deadline_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Worker, "next_deadline", lambda self: math.inf)
    with pytest.raises(AssertionError, match="waits without a deadline"):
        run(count_case())


def test_a_deadline_that_a_tick_does_not_move_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Worker, "next_deadline", lambda self: 0.0)
    with pytest.raises(AssertionError, match="ticks on the spot"):
        run(count_case())


def test_holding_more_than_the_budget_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = dataclasses.replace(SETTINGS, held_bytes=64)
    case = counting_case(Plan(shards=6, batch_size=2, local_steps=2), 5, 60)
    slow_first = (Pace(0.0, 5.0), Pace(0.1, 0.01))
    run(case, settings=dataclasses.replace(settings, lease_timeout_s=60.0), paces=slow_first)
    monkeypatch.setattr(Canonical, "new_round", generous)
    with pytest.raises(AssertionError, match="bytes are held, the budget is"):
        run(case, settings=dataclasses.replace(settings, lease_timeout_s=60.0), paces=slow_first)


class NeverMakesWay(Master):
    """Lets all wait for a unit that nobody works on."""

    def _unblock(self, now: float) -> None: ...


def test_waiting_for_a_unit_that_nobody_works_on_is_seen() -> None:
    def lose_the_first(cluster: Cluster) -> None:
        cluster.world.after(6.0, lambda: cluster.kill_worker(cluster.workers[0]))

    settings = dataclasses.replace(SETTINGS, held_bytes=64, lease_timeout_s=60.0, workers_at_start=2)
    case = counting_case(Plan(shards=6, batch_size=2, local_steps=2), 5, 60)
    slow_first = (Pace(0.0, 5.0), Pace(0.1, 0.01))
    run(case, Master, lose_the_first, settings, slow_first)
    with pytest.raises(Stuck):
        run(case, NeverMakesWay, lose_the_first, settings, slow_first)
