"""The master machine: who was wrong, how often, and what becomes of it."""

import math

import pytest

from paramserver.effects import Cut
from paramserver.judging import CUT_AFTER_S
from paramserver.quarantine import NOTED_MAX
from ps_common import messages as m
from simulation.bench import Bench, Hand
from simulation.counting import check_counts
from simulation.test_master_leases import started

WRONG = m.Fetch("secrets", 0, (0,))
NAN = {"sums": {"loss": [math.nan, 5.0]}}


def finish(bench: Bench, *hands: Hand) -> None:
    """The rest of the run, done by these."""
    while not bench.master.is_over:
        busy = [hand for hand in hands if bench.master.members.get(hand.sender).lease]
        busy[0].settle()
    check_counts(bench.counts, 1)


def test_three_strikes_and_a_worker_is_told_dropped_and_cut_and_its_unit_is_somebody_elses() -> None:
    bench, first, second = started()
    for strikes in (1, 2):
        (rejected,) = first.say(WRONG)
        assert (rejected.kind, rejected.strikes, rejected.strikes_max) == ("message", strikes, 3)
    rejected, refused = first.say(WRONG)
    assert (rejected.strikes, refused.exit_code) == (3, 77)
    assert "quarantined after 3 strikes, the last of them: the job has no data" in refused.reason
    assert bench.master.members.get(first.sender) is None
    assert not [effect for effect in bench.effects if isinstance(effect, Cut)], "it is to hear why first"
    bench.wait(CUT_AFTER_S + 0.5)
    assert [effect for effect in bench.effects if isinstance(effect, Cut)] == [Cut(first.sender)]
    (note,) = bench.notes("quarantine")
    assert note.urgent
    assert note.fields["worker"] == "w1"
    assert bench.master.quarantine.records() == [{"kind": "message", "worker": "w1", "count": 3}]
    second.say(m.Heartbeat(second.lease.lease, 1))
    finish(bench, second)


def test_who_is_out_is_not_let_in_again() -> None:
    bench, first, second = started()
    for _ in range(3):
        first.say(WRONG)
    assert first.say(m.Ready(0)) == [m.Rejoin()]
    (refused,) = first.say(first.join)
    assert isinstance(refused, m.Refused)
    assert refused.exit_code == 77
    assert bench.master.members.get(first.sender) is None
    finish(bench, second)


def test_where_names_are_keys_it_is_the_key_that_is_out_with_all_who_have_it() -> None:
    bench = Bench(names_are_keys=True, workers_at_start=3)
    first, other = bench.hand("w1"), bench.hand("w2")
    twin = Hand(bench, "twin")
    twin.join = first.join
    twin.say(twin.join)
    twin.say(m.Ready(-1))
    for hand in (first, twin):
        hand.say(WRONG)
    assert bench.master.quarantine.strikes("w1", bench.now) == 2
    bench.effects.clear()
    first.say(WRONG)
    assert [hand.heard(m.Refused) != [] for hand in (first, twin, other)] == [True, True, False]
    again = Hand(bench, "again")
    again.join = first.join
    assert [type(answer) for answer in again.say(again.join)] == [m.Refused]
    finish(bench, other)


def test_damage_on_the_way_is_counted_and_is_no_strike() -> None:
    bench, first, second = started()
    first.say(first.push(first.lease))
    chunk, part = first.chunk(first.lease, 0)
    for _ in range(NOTED_MAX + 100):
        (rejected,) = first.say(m.Chunk(chunk.lease, 0, chunk.checksum ^ 1), part)
        assert (rejected.kind, rejected.strikes) == ("checksum", 0)
    assert len(bench.notes("rejection")) == NOTED_MAX + 1, "of many alike not every one is noted"
    assert bench.master.quarantine.records() == [{"kind": "checksum", "worker": "w1", "count": 200}]
    first.settle()
    second.settle()
    finish(bench, first, second)


@pytest.mark.parametrize("wrong", [NAN, {"samples": 4}, {"sums": 1}])
def test_a_refused_contribution_is_a_strike_when_anothers_to_its_unit_is_averaged(wrong: dict) -> None:
    bench, first, second = started(strikes_max=2)
    for round_ in (1, 2):
        mine = first.lease
        assert [a.strikes for a in first.say(first.push(mine, **wrong)) if isinstance(a, m.Rejected)] == [
            round_ - 1
        ]
        first.say(m.Ready(0))
        second.settle()
        assert second.lease.shard == mine.shard
        second.settle()
        assert bench.master.progress.version == round_
        assert bench.master.quarantine.strikes(first.sender, bench.now) == round_
        first.say(m.Ready(round_))
    assert bench.master.members.get(first.sender) is None
    assert not bench.notes("report")
    check_counts(bench.counts, 1)


def test_what_nobody_can_contribute_ends_the_run_and_is_nobodys_strike() -> None:
    bench, first, second = started()
    lease = first.lease
    first.say(first.push(lease, **NAN))
    second.settle()
    assert second.lease.shard == lease.shard
    second.say(second.push(second.lease, **NAN))
    (stop,) = second.heard(m.Stop)
    assert stop.exit_code == 1
    for part in ("of w1, w2", "training diverges", "lower the learning rate"):
        assert part in stop.reason
    assert bench.master.quarantine.strikes(first.sender, bench.now) == 0
    assert not bench.notes("quarantine")


def test_a_worker_alone_whose_contribution_is_refused_ends_the_run() -> None:
    bench = Bench()
    hand = bench.hand("w1")
    hand.settle()
    hand.say(hand.push(hand.lease, **NAN))
    assert hand.heard(m.Stop)[0].exit_code == 1
    assert "training diverges" in hand.heard(m.Stop)[0].reason


def test_a_worker_that_was_wrong_before_cannot_end_the_run_alone_and_others_are_waited_for() -> None:
    bench, first, second = started()
    first.say(first.push(first.lease, **NAN))
    first.say(m.Ready(0))
    second.settle()
    second.settle()
    second.say(m.Leave("bye"))
    for strikes in (2, 3):
        (rejected,) = [a for a in first.say(first.push(first.lease, **NAN)) if isinstance(a, m.Rejected)][1:]
        assert rejected.strikes == strikes
        first.say(m.Ready(1))
    assert bench.master.members.get(first.sender) is None
    assert not bench.notes("report")
    third = bench.hand("w3")
    finish(bench, third)


def test_one_worker_that_says_that_the_data_is_wrong_is_not_believed_before_another_says_so() -> None:
    bench, first, second = started()
    lease = first.lease
    first.say(m.Failed(lease.lease, "DataError: broken", "", "", 65))
    assert not bench.notes("report")
    second.settle()
    assert second.lease.shard == lease.shard
    second.say(m.Failed(second.lease.lease, "DataError: broken", "", "", 65))
    assert second.heard(m.Stop)[0].exit_code == 65
