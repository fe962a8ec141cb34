"""Broken: the master does not notice that a worker is dead or slow, or does nothing about it."""

import dataclasses

import pytest

from paramserver.effects import Effect
from paramserver.leases import Lease
from paramserver.leasing import Leasing
from paramserver.machine import Master
from paramserver.members import Member
from paramserver.simulation.computing import Pace
from paramserver.simulation.network import Weather
from paramserver.simulation.world import Stuck
from ps_common import messages as m
from simulation.broken import SETTINGS, count_case, kill_a_worker, run
from simulation.cluster import Cluster


class Forgets(Master):
    """A lost member's unit is not opened again."""

    def _release(self, member: Member, lease: Lease) -> None:
        if self.exchange.round is not None:
            self.exchange.round.withdraw(lease.unit.shard)
        assert self.leasing.stage is not None
        self.leasing.stage._end(lease)
        member.lease = 0


def test_not_leasing_a_dead_workers_unit_again_is_seen() -> None:
    run(count_case(), Forgets)
    with pytest.raises(Stuck):
        run(count_case(), Forgets, kill_a_worker)


class NeverLost(Master):
    """Does not notice that a worker is silent."""

    def tick(self, now: float) -> list[Effect]:
        for member in self.members:
            member.seen_at = now
        return super().tick(now)

    def _revoke_stuck(self, now: float) -> None: ...


def test_not_noticing_a_dead_worker_is_seen() -> None:
    with pytest.raises(Stuck):
        run(count_case(), NeverLost, kill_a_worker)


class NotTold(Master):
    """Does not hear of the kernel that a worker's process has ended."""

    def ended(self, sender: bytes, now: float) -> list[Effect]:
        return []


def test_not_being_told_of_the_end_of_a_process_is_seen() -> None:
    """Silence tells it, too, but here it may be long."""
    patient = dataclasses.replace(SETTINGS, lease_timeout_s=1e4, liveness_timeout_s=1e4, stall_timeout_s=1e4)
    run(count_case(), Master, kill_a_worker, patient, is_shared=True)
    with pytest.raises(Stuck):
        run(count_case(), NotTold, kill_a_worker, patient, is_shared=True)


# -- below MIN nothing is leased --------------------------------------------------------------------------


class LeasesAnyway(Master):
    """Goes on with however few workers there are."""

    is_waiting = False


def leases_below_the_least_number(make_master: type[Master]) -> int:
    """Leases that the one who is left of two workers is given while it is alone."""
    cluster = Cluster(3, count_case(), dataclasses.replace(SETTINGS, workers_min=2), make_master=make_master)
    node = cluster.start_master()
    workers = [cluster.start_worker() for _ in range(2)]
    cluster.run_until(lambda: cluster.checks._version == 1)
    cluster.kill_worker(workers[0])
    cluster.run_until(lambda: len(node.machine.members) == 1)
    before = node.sent[m.Lease]
    cluster.world.let_pass(10.0)
    return node.sent[m.Lease] - before


def test_leasing_below_the_least_number_of_workers_is_seen() -> None:
    assert leases_below_the_least_number(Master) == 0
    assert leases_below_the_least_number(LeasesAnyway) > 0


# -- slow workers: races ----------------------------------------------------------------------------------

RACING = dataclasses.replace(SETTINGS, race_after_s=0.05, lease_timeout_s=60.0)
ONE_IS_SLOW = (Pace(0.1, 0.02), Pace(0.1, 0.02), Pace(0.1, 0.2))


class CountsBoth(Master):
    """Whoever is slower with a raced unit is not told, and counts as well."""

    def _outrun(self, lease: Lease) -> None: ...


def test_counting_both_of_a_race_is_seen() -> None:
    run(count_case(), settings=RACING, paces=ONE_IS_SLOW)
    with pytest.raises(AssertionError, match="units are credited"):
        run(count_case(), CountsBoth, settings=RACING, paces=ONE_IS_SLOW)


# -- what is said of a lease that has ended ---------------------------------------------------------------

AGAIN = Weather(0.001, 0.02, duplicate=0.3, reorder=0.3, detour_s=1.0)


def of_any_lease(self: Leasing, member: Member, number: int) -> Lease | None:
    """Instead of `Leasing.current`: the lease in a member's hand, whatever its number."""
    return self.of(member)


def test_taking_what_is_said_of_a_former_lease_for_the_one_in_hand_is_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where messages come twice, and late."""
    run(count_case(), weather=AGAIN)
    monkeypatch.setattr(Leasing, "current", of_any_lease)
    with pytest.raises((Stuck, AssertionError)):
        run(count_case(), weather=AGAIN)
