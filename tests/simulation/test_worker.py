"""The worker machine, told by a test what the master says and when its unit is computed."""

import dataclasses
import math
from typing import Any, TypeVar

import numpy as np
import pytest

from ps_common import messages as m
from ps_common.arrays import HostArray
from ps_common.memory import Heap
from ps_common.plan import Plan
from ps_common.wire import checksum, decode, encode
from ps_worker.effects import (
    Cancel,
    Compute,
    Contribution,
    Effect,
    Exit,
    Failure,
    Note,
    Outcome,
    Prepare,
    Prepared,
    Probe,
    Send,
)
from ps_worker.machine import JOIN_RETRY_S, State, Worker
from simulation.cluster import join_of
from simulation.jobs import Case, counting_case

_E = TypeVar("_E", bound=Effect)
_M = TypeVar("_M", bound=m.Message)


class Told:
    """A worker machine, and a master that says exactly what a test wants it to say."""

    def __init__(self, case: Case | None = None, takes_last: bool = False) -> None:
        self.case = case or counting_case(Plan(shards=2, batch_size=5), 3, 20)
        self.replica = self.case.make_replica(self.case.description, Heap())
        self.now = 50.0
        self.worker = Worker(
            join_of("w"), self.now, master_timeout_s=20.0, shutdown_timeout_s=10.0, takes_last=takes_last
        )
        self.effects: list[Effect] = []
        self.number = 1 << 32
        self.tick()

    # -- what happens to it ---------------------------------------------------------------------------

    def take(self, effects: list[Effect]) -> list[Effect]:
        self.effects += effects
        return effects

    def tell(self, message: m.Message, *payloads: bytes) -> list[Effect]:
        frames = [memoryview(frame) for frame in (encode(message), *payloads)]
        effects = self.take(self.worker.handle(decode(frames), frames[1:], self.now))
        assert self.worker.state is State.LEFT or self.worker.next_deadline() < math.inf
        return effects

    def done(self, outcome: Outcome) -> list[Effect]:
        return self.take(self.worker.done(outcome, self.now))

    def tick(self) -> list[Effect]:
        return self.take(self.worker.tick(self.now))

    def stop(self) -> list[Effect]:
        return self.take(self.worker.stop(self.now))

    def wait(self, seconds: float) -> list[Effect]:
        end, effects = self.now + seconds, []
        while self.worker.next_deadline() <= end:
            self.now = max(self.now, self.worker.next_deadline())
            effects += self.tick()
            assert self.worker.next_deadline() > self.now
        self.now = end
        return effects

    # -- a run as far as a test wants it --------------------------------------------------------------

    def welcome(self, **changes: Any) -> list[Effect]:
        job = self.case.description.to_plain()
        message = m.Welcome("w1", "run", 1, job, 0.5, 1.0, chunk_bytes=64, window=2, pull_window=2)
        return self.tell(dataclasses.replace(message, **changes))

    def prepared(self) -> list[Effect]:
        return self.done(Prepared(self.replica.layout, self.case.description.digest))

    def lease(self, kind: str = "train", version: int = 0, **changes: Any) -> m.Lease:
        self.number += 1
        lease = m.Lease(self.number, kind, 0, 0, version, self.replica.layout.digest, 2)
        lease = dataclasses.replace(lease, **changes)
        self.tell(lease)
        return lease

    def weights(self, index: int, version: int = 0, **changes: Any) -> tuple[m.Weights, bytes]:
        span = self.replica.layout.chunks(64)[index]
        part = bytes(self.vector[span.start : span.stop])
        return dataclasses.replace(m.Weights(version, index, checksum(part)), **changes), part

    @property
    def vector(self) -> HostArray:
        return np.arange(20.0).view("uint8")

    def rows(self, block: int, shard: int = 0, **changes: Any) -> tuple[m.Rows, bytes, bytes]:
        data, shards = self.case.description.split("train")
        size, source = data.block_rows(64), self.case.sources["train"]
        assert source is not None
        x, y = source.read(shards.rows_between(shard, block * size, (block + 1) * size))
        message = m.Rows("train", shard, block, checksum(x.tobytes(), y.tobytes()))
        return dataclasses.replace(message, **changes), x.tobytes(), y.tobytes()

    def gathered(self) -> None:
        for index in range(3):
            self.tell(*self.weights(index))
        for block in range(3):
            self.tell(*self.rows(block))

    def until(self, state: State) -> "Told":
        """Bring it to a state by the shortest way."""
        steps = {
            State.JOINING: lambda: None,
            State.PREPARING: self.welcome,
            State.IDLE: self.prepared,
            State.GATHERING: self.lease,
            State.COMPUTING: self.gathered,
            State.SETTLING: self.computed,
        }
        for reached, step in steps.items():
            step()
            assert self.worker.state is reached
            if reached is state:
                break
        return self

    def computed(self) -> list[Effect]:
        return self.done(Contribution(5, {"loss": [1.0, 5.0]}, 0.1, self.vector.copy()))

    # -- what it wanted -------------------------------------------------------------------------------

    def all(self, kind: type[_E]) -> list[_E]:
        return [effect for effect in self.effects if isinstance(effect, kind)]

    @property
    def exit(self) -> Exit:
        (effect,) = self.all(Exit)
        return effect


def said(effects: list[Effect], kind: type[_M]) -> list[_M]:
    return [e.message for e in effects if isinstance(e, Send) and isinstance(e.message, kind)]


def notes(effects: list[Effect]) -> str:
    return "\n".join(effect.text for effect in effects if isinstance(effect, Note))


LIVE = [s for s in State if s not in (State.LEFT, State.TAKING)]


def in_state(state: State) -> Told:
    if state is not State.ABANDONING:
        return Told().until(state)
    told = Told().until(State.COMPUTING)
    told.tell(m.Accepted(told.number, False, "the lease has ended"))
    assert told.worker.state is State.ABANDONING
    return told


def test_a_unit_from_join_to_accepted() -> None:
    told = Told()
    assert said(told.effects, m.Join) == [join_of("w")]
    assert isinstance(told.welcome()[-1], Prepare)
    assert said(told.prepared(), m.Ready) == [m.Ready(-1)]
    lease = told.lease()
    assert said(told.effects, m.Fetch) == [m.Fetch("train", 0, (0, 1))]
    told.gathered()
    (compute,) = told.all(Compute)
    assert (compute.lease, bytes(compute.base)) == (lease, bytes(told.vector))
    x, _ = compute.rows
    assert list(x[:, 0]) == list(range(0, 20, 2))
    effects = told.computed()
    assert said(effects, m.Push)[0].lease == lease.lease
    assert [chunk.index for chunk in said(effects, m.Chunk)] == [0, 1]
    assert [chunk.index for chunk in said(told.tell(m.Grant(lease.lease, (2,))), m.Chunk)] == [2]
    assert told.tell(m.Accepted(lease.lease, True, "")) == []  # the master knows that it is idle
    assert told.worker.state is State.IDLE
    assert isinstance(told.tell(m.Stop(0, "finished"))[-1], Exit)
    assert (told.exit, told.worker.next_deadline()) == (Exit(0, "finished"), math.inf)


def test_nobody_answers_ends_with_69_and_says_where_to_look() -> None:
    told = Told()
    effects = told.wait(19.9)
    assert "nothing heard of the master for 3 s (joining)" in notes(effects)
    assert len(said(effects, m.Join)) == pytest.approx(19.9 / JOIN_RETRY_S, abs=2)
    told.wait(0.2)
    assert told.exit.exit_code == 69
    assert "is it started" in told.exit.reason


def test_while_nobody_answers_it_looks_why_and_says_so_when_that_changes() -> None:
    told = Told()
    assert [type(effect) for effect in told.wait(15.0)].count(Probe) == 2
    for why in ("the name means nothing", "the name means nothing", "nobody listens"):
        told.take(told.worker.probed(why))
    assert [note.text for note in told.all(Note)][1:] == ["the name means nothing", "nobody listens"]
    told.wait(5.1)
    assert told.exit.exit_code == 69
    assert told.exit.reason.endswith("nobody listens")


def test_who_has_been_welcome_does_not_look_why_and_a_look_that_comes_late_says_nothing() -> None:
    told = in_state(State.IDLE)
    told.wait(15.0)
    assert told.all(Probe) == []
    before = len(told.all(Note))
    assert told.worker.probed("nobody listens") == []
    assert len(told.all(Note)) == before


@pytest.mark.parametrize("state", LIVE, ids=lambda s: s.value)
def test_who_was_stopped_itself_does_not_take_that_for_silence_of_the_master(state: State) -> None:
    told = in_state(state)
    told.wait(0.6)
    told.now += 500.0
    told.wait(5.0)
    assert not told.all(Exit), "it asks first"
    told.wait(20.0)
    assert told.all(Exit)


@pytest.mark.parametrize("state", [s for s in LIVE if s is not State.JOINING], ids=lambda s: s.value)
def test_a_master_that_is_lost_ends_with_75_in_every_state(state: State) -> None:
    told = in_state(state)
    told.wait(20.0)
    assert told.exit.exit_code == 75
    assert f"lost the master: not heard of for 20 s ({state.value})" in told.exit.reason


@pytest.mark.parametrize(
    "state",
    [State.JOINING, State.PREPARING, State.IDLE, State.GATHERING, State.ABANDONING],
    ids=lambda s: s.value,
)
def test_stop_with_nothing_worth_finishing_leaves_at_once(state: State) -> None:
    told = in_state(state)
    effects = told.stop()
    assert said(effects, m.Leave) == [m.Leave("asked to stop")]
    assert told.exit == Exit(0, "asked to stop")


def test_stop_while_computing_finishes_the_unit_in_hand() -> None:
    told = Told().until(State.COMPUTING)
    assert told.stop() == []
    assert said(told.computed(), m.Push)
    told.tell(m.Accepted(told.number, True, ""))
    assert told.exit == Exit(0, "asked to stop")


def test_stop_while_settling_takes_no_further_lease() -> None:
    told = Told().until(State.SETTLING)
    told.stop()
    told.lease()
    assert told.exit == Exit(0, "asked to stop")


def test_stop_with_a_unit_that_takes_too_long_leaves_at_the_deadline() -> None:
    told = Told().until(State.COMPUTING)
    told.stop()
    for _ in range(19):
        told.wait(0.5)
        told.tell(m.Alive(1, 0.5))
    assert not told.all(Exit)
    told.wait(0.6)
    assert told.exit.exit_code == 0
    assert "took too long" in told.exit.reason


def test_stop_with_a_master_that_does_not_know_the_worker_leaves() -> None:
    told = Told().until(State.COMPUTING)
    told.stop()
    told.tell(m.Rejoin())
    assert told.exit == Exit(0, "asked to stop")


@pytest.mark.parametrize("state", LIVE, ids=lambda s: s.value)
def test_stop_of_the_master_is_obeyed_in_every_state(state: State) -> None:
    told = in_state(state)
    told.tell(m.Stop(3, "a unit failed"))
    assert told.exit == Exit(3, "a unit failed")


def test_a_refusal_ends_with_its_code() -> None:
    told = Told()
    told.tell(m.Refused(76, "another protocol"))
    assert told.exit == Exit(76, "the master refused this worker: another protocol")


def test_a_job_that_cannot_be_read_ends_with_76_instead_of_asking_for_ever() -> None:
    told = Told()
    told.welcome(job={"model": 1})
    assert told.exit.exit_code == 76


def test_a_replica_that_cannot_be_built_ends_with_the_code_of_its_failure() -> None:
    told = Told().until(State.PREPARING)
    told.done(Failure("UsageError: no such layer", "Traceback ...", 2))
    assert told.exit == Exit(2, "UsageError: no such layer")
    assert "Traceback" not in notes(told.effects)  # the line says what to do


def test_a_replica_that_breaks_shows_where() -> None:
    told = Told().until(State.PREPARING)
    told.done(Failure("ZeroDivisionError: division by zero", "Traceback ...", 1))
    assert told.exit == Exit(1, "ZeroDivisionError: division by zero")
    assert "Traceback" in notes(told.effects)


# -- gathering --------------------------------------------------------------------------------------------


def test_a_weights_chunk_that_is_lost_is_asked_for_again() -> None:
    told = Told().until(State.GATHERING)
    told.tell(*told.weights(1))
    assert said(told.wait(1.1), m.Pull)[-1] == m.Pull(0, (0, 2))


@pytest.mark.parametrize("change", [{"checksum": 1}, {"index": 3}, {"version": 5}])
def test_a_weights_chunk_that_is_wrong_is_not_taken(change: dict[str, int]) -> None:
    told = Told().until(State.GATHERING)
    message, part = told.weights(0)
    effects = told.tell(dataclasses.replace(message, **change), part)
    assert ("dropped a message" in notes(effects)) == ("version" not in change)
    told.tell(message, part[:-1])
    assert 0 in said(told.wait(1.1), m.Pull)[-1].chunks


def test_rows_that_are_lost_are_asked_for_again() -> None:
    told = Told().until(State.GATHERING)
    told.tell(*told.rows(1))
    assert said(told.wait(1.1), m.Fetch)[-1] == m.Fetch("train", 0, (0, 2))


@pytest.mark.parametrize("change", [{"checksum": 1}, {"block": 9}, {"shard": 1}, {"split": "test"}])
def test_rows_that_are_wrong_are_not_taken(change: dict[str, Any]) -> None:
    told = Told().until(State.GATHERING)
    message, x, y = told.rows(0)
    told.tell(dataclasses.replace(message, **change), x, y)
    told.tell(message, x[:-8], y)
    assert 0 in said(told.wait(1.1), m.Fetch)[-1].blocks


def test_rows_that_are_here_are_not_fetched_again() -> None:
    told = Told().until(State.SETTLING)
    told.tell(m.Accepted(told.number, True, ""))
    fetched = len(said(told.effects, m.Fetch))
    told.lease()
    assert told.worker.state is State.COMPUTING  # the same version and shard
    assert len(said(told.effects, m.Fetch)) == fetched


def test_gathering_is_progress_that_the_master_is_told_of() -> None:
    told = Told().until(State.GATHERING)
    told.worker.step = 99  # of the unit before
    steps = [beat.step for beat in said(told.wait(0.6), m.Heartbeat)]
    told.gathered()
    told.worker.step = 2
    steps += [beat.step for beat in said(told.wait(0.6), m.Heartbeat)]
    assert steps[0] == 0
    assert steps[-1] == 3 + 3 + 2


# -- settling ---------------------------------------------------------------------------------------------


def test_an_accepted_that_is_lost_is_asked_for_by_pushing_again() -> None:
    told = Told().until(State.SETTLING)
    (push,) = said(told.effects, m.Push)
    assert said(told.wait(1.1), m.Push) == [push]


def asked_at(told: Told, kind: type[_M], seconds: float) -> list[float]:
    """How long after now, to half a second, something is said again."""
    halves = range(1, int(2 * seconds) + 1)
    return [half / 2 for half in halves if said(told.wait(0.5), kind)]


def test_who_must_wait_asks_again_ever_more_seldom_but_never_stops() -> None:
    told = Told().until(State.SETTLING)
    told.worker.handle(m.Alive(1, 0.5), (), told.now)
    again = asked_at(told, m.Push, 19.5)
    assert again == [1.0, 3.0, 7.0, 15.0]
    told.tell(m.Alive(1, 0.5))
    assert asked_at(told, m.Push, 18.0) == [11.5], "16 s later, and no longer"


def test_whatever_comes_forward_the_next_question_is_soon_asked_again() -> None:
    told = Told().until(State.SETTLING)
    told.wait(4.0)
    told.tell(m.Grant(told.number, (2,)))
    assert asked_at(told, m.Push, 4.0) == [1.0, 3.0]
    told.tell(m.Accepted(told.number, True, ""))
    assert asked_at(told, m.Ready, 4.0) == [1.0, 3.0]
    told.lease(version=1)
    assert asked_at(told, m.Pull, 4.0) == [1.0, 3.0]
    told.tell(*told.weights(0, 1))
    assert asked_at(told, m.Pull, 4.0) == [1.0, 3.0]


def test_a_failure_is_reported_until_it_is_noted() -> None:
    told = Told().until(State.COMPUTING)
    told.done(Failure("ValueError: x", "Traceback", 1))
    assert len(said(told.wait(3.1), m.Failed)) == 2
    told.tell(m.Accepted(told.number, False, "the failure is noted"))
    assert told.worker.state is State.IDLE


def test_a_lease_of_another_layout_fails_with_76() -> None:
    told = Told().until(State.IDLE)
    lease = told.lease(layout_digest="of another job")
    (failed,) = said(told.effects, m.Failed)
    assert (failed.lease, failed.exit_code, failed.error[:14]) == (lease.lease, 76, "LayoutMismatch")


@pytest.mark.parametrize(
    "change", [{"kind": "boil"}, {"kind": "evaluate"}, {"shard": 2}, {"round": 99}], ids=lambda c: str(c)
)
def test_a_lease_of_a_unit_that_the_job_does_not_have_is_dropped(change: dict[str, Any]) -> None:
    told = Told().until(State.IDLE)
    told.lease(**change)
    assert told.worker.state is State.IDLE
    assert "dropped a message" in notes(told.effects)
    told.lease()
    assert told.worker.state is State.GATHERING


def test_a_grant_beyond_the_model_sends_what_there_is() -> None:
    told = Told().until(State.IDLE)
    told.lease(grant=1000)
    told.gathered()
    assert [chunk.index for chunk in said(told.computed(), m.Chunk)] == [0, 1, 2]
    assert "dropped" in notes(told.tell(m.Grant(told.number, (7,))))


def test_a_unit_that_is_wanted_no_more_is_cancelled_and_its_outcome_goes_nowhere() -> None:
    told = Told().until(State.COMPUTING)
    effects = told.tell(m.Accepted(told.number, False, "the lease has ended"))
    assert isinstance(effects[0], Cancel)
    assert said(told.wait(0.6), m.Heartbeat)[-1].lease == 0
    effects = told.computed()
    assert not said(effects, m.Push)
    assert said(effects, m.Ready) == [m.Ready(0, told.number)]


@pytest.mark.parametrize("state", LIVE, ids=lambda s: s.value)
def test_nothing_of_another_lease_is_acted_on(state: State) -> None:
    told = in_state(state)
    for message in (m.Accepted(7, True, ""), m.Grant(7, (0,))):
        assert told.tell(message) == []
        assert told.worker.state is state


# -- masters that come and go -----------------------------------------------------------------------------


@pytest.mark.parametrize("state", [s for s in LIVE if s is not State.JOINING], ids=lambda s: s.value)
def test_a_master_that_was_started_again_is_joined_from_every_state(state: State) -> None:
    told = in_state(state)
    was_busy = state in (State.PREPARING, State.COMPUTING, State.ABANDONING)
    assert said(told.tell(m.Rejoin()), m.Join)
    assert said(told.wait(1.1), m.Join)
    effects = told.welcome(term=2)
    assert any(isinstance(effect, Cancel) for effect in effects) == was_busy
    if was_busy:
        told.prepared() if state is State.PREPARING else told.computed()
    assert told.worker.state is State.IDLE
    told.number = 2 << 32
    told.lease()
    assert told.worker.state is State.GATHERING
    assert not said(told.effects, m.Push) or state is State.SETTLING


def test_an_outcome_that_comes_while_joining_again_goes_nowhere() -> None:
    told = Told().until(State.COMPUTING)
    told.tell(m.Rejoin())
    assert told.computed() == []
    assert said(told.welcome(term=2), m.Ready) == [m.Ready(-1)]


def test_a_master_of_a_term_that_comes_again_may_lease_from_a_lower_number_on() -> None:
    """A master that dies before it has saved anything leaves its term to the next one."""
    told = Told().until(State.SETTLING)
    told.tell(m.Rejoin())
    told.welcome()
    told.number -= 1
    told.lease()
    assert told.worker.state is not State.IDLE


def test_an_alive_of_a_later_term_than_the_welcome_means_join_again() -> None:
    told = Told().until(State.COMPUTING)
    assert told.tell(m.Alive(1, 0.5)) == []
    assert said(told.tell(m.Alive(2, 0.5)), m.Join)


def test_it_beats_as_often_as_the_master_has_told_last() -> None:
    told = Told().until(State.COMPUTING)
    told.wait(0.7)
    told.tell(m.Alive(1, 4.0))
    assert asked_at(told, m.Heartbeat, 9.0) == [4.0, 8.0]
    assert not any("nothing heard" in note.text for note in told.all(Note))
    told.tell(m.Alive(1, 0.5))
    assert asked_at(told, m.Heartbeat, 2.0) == [0.5, 1.0, 1.5, 2.0]


def test_another_job_is_prepared_even_if_the_worker_was_busy_with_the_old_one() -> None:
    other = counting_case(Plan(shards=3, batch_size=2), 4, 20)
    told = Told().until(State.COMPUTING)
    told.tell(m.Rejoin())
    told.welcome(run="other", job=other.description.to_plain())
    effects = told.computed()
    assert [effect.job.digest for effect in effects if isinstance(effect, Prepare)] == [
        other.description.digest
    ]
    assert told.worker.state is State.PREPARING


def test_a_master_that_cuts_otherwise_is_understood() -> None:
    told = Told().until(State.IDLE)
    told.tell(m.Rejoin())
    told.welcome(term=2, chunk_bytes=128)
    told.number = 2 << 32
    told.lease()
    part = bytes(told.vector[:128])
    assert "dropped" not in notes(told.tell(m.Weights(0, 0, checksum(part)), part))


def test_weights_of_a_version_are_not_kept_across_masters() -> None:
    told = Told().until(State.SETTLING)
    told.tell(m.Rejoin())
    assert said(told.welcome(term=2), m.Ready) == [m.Ready(-1)]


def test_what_a_worker_would_say_is_no_masters_to_send() -> None:
    told = Told().until(State.IDLE)
    assert "not a master's to send" in notes(told.tell(m.Ready(0)))


def test_an_alive_before_the_welcome_does_not_make_it_beat() -> None:
    told = Told()
    told.tell(m.Alive(1, 0.5))
    assert told.worker.next_deadline() > told.now


def test_a_unit_that_needs_more_than_this_machine_has_is_a_failure_of_the_unit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = Told().until(State.IDLE)

    def empty(*given: Any) -> None:
        raise MemoryError("no room")

    with monkeypatch.context() as patched:
        patched.setattr(np, "empty", empty)
        told.lease()
    (failed,) = said(told.effects, m.Failed)
    assert "MemoryError: what the unit needs is more than this machine has: no room" in failed.error
    assert told.worker.state is State.SETTLING


def test_a_grant_of_more_than_the_window_is_dropped() -> None:
    told = Told().until(State.SETTLING)
    effects = told.tell(m.Grant(told.number, (0, 1, 2)))
    assert not said(effects, m.Chunk)
    assert "3 chunks are granted, over the window of 2" in notes(effects)
    assert len(said(told.tell(m.Grant(told.number, (2,))), m.Chunk)) == 1
