"""The master machine: leases, twins, zombies and the stuck."""

import copy

import numpy as np
import pytest

from paramserver.effects import Send
from ps_common import messages as m
from ps_common.plan import Plan
from simulation.bench import Bench, Hand
from simulation.counting import check_counts
from simulation.jobs import counting_case


def started(**settings: object) -> tuple[Bench, Hand, Hand]:
    """Two workers, each with a unit of the first round in hand."""
    bench = Bench(workers_at_start=2, **settings)
    first, second = bench.hand("w1"), bench.hand("w2")
    assert first.lease.kind == "initialise"
    first.settle()
    return bench, first, second


def state_of(bench: Bench) -> tuple[object, ...]:
    """Everything of the master that decides what happens next, but who was heard when and what was noted."""
    master = bench.master
    stage, round_ = master.leasing.stage, master.exchange.round
    members = [
        (one.name, one.is_ready, one.lease, one.settled, one.version, one.units) for one in master.members
    ]
    leases = (
        [(one.number, one.unit, one.sender, one.is_announced, one.sums) for one in stage.leases]
        if stage
        else None
    )
    in_round = (
        [
            round_._missing,
            round_._granted,
            round_.held_bytes,
            round_._left,
            [mean.added for mean in round_._means],
        ]
        if round_
        else None
    )
    vector = master.canonical.vector
    bits = None if vector is None else bytes(vector)
    return copy.deepcopy(
        (
            members,
            leases,
            stage and stage.open_shards,
            stage and stage.sums,
            in_round,
            bits,
            vars(master.progress),
        )
    )


def test_a_run_of_two_workers_counts_every_sample_once() -> None:
    bench, first, second = started()
    while bench.master.progress.version < bench.case.description.schedule.rounds:
        first.settle()
        second.settle()
    check_counts(bench.counts, 1)
    assert first.heard(m.Stop) == second.heard(m.Stop) == [m.Stop(0, "finished")]
    assert bench.finished is None
    first.say(m.Leave("finished"))
    second.say(m.Leave("finished"))
    assert bench.finished is not None
    assert bench.finished.exit_code == 0
    assert bench.master.next_deadline() == float("inf")


def test_a_late_twin_after_a_revocation_changes_nothing() -> None:
    bench, first, second = started(lease_timeout_s=1.0)
    late = first.lease
    second.settle()
    for _ in range(4):  # both live, only the second is idle, and the first gets nowhere
        bench.wait(0.5)
        first.say(m.Heartbeat(late.lease, 0))
        second.say(m.Ready(0))
    assert [note.event for note in bench.notes("release")] == ["release"]
    assert second.lease.shard == late.shard
    before = state_of(bench)
    assert first.say(first.push(late)) == [m.Accepted(late.lease, False, "the lease has ended")]
    assert first.say(*first.chunk(late, 0)) == []
    assert state_of(bench) == before
    second.settle()
    assert bench.master.progress.version == 1
    assert bench.counts.sum() == 10


def test_a_zombie_with_a_lease_of_a_master_before_is_fenced() -> None:
    bench, first, _ = started()
    old = first.lease
    again = Bench(bench.case, snapshot=bench.saves[-1], workers_at_start=2)
    zombie, other = Hand(again, "w1"), Hand(again, "w2")
    for hand in (zombie, other):
        for message in (hand.push(old), m.Heartbeat(old.lease, 3), m.Ready(0), m.Pull(0, (0,))):
            assert hand.say(message) == [m.Rejoin()]
        hand.say(hand.join)
        hand.say(m.Ready(0))
    assert again.master.term == bench.master.term + 1
    assert zombie.lease.lease > old.lease
    before = state_of(again)
    assert zombie.say(zombie.push(old)) == [m.Accepted(old.lease, False, "the lease has ended")]
    assert zombie.say(m.Heartbeat(old.lease, 9))[0] == m.Accepted(old.lease, False, "the lease has ended")
    assert zombie.say(*zombie.chunk(old, 0)) == []
    assert state_of(again) == before


def test_a_term_grows_with_every_start_even_if_no_round_was_closed_meanwhile() -> None:
    bench, first, _ = started()
    snapshot, numbers = bench.saves[-1], [first.lease.lease]
    for term in (2, 3, 4):
        again = Bench(bench.case, snapshot=snapshot)
        hand = again.hand("w1")
        assert again.master.term == term
        numbers.append(hand.lease.lease)
        snapshot = again.saves[0]  # saved before anything else
        assert (snapshot.term, snapshot.version) == (term, 0)
    assert numbers == sorted(set(numbers))


def test_lease_numbers_differ_between_runs_of_the_same_term() -> None:
    def first_number(run: str) -> int:
        bench = Bench()
        bench.master = type(bench.master)(bench.case.description, bench.settings, run, bench.now)
        return bench.hand("w1").lease.lease

    assert first_number("one") != first_number("other")


def test_a_push_and_chunks_that_come_again_count_once() -> None:
    bench, first, second = started()
    lease = first.lease
    for _ in range(3):
        first.say(first.push(lease))
    for _ in range(3):
        for index in range(bench.master.canonical.chunks):
            first.say(*first.chunk(lease, index))
    assert [member.units for member in bench.master.members] == [2, 0]
    assert not bench.notes("rejection")
    second.settle()
    assert bench.counts.sum() == 10


def test_what_was_granted_and_got_lost_is_granted_again() -> None:
    bench, first, _ = started()
    lease = first.lease
    assert lease.grant == 2
    assert first.say(first.push(lease)) == []  # two chunks come unasked
    for _ in range(2):
        assert first.say(first.push(lease)) == [m.Grant(lease.lease, (0, 1), is_last=True)]
    first.say(*first.chunk(lease, 1))
    assert first.say(first.push(lease)) == [m.Grant(lease.lease, (0, 2), is_last=True)]
    assert not bench.notes("rejection")


def test_a_lease_that_got_lost_is_sent_again() -> None:
    _, first, _ = started()
    lease = first.lease
    assert first.say(m.Ready(-1))[0] == lease
    assert first.say(m.Ready(-1))[0] == lease


def test_a_ready_that_comes_late_leases_nothing_twice() -> None:
    bench, first, second = started()
    leases = [first.lease, second.lease]
    for _ in range(3):
        first.say(m.Ready(-1))
    assert [first.lease, second.lease] == leases
    assert bench.master.leasing.units_in_hand == 2


def test_an_accepted_that_got_lost_is_said_again() -> None:
    bench, first, _ = started()
    lease = first.lease
    assert first.settle() == [m.Accepted(lease.lease, True, "")]
    assert first.say(first.push(lease)) == [m.Accepted(lease.lease, True, "")]
    assert first.say(m.Heartbeat(lease.lease, 1))[0] == m.Accepted(lease.lease, True, "")
    assert bench.master.leasing.units_in_hand == 1


def test_being_alive_does_not_keep_a_lease_but_progress_does() -> None:
    bench, first, second = started(lease_timeout_s=2.0)
    second.settle()
    for step in range(20):
        bench.wait(0.5)
        first.say(m.Heartbeat(first.lease.lease, step))
        second.say(m.Ready(0))
    assert not bench.notes("release")
    for _ in range(6):
        bench.wait(0.5)
        first.say(m.Heartbeat(first.lease.lease, 19))
        second.say(m.Ready(0))
    assert len(bench.notes("release")) == 1


def test_a_push_that_is_said_again_is_no_progress() -> None:
    bench, first, second = started(lease_timeout_s=2.0, held_bytes=64)
    second.settle()
    for _ in range(8):
        bench.wait(0.5)
        first.say(first.push(first.lease))  # and no chunk ever comes
        second.say(m.Ready(0))
    assert len(bench.notes("release")) == 1


def test_who_is_stuck_is_relieved_only_if_somebody_idle_is_there() -> None:
    bench, first, second = started(lease_timeout_s=1.0)
    for _ in range(10):
        bench.wait(0.5)
        first.say(m.Heartbeat(first.lease.lease, 0))
        second.say(m.Heartbeat(second.lease.lease, 0))
    assert not bench.notes("release")
    third = bench.hand("w3")
    bench.wait(0.5)
    assert len(bench.notes("release")) == 1
    assert third.lease.shard == first.lease.shard


def test_a_dead_workers_unit_is_leased_again() -> None:
    bench, first, second = started()
    second.settle()
    lost = first.lease
    for _ in range(6):
        bench.wait(0.5)
        second.say(m.Ready(0))
    assert "w1 is lost: not heard of for 2.2" in bench.notes("loss")[0].text
    assert second.lease.shard == lost.shard
    second.settle()
    assert bench.master.progress.version == 1


def test_what_a_dead_worker_had_delivered_stays_and_its_twin_sends_the_rest() -> None:
    bench, first, second = started()
    second.settle()
    first.say(first.push(first.lease))
    first.say(*first.chunk(first.lease, 0))
    first.say(m.Leave("killed"))
    second.say(m.Ready(0))
    sent = len(second.heard(m.Grant))
    second.settle()
    granted = [i for grant in second.heard(m.Grant)[sent:] for i in grant.chunks]
    assert 0 not in granted
    assert bench.master.progress.version == 1
    assert bench.counts.sum() == 10


def test_with_a_full_budget_nobody_waits_for_a_unit_that_nobody_has() -> None:
    """The worker of the unit that is summed first dies; all others hold what must come after it."""
    bench = Bench(
        counting_case(Plan(shards=4, batch_size=5), 3, 20), held_bytes=64, workers_at_start=2, window=8
    )
    first, second = bench.hand("w1"), bench.hand("w2")
    first.settle()
    assert (first.lease.shard, second.lease.shard) == (0, 1)
    second.settle()  # held: shard 0 is summed before it
    blocked = second.lease
    assert blocked.shard == 2
    assert second.say(second.push(blocked)) == []
    answers = [m for m in second.of(bench.say(first.sender, _leave())) if isinstance(m, type(blocked))]
    assert [lease.shard for lease in answers] == [0]
    while bench.master.progress.version < 1:
        second.settle()
    check_counts(bench.counts, 1)
    assert "makes way" in bench.notes("release")[-1].text


def test_who_waits_for_its_turn_is_not_stuck() -> None:
    bench = Bench(
        counting_case(Plan(shards=3, batch_size=5), 3, 15),
        held_bytes=64,
        workers_at_start=3,
        lease_timeout_s=2.0,
    )
    first, second, third = (bench.hand(f"w{i}") for i in (1, 2, 3))
    first.settle()
    second.settle()  # held, and fills the budget
    third.say(third.push(third.lease))  # blocked
    for step in range(1, 9):
        bench.wait(0.5)
        first.say(m.Heartbeat(first.lease.lease, step))  # slow, but it gets on
        second.say(m.Ready(0))
        third.say(third.push(third.lease))
    first.settle()
    bench.wait(0.5)
    assert not bench.notes("release")
    third.say(third.push(third.lease))
    for index in range(bench.master.canonical.chunks):
        third.say(*third.chunk(third.lease, index))
    assert bench.master.progress.version == 1


def test_a_unit_that_all_wait_for_is_taken_from_who_is_stuck_with_it() -> None:
    bench = Bench(
        counting_case(Plan(shards=3, batch_size=5), 3, 15),
        held_bytes=64,
        workers_at_start=2,
        lease_timeout_s=2.0,
    )
    first, second = bench.hand("w1"), bench.hand("w2")
    first.settle()
    second.settle()
    assert second.lease.shard == 2
    for _ in range(8):  # nobody is idle: the second is blocked, and the first gets nowhere
        bench.wait(0.5)
        first.say(m.Heartbeat(first.lease.lease, 0))
        if second.lease.shard == 2:
            second.say(second.push(second.lease))
    assert second.lease.shard == 0
    second.settle()


def test_a_worker_alone_takes_units_in_order_when_there_is_no_room() -> None:
    """Data it holds comes first, unless what comes of it could not be held."""
    bench = Bench(
        counting_case(Plan(shards=4, batch_size=5, epochs=2), 3, 20), held_bytes=64, workers_at_start=2
    )
    first, second = bench.hand("w1"), bench.hand("w2")
    first.settle()
    second.settle()  # shard 1
    first.settle()  # shard 0
    while bench.master.progress.version < 1:
        for hand in (first, second):
            if bench.master.leasing.of(bench.master.members.get(hand.sender)) is not None:
                hand.settle()
    first.say(_leave())
    while bench.master.progress.version < 2:
        second.settle()
    assert not [note for note in bench.notes("release") if "makes way" in note.text]
    check_counts(bench.counts, 2)


def _leave() -> m.Leave:
    return m.Leave("gone")


@pytest.mark.parametrize("grant_of", [64, 2**20])
def test_pulls_answer_only_the_version_that_is(grant_of: int) -> None:
    bench, first, _ = started(held_bytes=grant_of)
    effects = bench.say(first.sender, m.Pull(0, (0, 2)))
    weights = [e for e in effects if isinstance(e, Send)]
    assert [e.message.index for e in weights if isinstance(e.message, m.Weights)] == [0, 2]
    assert np.concatenate([e.payloads[0] for e in weights]).nbytes == 64 + 32
    assert first.say(m.Pull(7, (0,)))[0] == first.lease


@pytest.mark.parametrize("asks", [lambda many: m.Pull(0, many), lambda many: m.Fetch("train", 0, many)])
def test_a_request_for_more_pieces_than_any_worker_asks_for_at_once_is_refused(asks) -> None:
    bench, first, _ = started()
    most = bench.master.settings.pull_window
    effects = bench.say(first.sender, asks(tuple(range(most + 1))))
    assert not [e for e in effects if isinstance(e, Send) and isinstance(e.message, m.Weights)]
    assert "at most 64 pieces at once, not for 65" in bench.notes("rejection")[-1].text


def test_the_more_members_there_are_the_more_seldom_each_is_to_beat() -> None:
    bench = Bench(workers_min=5000)
    first = bench.hand("first")
    assert first.heard(m.Welcome)[-1].heartbeat_interval_s == 0.5
    assert first.say(m.Heartbeat(0, 0)) == [m.Alive(1, 0.5)]
    for number in range(3999):
        last = bench.hand(f"w{number}")
    assert last.heard(m.Welcome)[-1].heartbeat_interval_s == 2.0
    assert first.say(m.Heartbeat(0, 0)) == [m.Alive(1, 2.0)]
    bench.wait(7.5)
    assert {first.sender, last.sender} <= {member.sender for member in bench.master.members}
    bench.wait(1.0)
    assert len(bench.master.members) == 0
