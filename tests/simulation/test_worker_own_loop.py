"""The worker machine where the computing side is a user's own loop: other layouts, and the last weights."""

import pytest

from ps_common import messages as m
from ps_common.layout import Entry, Layout
from ps_common.loop_job import LoopJob
from ps_common.plan import Plan
from ps_worker.effects import Cancel, Exit, Last, Prepare
from ps_worker.machine import LAST_S, State
from simulation.counting import CountingReplica, numbered
from simulation.jobs import Case
from simulation.test_worker import Told, notes, said

OTHER = Layout([Entry("counts", (21,), "float64")])
END = m.Stop(0, "finished", 1)


def told_in(state: State) -> Told:
    job = LoopJob(plan=Plan(shards=2, batch_size=5), samples=20, seed=3).describe()
    told = Told(Case(job, {"train": numbered(20), "test": None}, CountingReplica), takes_last=True)
    return told.until(state)


def test_no_rows_are_asked_for() -> None:
    assert said(told_in(State.COMPUTING).effects, m.Fetch) == []


@pytest.mark.parametrize("state", [State.GATHERING, State.COMPUTING, State.SETTLING])
def test_at_the_end_it_takes_the_last_weights_and_leaves(state: State) -> None:
    told = told_in(state)
    effects = told.tell(END)
    assert any(isinstance(effect, Cancel) for effect in effects) == (state is State.COMPUTING)
    assert said(effects, m.Pull) == [m.Pull(1, (0, 1))]
    assert told.tell(END) == [], "it knows that"
    assert said(told.tell(*told.weights(0, 1)), m.Pull) == [m.Pull(1, (2,))]
    told.tell(*told.weights(1, 1))
    assert not told.all(Exit)
    told.tell(*told.weights(2, 1))
    (last,) = told.all(Last)
    assert (last.version, bytes(last.weights)) == (1, bytes(told.vector))
    assert told.exit == Exit(0, "finished")
    assert said(told.effects, m.Leave) == [m.Leave("finished")]


def test_what_it_has_already_is_not_asked_for() -> None:
    told = told_in(State.COMPUTING)
    told.tell(m.Stop(0, "asked to stop", 0))
    (last,) = told.all(Last)
    assert (last.version, bytes(last.weights)) == (0, bytes(told.vector))


def test_a_last_chunk_that_is_lost_is_asked_for_again() -> None:
    told = told_in(State.SETTLING)
    told.tell(END)
    told.tell(*told.weights(1, 1))
    assert said(told.wait(1.1), m.Pull)[-1] == m.Pull(1, (0, 2))


def test_last_weights_that_do_not_come_are_not_waited_for_longer_than_that() -> None:
    told = told_in(State.SETTLING)
    told.tell(END)
    told.wait(LAST_S - 0.1)
    assert not told.all(Exit)
    told.wait(0.2)
    assert told.exit == Exit(0, "finished; its last weights did not come")
    assert not told.all(Last)


def test_who_was_stopped_itself_still_waits_for_its_last_weights() -> None:
    told = told_in(State.SETTLING)
    told.tell(END)
    told.wait(0.5)
    told.now += 500.0
    told.wait(5.0)
    assert not told.all(Exit)
    assert said(told.effects, m.Pull)[-1] == m.Pull(1, (0, 1)), "it asks again"


@pytest.mark.parametrize("stop", [m.Stop(1, "a unit failed", 1), m.Stop(0, "finished")])
def test_where_there_is_nothing_to_take_it_leaves_at_once(stop: m.Stop) -> None:
    told = told_in(State.SETTLING)
    told.tell(stop)
    assert told.exit == Exit(stop.exit_code, stop.reason)


def test_who_does_not_know_whether_its_layout_is_the_masters_leaves_at_once() -> None:
    told = told_in(State.IDLE)
    told.tell(END)
    assert told.exit == Exit(0, "finished")


def test_a_layout_that_is_not_the_masters_is_held_against_it_and_the_unit_is_another_s() -> None:
    told = told_in(State.IDLE)
    told.lease(layout_digest=OTHER.digest)
    assert told.worker.state is State.JOINING, "not a failed unit, which would end the run"
    told.welcome(layout=OTHER.to_plain())
    prepare = told.all(Prepare)[-1]
    assert prepare.layout == OTHER
    assert told.worker.state is State.PREPARING


def test_a_layout_that_is_the_masters_is_prepared_once() -> None:
    told = told_in(State.IDLE)
    told.tell(m.Rejoin())
    told.welcome(layout=told.replica.layout.to_plain())
    assert len(told.all(Prepare)) == 1
    assert told.worker.state is State.IDLE


def test_a_layout_that_is_none_ends_with_76() -> None:
    told = told_in(State.JOINING)
    told.welcome(layout=[["w", "wide", "float32", "weight"]])
    assert told.exit.exit_code == 76


def test_a_unit_that_nobody_computes_any_more_is_not_waited_for() -> None:
    told = told_in(State.COMPUTING)
    told.take(told.worker.stop(told.now, gives_up=True))
    assert told.exit == Exit(0, "asked to stop; the unit in hand is given up")


def test_a_contribution_on_its_way_is() -> None:
    told = told_in(State.SETTLING)
    told.take(told.worker.stop(told.now, gives_up=True))
    assert not told.all(Exit)
    told.tell(m.Accepted(told.number, True, ""))
    assert told.exit == Exit(0, "asked to stop")
    assert "dropped" not in notes(told.effects)
