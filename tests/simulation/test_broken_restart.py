"""Broken: a master that starts again goes on from elsewhere or without its workers, or ends too soon."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from paramserver.effects import Effect, Snapshot
from paramserver.machine import Master
from paramserver.members import Members
from paramserver.simulation.computing import Pace
from paramserver.simulation.worker_node import WorkerNode
from paramserver.simulation.world import Stuck
from ps_common import messages as m
from simulation.broken import SETTINGS, count_case, kill_the_master, real_case, run
from simulation.cluster import Cluster
from simulation.jobs import Case


class SkipsARound(Master):
    """Goes on one round later than what it had saved."""

    def _resume(self, snapshot: Snapshot) -> None:
        super()._resume(dataclasses.replace(snapshot, version=snapshot.version + 1))


class ForgetsTheSlots(Master):
    """Goes on with the weights it had saved, and without the optimizer's state."""

    def _resume(self, snapshot: Snapshot) -> None:
        vector = snapshot.vector.copy()
        for view in snapshot.layout.run_views(vector, "slot"):
            view[...] = 0
        super()._resume(dataclasses.replace(snapshot, vector=vector))


@pytest.mark.parametrize(("make_master", "case"), [(SkipsARound, count_case), (ForgetsTheSlots, real_case)])
def test_a_restart_that_goes_on_from_elsewhere_is_seen(
    make_master: Callable[..., Master], case: Callable[[], Case]
) -> None:
    with pytest.raises(AssertionError, match=r"has other bits than before|samples are counted"):
        run(case(), make_master, kill_the_master)


class Shuns(Master):
    """Ignores whom it does not know, instead of asking them to join again."""

    def handle(self, sender: bytes, message: m.Message, payloads: Any, now: float) -> list[Effect]:
        if self.members.get(sender) is None and not isinstance(message, m.Join):
            return []
        return super().handle(sender, message, payloads, now)


def test_workers_that_are_not_taken_back_are_seen() -> None:
    with pytest.raises((Stuck, AssertionError)):
        run(count_case(), Shuns, kill_the_master)


def step_the_masters_clock(cluster: Cluster) -> None:
    """Its machine was suspended for an hour, and its workers were not."""

    def step() -> None:
        assert cluster.master is not None
        cluster.master.step_clock(3600.0)

    cluster.world.after(0.9, step)


def unforgiving(self: Members, seconds: float, now: float) -> None:
    """Takes for their silence that it was away itself."""


def test_workers_that_are_taken_for_silent_after_a_step_of_the_clock_are_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run(count_case(), Shuns, step_the_masters_clock)
    monkeypatch.setattr(Members, "forgive", unforgiving)
    with pytest.raises((Stuck, AssertionError)):
        run(count_case(), Shuns, step_the_masters_clock)


# -- nobody is sent home before the last checkpoint is safe -----------------------------------------------


class SendsHomeAtOnce(Master):
    """Does not wait until what the run came to is on the disk."""

    def _end(self, now: float, exit_code: int, reason: str) -> None:
        super()._end(now, exit_code, reason)
        if self._stop is not None and not self._is_saved:
            self._send_home(now, self._stop)


def kill_the_master_when_the_first_leaves(cluster: Cluster) -> None:
    """With a disk that is slow, so that a checkpoint that is not awaited is lost with it."""
    cluster.disk.delay_s = 3.0

    def on_left(node: WorkerNode) -> None:
        if len(cluster.left) == 1:
            cluster.kill_master()
            cluster.start_master()

    cluster.on_left = on_left


def test_sending_workers_home_before_the_last_checkpoint_is_safe_is_seen() -> None:
    """A master that is killed then finds nobody there who could do again what is lost."""
    run(count_case(), Master, kill_the_master_when_the_first_leaves)
    with pytest.raises((Stuck, AssertionError)):
        run(count_case(), SendsHomeAtOnce, kill_the_master_when_the_first_leaves)


# -- a run in which all hang ends -------------------------------------------------------------------------


class WaitsForEver(Master):
    """Does not give up however long nothing moves."""

    def _give_up_if_stuck(self, now: float) -> None: ...


def exit_code_when_all_hang(make_master: type[Master]) -> int:
    settings = dataclasses.replace(SETTINGS, stall_timeout_s=30.0)
    cluster = Cluster(3, count_case(), settings, make_master=make_master)
    cluster.start_master()
    for _ in range(2):
        cluster.start_worker(Pace(0.1, 1e6))
    cluster.run_until(lambda: cluster.finished is not None, within_s=200.0)
    assert cluster.finished is not None
    return cluster.finished.exit_code


def test_waiting_for_ever_for_workers_that_hang_is_seen() -> None:
    assert exit_code_when_all_hang(Master) == 75
    with pytest.raises(Stuck):
        exit_code_when_all_hang(WaitsForEver)
