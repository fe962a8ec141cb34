"""A test that has never been red proves nothing: here each promise is broken, and its check sees it.

What breaks is a subclass or a patch in this file, never a switch in the product.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from paramserver import machine
from paramserver.averager import Averager
from paramserver.canonical import Canonical
from paramserver.chunks import Chunks
from paramserver.effects import Effect, Snapshot
from paramserver.leases import Lease
from paramserver.machine import Master
from paramserver.members import Member
from paramserver.rounds import Round
from paramserver.served import Served
from paramserver.settings import Settings
from ps_common import messages as m
from ps_common.arrays import HostArray
from ps_common.memory import Heap
from ps_common.plan import Plan
from ps_worker import nn
from ps_worker.machine import Worker
from ps_worker.stock import Stock
from simulation.bench import Bench
from simulation.checks import Checks
from simulation.cluster import Cluster
from simulation.computing import Pace
from simulation.counting import check_counts
from simulation.jobs import Case, case_of, counting_case
from simulation.naive import naive_run
from simulation.network import Weather
from simulation.world import Stuck

SETTINGS = Settings(chunk_bytes=64, window=2, held_bytes=4096, checkpoint_every_rounds=1, lease_timeout_s=3.0)
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
    **servers: Any,
) -> Cluster:
    """A run of three workers of different paces, with the checks of every simulation."""
    cluster = Cluster(3, case, settings, weather, make_master, **servers)
    cluster.start_master()
    for pace in paces:
        cluster.start_worker(pace)
    disturb(cluster)
    cluster.run(within_s=200.0)
    assert cluster.finished is not None
    assert cluster.finished.exit_code == 0
    oracle = naive_run(case.description, case.make_replica(case.description, Heap()), case.sources)
    assert bytes(cluster.final) == bytes(oracle), "the final weights are not the oracle's"
    if case.counts:
        check_counts(cluster.final.view("float64"), case.description.plan.epochs)
    return cluster


def kill_a_worker(cluster: Cluster) -> None:
    def strike() -> None:
        cluster.kill_worker(cluster.workers[0])
        cluster.start_worker(PACES[0])

    cluster.world.after(0.7, strike)


def kill_the_master(cluster: Cluster) -> None:
    cluster.world.after(1.3, lambda: _strike(cluster))


def kill_the_master_in_its_fourth_round(cluster: Cluster) -> None:
    is_there = cluster.checks._version == 3 and cluster.master is not None
    wait_s, event = (0.1, _strike) if is_there else (0.05, kill_the_master_in_its_fourth_round)
    cluster.world.after(wait_s, lambda: event(cluster))


def _strike(cluster: Cluster) -> None:
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


@pytest.mark.parametrize("disturb", [lambda cluster: None, kill_a_worker, kill_the_master])
@pytest.mark.parametrize("make_case", [real_case, count_case])
def test_nothing_broken_is_green(make_case: Callable[[], Case], disturb: Callable[[Cluster], None]) -> None:
    run(make_case(), disturb=disturb)


@pytest.mark.parametrize(
    "disturb", [lambda cluster: None, kill_a_worker, kill_the_master, kill_a_server], ids=lambda d: d.__name__
)
@pytest.mark.parametrize("elsewhere", [[], [1]])
@pytest.mark.parametrize("is_shared", [True, False])
def test_nothing_broken_is_green_with_servers(
    disturb: Callable[[Cluster], None], elsewhere: list[int], is_shared: bool
) -> None:
    run(count_case(), disturb=disturb, servers=2, elsewhere=elsewhere, is_shared=is_shared)


# -- the order of arrival does not matter -----------------------------------------------------------------


class ByArrival(Round):
    """Gives each shard the place in which it comes."""

    def deliver(self, shard: int, index: int, payload: memoryview) -> bool:
        came = self.__dict__.setdefault("came", {}).setdefault(index, [])
        if shard not in came and index in self._granted.get(shard, ()):
            came.append(shard)
            place = self._place
            self._place = dict(
                zip([*came, *(s for s in place if s not in came)], range(len(place)), strict=True)
            )
            try:
                return super().deliver(shard, index, payload)
            finally:
                self._place = place
        return super().deliver(shard, index, payload)


def test_summing_in_the_order_of_arrival_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paramserver.canonical.Round", ByArrival)
    with pytest.raises(AssertionError, match="not the oracle's"):
        run(real_case())


# -- every sample exactly once ----------------------------------------------------------------------------


def test_counting_a_late_twin_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def count_anyway(
        self: Master, member: Member, message: m.Chunk, payloads: Sequence[memoryview], now: float
    ) -> None:
        if self.leasing.current(member, message.lease) is None and self.exchange.round is not None:
            span = self.canonical.spans[message.index]
            span.of(self.exchange.round.out)[...] += np.frombuffer(payloads[0], span.dtype)
        else:
            Master._on_chunk(self, member, message, payloads, now)

    def late_twin() -> Bench:
        bench = Bench(workers_min=2, lease_timeout_s=1.0)
        first, second = bench.hand("w1"), bench.hand("w2")
        first.settle()
        late = first.lease
        second.settle()
        for _ in range(4):
            bench.wait(0.5)
            first.say(m.Heartbeat(late.lease, 0))
            second.say(m.Ready(0))
        second.say(second.push(second.lease))
        for index in (0, 1):  # of three: the round is still open
            second.say(*second.chunk(second.lease, index))
        first.say(first.push(late))
        for index in (0, 1):
            first.say(*first.chunk(late, index))
        second.settle()
        while bench.master.progress.version < 2:
            second.settle()
        return bench

    check_counts(late_twin().counts, 1)
    monkeypatch.setitem(machine._HANDLERS, m.Chunk, count_anyway)
    with pytest.raises(AssertionError, match="were counted"):
        check_counts(late_twin().counts, 1)


class LeavesOneOut(Master):
    """Closes a round as if its last shard had sent nothing new."""

    def _close_stage(self, stage: Any, now: float) -> None:
        if stage.kind == "train" and stage.round == 1 and self.canonical.vector is not None:
            span = self.canonical.spans[0]
            span.of(self.exchange.round.out)[...] = span.of(self.canonical.vector)
        super()._close_stage(stage, now)


def test_a_sample_that_is_not_counted_is_seen() -> None:
    with pytest.raises(AssertionError, match=r"not the oracle's|were counted|is not version"):
        run(count_case(), LeavesOneOut)


# -- kill -9 of any worker --------------------------------------------------------------------------------


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


# -- kill -9 of the master --------------------------------------------------------------------------------


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


# -- a pull returns one version ---------------------------------------------------------------------------


def test_computing_on_half_a_pull_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def half(self: Stock) -> bool:
        return all(part.left <= 1 for part in self._weights) and self._rows.is_complete

    monkeypatch.setattr(Stock, "is_complete", property(half))
    with pytest.raises(AssertionError, match="is not version"):
        run(real_case())


# -- no wait without a deadline, no queue without a limit -------------------------------------------------


def test_a_wait_without_a_deadline_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Worker, "next_deadline", lambda self: math.inf)
    with pytest.raises(AssertionError, match="waits without a deadline"):
        run(count_case())


def test_a_deadline_that_a_tick_does_not_move_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Worker, "next_deadline", lambda self: 0.0)
    with pytest.raises(AssertionError, match="ticks on the spot"):
        run(count_case())


def test_holding_more_than_the_budget_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Canonical.new_round

    def generous(self: Canonical, *given: Any) -> Round:
        round_ = honest(self, *given)
        round_._budget_bytes = 2**40
        return round_

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

    settings = dataclasses.replace(SETTINGS, held_bytes=64, lease_timeout_s=60.0, workers_min=2)
    case = counting_case(Plan(shards=6, batch_size=2, local_steps=2), 5, 60)
    slow_first = (Pace(0.0, 5.0), Pace(0.1, 0.01))
    run(case, Master, lose_the_first, settings, slow_first)
    with pytest.raises(Stuck):
        run(case, NeverMakesWay, lose_the_first, settings, slow_first)


# -- several averaging servers ----------------------------------------------------------------------------


class GoesOn(Averager):
    """A server that forgets to begin anew: what it has averaged of the round is still in."""

    def _begin(self, serve: m.Serve, now: float) -> None:
        if self._serve is None or self._chunks is None:
            super()._begin(serve, now)
        else:
            self._serve, self._number = serve, 0
            self._fill(serve)


class KeepsTheOld(Averager):
    """A server that begins with what it has, whichever version that is."""

    def _kept(self, serve: m.Serve) -> HostArray | None:
        return None if self._chunks is None else self._chunks.canonical.vector


@pytest.mark.parametrize("make_server", [GoesOn, KeepsTheOld])
def test_a_server_that_does_not_begin_anew_is_seen(make_server: Callable[..., Averager]) -> None:
    """The master comes back with an older version, and the servers elsewhere are as they were."""
    settings = dataclasses.replace(SETTINGS, checkpoint_every_rounds=3)
    elsewhere = {"settings": settings, "servers": 2, "elsewhere": [0, 1]}
    run(real_case(), Master, kill_the_master_in_its_fourth_round, **elsewhere)
    with pytest.raises((Stuck, AssertionError)):
        run(real_case(), Master, kill_the_master_in_its_fourth_round, make_server=make_server, **elsewhere)


@pytest.mark.parametrize("is_shared", [True, False])
def test_a_version_that_is_settled_before_all_have_closed_it_is_seen(
    monkeypatch: pytest.MonkeyPatch, is_shared: bool
) -> None:
    monkeypatch.setattr(Served, "is_finished", property(lambda self: any(one.is_closed for one in self._all)))
    with pytest.raises((Stuck, AssertionError)):
        run(real_case(), servers=2, is_shared=is_shared, weather=LOSSY)


def test_a_version_that_is_settled_before_all_of_it_is_here_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Served, "is_finished", property(lambda self: all(one.is_closed for one in self._all)))
    with pytest.raises(AssertionError, match=r"serves something else|is not version|not the oracle's"):
        run(real_case(), servers=2, weather=LOSSY)


class ServesTooSoon(Averager):
    """A server that serves what it was filled with by halves."""

    def _fill(self, serve: m.Serve) -> None:
        if self._filling is not None and self._filling.left == 1:
            self._filling = None
        super()._fill(serve)


def test_a_server_that_serves_a_mix_is_seen() -> None:
    with pytest.raises(AssertionError, match="serves something else"):
        run(real_case(), disturb=kill_a_server, servers=2, make_server=ServesTooSoon)


def test_workers_see_a_mix_where_nobody_looks_at_the_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Checks, "after_server", lambda self, node, network: None)
    with pytest.raises(AssertionError, match="is not version"):
        run(real_case(), disturb=kill_a_server, servers=2, make_server=ServesTooSoon)


class KeepsWhatIsLost(Master):
    """Does not open the units again whose contributions were lost with a server."""

    def _begin_anew(self) -> None:
        stage = self.leasing.stage
        honest = stage.reopen_done if stage is not None else None
        if stage is not None:
            stage.reopen_done = lambda: 0  # type: ignore[method-assign]
        super()._begin_anew()
        if stage is not None and honest is not None:
            stage.reopen_done = honest  # type: ignore[method-assign]


class CountsTwice(Master):
    """Forgets that units were lost."""

    def _begin_anew(self) -> None:
        super()._begin_anew()
        self.leasing.units_lost = 0


def test_a_round_that_does_not_begin_anew_is_seen() -> None:
    with pytest.raises((Stuck, AssertionError)):
        run(count_case(), KeepsWhatIsLost, kill_a_server, servers=2)


def test_units_that_are_credited_twice_are_seen() -> None:
    with pytest.raises(AssertionError, match="units are credited"):
        run(count_case(), CountsTwice, kill_a_server, servers=2)


def test_a_server_that_holds_more_than_its_budget_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Canonical.new_round

    def generous(self: Canonical, *given: Any) -> Round:
        round_ = honest(self, *given)
        round_._budget_bytes = 2**40
        return round_

    settings = dataclasses.replace(SETTINGS, held_bytes=64, lease_timeout_s=60.0)
    case = counting_case(Plan(shards=8, batch_size=2, local_steps=2), 5, 80)
    slow_first = (Pace(0.0, 5.0), *[Pace(0.1, 0.01)] * 5)
    run(case, settings=settings, paces=slow_first, servers=2)
    monkeypatch.setattr(Canonical, "new_round", generous)
    with pytest.raises(AssertionError, match="bytes are held, the budget is"):
        run(case, settings=settings, paces=slow_first, servers=2)


class NeverGivesUp(Master):
    """Waits for servers that have forgotten everything."""

    def _on_server_lost(self, index: int, why: str, now: float) -> None: ...


def test_not_noticing_that_a_server_has_died_is_seen() -> None:
    with pytest.raises(Stuck):
        run(count_case(), NeverGivesUp, kill_a_server, servers=2, elsewhere=[0, 1])


class LeavesThemWaiting(Averager):
    """Forgets who has asked for chunks of the next version."""

    def _finish(self, chunks: Chunks, message: m.Finish) -> m.Closed:
        awaited = dict(chunks._awaited)
        closed = super()._finish(chunks, message)
        chunks._awaited.update(awaited or {0: {}})
        return closed


def test_who_is_kept_waiting_is_seen() -> None:
    with pytest.raises(AssertionError, match="keeps somebody waiting for chunk"):
        run(real_case(), servers=2, make_server=LeavesThemWaiting)
