"""Broken: averaging servers, or the master that looks after them."""

import dataclasses
from collections.abc import Callable

import pytest

from paramserver.averaging.canonical import Canonical
from paramserver.averaging.chunks import Chunks
from paramserver.machine import Master
from paramserver.servers.averager import Averager
from paramserver.servers.served import Served
from paramserver.simulation.computing import Pace
from paramserver.simulation.world import Stuck
from ps_common import messages as m
from ps_common.arrays import HostArray
from ps_common.plan import Plan
from simulation.broken import (
    LOSSY,
    NO_LEDGER,
    SETTINGS,
    count_case,
    generous,
    kill_a_server,
    kill_the_master_in_its_fourth_round,
    real_case,
    run,
)
from simulation.checks import Checks
from simulation.cluster import Cluster
from simulation.jobs import counting_case


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


def any_has_closed(self: Served) -> bool:
    return any(one.is_closed for one in self._all)


def all_have_closed(self: Served) -> bool:
    return all(one.is_closed for one in self._all)


@pytest.mark.parametrize("is_shared", [True, False])
def test_a_version_that_is_settled_before_all_have_closed_it_is_seen(
    monkeypatch: pytest.MonkeyPatch, is_shared: bool
) -> None:
    monkeypatch.setattr(Served, "is_finished", property(any_has_closed))
    with pytest.raises((Stuck, AssertionError)):
        run(real_case(), settings=NO_LEDGER, servers=2, is_shared=is_shared, weather=LOSSY)


def test_a_version_that_is_settled_before_all_of_it_is_here_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Served, "is_finished", property(all_have_closed))
    with pytest.raises(AssertionError, match=r"serves something else|is not version|not the oracle's"):
        list(map(lossy, range(12)))


def lossy(seed: int) -> Cluster:
    return run(real_case(), servers=2, weather=LOSSY, seed=seed)


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
