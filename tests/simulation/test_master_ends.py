"""The master machine: failing units, waiting, stopping, refusing."""

import dataclasses
import math

import pytest

from paramserver.effects import Finished
from ps_common import messages as m
from ps_common.errors import PeerError
from ps_common.layout import Entry, Layout
from ps_common.plan import Plan
from ps_common.wire import checksum
from simulation.bench import Bench, Hand
from simulation.counting import check_counts
from simulation.jobs import counting_case
from simulation.test_master_leases import started, state_of

GOODBYE = m.Leave("bye")


def failed(lease: m.Lease, text: str = "ValueError: of the user", code: int = 1) -> m.Failed:
    return m.Failed(lease.lease, text, f"Traceback\n  {text}\n", "/var/log/w", code)


# -- a unit that fails ------------------------------------------------------------------------------------


def test_a_unit_that_always_fails_ends_the_run_after_three_different_workers() -> None:
    bench = Bench(counting_case(Plan(shards=1), 3, 8), workers_at_start=4)
    hands = [bench.hand(f"w{i}") for i in range(4)]
    hands[0].settle()
    tried = []
    while not bench.notes("report"):
        (holder,) = (hand for hand in hands if bench.master.members.get(hand.sender).lease)
        tried.append(holder.sender)
        assert holder.say(failed(holder.lease, code=3))[0] == m.Accepted(
            holder.lease.lease, False, "the failure is noted"
        )
        holder.say(m.Ready(0))
    assert len(tried) == len(set(tried)) == bench.settings.attempts_max
    report = bench.notes("report")[0].text
    for part in (
        "train round 0 shard 0",
        "ValueError: of the user",
        "Traceback",
        "/var/log/w",
        "exit code: 3",
    ):
        assert part in report
    assert hands[0].heard(m.Stop) == [m.Stop(3, "train round 0 shard 0 failed: ValueError: of the user")]


def test_a_unit_that_fails_on_one_worker_is_done_by_another_even_if_the_first_holds_its_data() -> None:
    bench, first, second = started()
    bad = first.lease
    second.settle()
    first.say(failed(bad))
    first.say(m.Ready(0))
    second.say(m.Ready(0))
    assert (second.lease.round, second.lease.shard) == (bad.round, bad.shard)
    second.settle()
    assert bench.master.progress.version == 1
    assert not bench.notes("report")


def test_who_has_failed_waits_for_those_who_have_not() -> None:
    bench, first, second = started()
    bad = first.lease
    first.say(failed(bad))
    for _ in range(3):
        first.say(m.Ready(0))
    assert first.lease == bad  # the second is at work, and has not tried it yet
    second.settle()
    assert second.lease.shard == bad.shard
    assert len(bench.notes("failure")) == 1


def test_a_worker_alone_does_not_try_in_vain() -> None:
    bench = Bench()
    hand = bench.hand("w1")
    hand.say(failed(hand.lease))
    assert hand.heard(m.Stop)[0].exit_code == 1
    assert len(bench.notes("failure")) == 1


def test_a_failure_that_is_said_again_counts_once() -> None:
    bench, first, _ = started()
    lease = first.lease
    for _ in range(5):
        first.say(failed(lease))
    assert len(bench.notes("failure")) == 1
    assert not bench.notes("report")


def test_a_contribution_that_can_never_be_accepted_fails_its_unit() -> None:
    """Or its worker would offer it again and again, and nobody would ever come forward."""
    bench, first, second = started()
    bad = first.lease
    answers = first.say(first.push(bad, sums={"loss": [float("nan"), 1.0]}))
    assert isinstance(answers[0], m.Accepted)
    assert not answers[0].counted
    assert "not 2 finite numbers" in answers[0].reason
    second.settle()
    assert second.lease.shard == bad.shard
    second.settle()
    assert bench.master.progress.version == 1


def test_a_layout_that_is_no_layout_ends_with_the_worker_that_proposed_it() -> None:
    bench = Bench(workers_at_start=2)
    first, second = bench.hand("w1"), bench.hand("w2")
    answers = first.say(first.push(first.lease, layout=[["w", [-1], "float32", "weight"]]))
    assert isinstance(answers[0], m.Accepted)
    assert not answers[0].counted
    assert bench.master.canonical.layout is None
    second.settle()
    assert bench.master.progress.version == 0


def test_a_layout_whose_worker_dies_is_forgotten_with_it() -> None:
    bench = Bench(workers_at_start=2)
    first, second = bench.hand("w1"), bench.hand("w2")
    foreign = Layout([Entry("other", (3, 3), "float32")])
    first.say(first.push(first.lease, layout=foreign.to_plain()))
    assert bench.master.canonical.layout == foreign
    first.say(GOODBYE)
    assert bench.master.canonical.layout is None
    second.settle()
    assert bench.master.canonical.layout == bench.replica.layout
    assert bench.master.progress.version == 0


def test_a_foreign_layout_that_was_filled_ends_the_run_with_76_and_says_why() -> None:
    bench = Bench(workers_at_start=2)
    first, second = bench.hand("w1"), bench.hand("w2")
    part = bytes(36)
    first.say(first.push(first.lease, layout=Layout([Entry("other", (3, 3), "float32")]).to_plain()))
    first.say(m.Chunk(first.lease.lease, 0, checksum(part)), part)
    for hand in (first, second):  # as a worker answers a lease with another layout's digest
        assert hand.lease.layout_digest != bench.replica.layout.digest
        hand.say(failed(hand.lease, "LayoutMismatch: the master's layout is not this job's", 76))
        hand.say(m.Ready(-1))
    first.say(failed(first.lease, "LayoutMismatch: the master's layout is not this job's", 76))
    (stop,) = set(first.heard(m.Stop))
    assert stop.exit_code == 76
    assert "LayoutMismatch" in bench.notes("report")[0].text


def test_a_layout_larger_than_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(workers_at_start=2)
    first, _ = bench.hand("w1"), bench.hand("w2")

    def no_memory(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(bench.master.canonical, "take_vector", no_memory)
    first.say(first.push(first.lease))
    assert "more than this machine has" in bench.notes("rejection")[0].text
    assert bench.master.canonical.layout is None


# -- stopping ---------------------------------------------------------------------------------------------


def test_stop_lets_the_units_in_hand_come_in_then_saves_and_everyone_leaves_with_0() -> None:
    bench, first, second = started(checkpoint_every_rounds=None, checkpoint_every_s=1000.0)
    bench.stop()
    assert "waiting for 2 units in hand" in bench.notes("stop")[0].text
    assert not bench.saves
    first.settle()
    assert not first.heard(m.Stop)
    second.settle()  # the round is closed, and saved
    assert bench.master.progress.version == 1
    assert [snapshot.version for snapshot in bench.saves] == [1]
    for hand in (first, second):
        assert hand.heard(m.Stop) == [m.Stop(0, "asked to stop")]
        hand.say(GOODBYE)
    assert bench.finished is not None
    assert (bench.finished.exit_code, bench.finished.reason) == (0, "asked to stop")


def test_after_stop_nothing_is_leased() -> None:
    bench, first, second = started()
    bench.stop()
    first.settle()
    first.say(m.Ready(0))
    third = bench.hand("w3")
    assert not third.heard(m.Lease)
    assert len(first.heard(m.Lease)) == 2
    assert second.lease


def test_stop_with_a_worker_that_never_comes_forward_ends_at_the_deadline() -> None:
    bench, first, second = started(shutdown_timeout_s=10.0)
    began = bench.now
    bench.stop()
    while bench.finished is None:
        bench.wait(0.5)
        for hand in (first, second):
            hand.say(m.Heartbeat(hand.lease.lease, 0))
        assert bench.now - began < 11.0
    assert bench.finished.exit_code == 0
    assert bench.now - began >= 10.0


def test_stop_with_a_worker_that_is_silent_ends_when_it_counts_as_lost() -> None:
    bench, first, second = started()
    bench.stop()
    second.say(GOODBYE)
    bench.wait(2.5)
    assert bench.finished is not None
    assert not first.heard(m.Leave)


def test_stop_does_not_wait_for_units_that_cannot_come_in() -> None:
    bench = Bench(counting_case(Plan(shards=4, batch_size=5), 3, 20), held_bytes=64, workers_at_start=2)
    first, second = bench.hand("w1"), bench.hand("w2")
    first.settle()
    second.settle()
    second.say(second.push(second.lease))  # blocked: shard 0 is summed before it
    bench.stop()
    first.say(GOODBYE)
    bench.wait(0.5)
    assert second.heard(m.Stop) == [m.Stop(0, "asked to stop")]


def test_stop_with_nobody_here_ends_at_once() -> None:
    bench = Bench()
    bench.stop()
    assert bench.finished is not None
    assert bench.finished.exit_code == 0


def test_stop_asked_for_twice_is_asked_for_once() -> None:
    bench, _, _ = started()
    bench.stop()
    assert bench.stop() == []


def test_whoever_says_anything_after_the_end_is_sent_home() -> None:
    bench, first, second = started()
    bench.stop()
    first.say(GOODBYE)
    second.settle()
    stop = m.Stop(0, "asked to stop")
    for message in (m.Ready(0), m.Heartbeat(0, 0), m.Pull(0, (0,)), second.join, second.push(second.lease)):
        assert second.say(message) == [stop]
    stranger = Hand(bench, "w9")
    assert stranger.say(stranger.join) == [stop]


def test_nobody_is_sent_home_before_the_last_checkpoint_is_safe() -> None:
    """Or a master killed in between would come back to a run that is not over, and to no workers."""
    bench, first, second = started()
    bench.is_disk_slow = True
    bench.stop()
    for hand in (first, second):
        hand.settle()
    assert bench.saves[-1].version == bench.master.progress.version
    assert not first.heard(m.Stop)
    assert first.say(m.Heartbeat(0, 0)) == [m.Alive(1, bench.settings.heartbeat_interval_s)], "it waits"
    assert first.say(m.Ready(0)) == []
    bench.take(bench.master.saved(bench.now))
    assert first.heard(m.Stop)
    assert second.heard(m.Stop)


def test_a_disk_that_does_not_answer_does_not_keep_the_run_from_ending() -> None:
    bench, first, _ = started(shutdown_timeout_s=8.0, liveness_timeout_s=100.0)
    bench.is_disk_slow = True
    bench.stop()
    bench.wait(7.0)
    assert first.heard(m.Stop)
    assert "the last checkpoint takes too long" in bench.notes("checkpoint")[-1].text


def test_a_master_started_again_at_the_end_tells_those_who_are_still_there() -> None:
    bench, first, second = started()
    while bench.master.progress.version < 2:
        first.settle()
        second.settle()
    again = Bench(bench.case, snapshot=bench.saves[-1])
    again.wait(0.6)
    assert again.finished is None
    left_behind = Hand(again, "w1")
    assert left_behind.say(m.Heartbeat(0, 0)) == [m.Stop(0, "finished")]
    again.wait(2.0)
    assert again.finished is not None
    assert again.finished.exit_code == 0


# -- waiting ----------------------------------------------------------------------------------------------


def test_waiting_for_workers_says_how_many_are_here_and_gives_up_with_75() -> None:
    bench = Bench(workers_min=2, wait_timeout_s=5.0)
    bench.wait(0.1)
    hand = bench.hand("w1")
    for _ in range(11):
        bench.wait(0.5)
        hand.say(m.Heartbeat(0, 0))
    texts = [note.text for note in bench.notes("waiting")]
    assert texts == [f"waiting for workers: {n} of 2 workers here" for n in (0, 1)]
    assert not hand.heard(m.Lease)
    (stop,) = set(hand.heard(m.Stop))
    assert (stop.exit_code, stop.reason[:38]) == (75, "1 of 2 workers were here after 5 s; st")


def test_all_workers_gone_in_mid_run_waits_says_so_and_gives_up_with_75() -> None:
    bench, first, second = started(wait_timeout_s=5.0)
    bench.wait(0.3)
    first.say(GOODBYE)
    second.say(GOODBYE)
    bench.wait(4.5)
    assert bench.notes("waiting")[-1].text == "waiting for workers: 0 of 1 workers here"
    assert bench.finished is None
    bench.wait(1.0)
    assert bench.finished is not None
    assert bench.finished.exit_code == 75
    assert bench.saves[-1].version == 0


def test_below_the_least_number_of_workers_nothing_is_leased_until_there_are_enough_again() -> None:
    bench = Bench(workers_min=2, wait_timeout_s=5.0)
    first, second = bench.hand("w1"), bench.hand("w2")
    first.settle()
    leased = len(first.heard(m.Lease))
    second.say(GOODBYE)
    first.settle()
    bench.wait(0.3)
    assert bench.notes("waiting")[-1].text == "waiting for workers: 1 of 2 workers here"
    assert len(first.heard(m.Lease)) == leased, "the unit in hand came in, and no other was given"
    third = bench.hand("w3")
    while bench.master.progress.version < 2:
        for hand in (first, third):
            if bench.master.members.get(hand.sender).lease:
                hand.settle()
    check_counts(bench.counts, 1)


def test_below_the_least_number_for_too_long_is_75() -> None:
    bench = Bench(workers_min=2, wait_timeout_s=5.0, liveness_timeout_s=100.0)
    first, second = bench.hand("w1"), bench.hand("w2")
    first.settle()
    second.say(GOODBYE)
    bench.wait(6.0)
    (stop,) = set(first.heard(m.Stop))
    assert (stop.exit_code, stop.reason[:37]) == (75, "1 of 2 workers were here after 5 s; s")


def test_a_master_that_was_stopped_itself_does_not_take_that_for_silence_of_its_workers() -> None:
    """What they have said meanwhile may still wait to be read."""
    bench, first, _ = started(stall_timeout_s=20.0, lease_timeout_s=10.0)
    bench.wait(0.6)
    bench.now += 30.0
    bench.take(bench.master.tick(bench.now))
    bench.wait(1.0)
    assert not bench.notes("loss") + bench.notes("release")
    assert not first.heard(m.Stop)
    first.say(m.Heartbeat(first.lease.lease, 1))
    bench.wait(1.5)
    (loss,) = bench.notes("loss")
    assert "w2 is lost" in loss.text


def test_workers_that_hang_all_of_them_end_the_run_with_75_and_are_named() -> None:
    bench, first, second = started(stall_timeout_s=20.0)
    third = bench.hand("w3", is_ready=False)
    first.say(m.Heartbeat(first.lease.lease, 1))
    for _ in range(42):
        for hand in (first, second, third):
            hand.say(m.Heartbeat(hand.heard(m.Lease)[-1].lease if hand is not third else 0, 1))
        bench.wait(0.5)
    (stop,) = set(third.heard(m.Stop))
    assert stop.exit_code == 75
    for part in (
        "no progress for 20 s: ",
        "w1 (host, pid 1) has train round 0 shard 0, at step 1; ",
        "w3 (host, pid 1) has not said that it is ready",
    ):
        assert part in stop.reason


def test_one_worker_that_comes_back_in_mid_run_is_enough() -> None:
    bench, first, second = started(wait_timeout_s=5.0)
    first.say(GOODBYE)
    second.say(GOODBYE)
    bench.wait(3.0)
    third = bench.hand("w3")
    while bench.master.progress.version < 2:
        third.settle()
    check_counts(bench.counts, 1)


# -- refusing ---------------------------------------------------------------------------------------------


def test_more_than_max_workers_are_refused_with_75() -> None:
    bench = Bench(workers_max=1)
    bench.hand("w1")
    second = Hand(bench, "w2")
    (refused,) = second.say(second.join)
    assert isinstance(refused, m.Refused)
    assert (refused.exit_code, refused.reason[:28]) == (75, "the run takes at most 1 work")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"protocol": m.PROTOCOL + 1}, "the master speaks protocol"),
        ({"job_code": "f" * 64}, "the worker was given another job"),
    ],
)
def test_another_protocol_or_job_is_refused_with_76(change: dict[str, object], said: str) -> None:
    bench = Bench()
    bench.wait(0.1)
    before = state_of(bench)
    hand = Hand(bench, "w1")
    (refused,) = hand.say(dataclasses.replace(hand.join, **change))
    assert isinstance(refused, m.Refused)
    assert refused.exit_code == 76
    assert refused.reason.startswith(said)
    assert len(bench.notes("refusal")) == 1
    assert state_of(bench) == before


def bad_messages(hand: Hand) -> dict[str, tuple[m.Message, list[bytes]]]:
    """Every way in which a message of a member can be wrong."""
    lease = hand.lease
    chunk, part = hand.chunk(lease, 0)
    last = hand.bench.master.canonical.chunks
    return {
        "a master's to send": (m.Alive(1, 0.5), []),
        "there is no chunk": (m.Pull(0, (last,)), []),
        "has no data called": (m.Fetch("other", 0, (0,)), []),
        "no data called 'test'": (m.Fetch("test", 0, (0,)), []),
        "there is no train shard": (m.Fetch("train", 99, (0,)), []),
        "has a wrong checksum": (m.Chunk(chunk.lease, 0, chunk.checksum ^ 1), [part]),
        "was not asked for": (m.Chunk(chunk.lease, last, chunk.checksum), [part]),
        "bytes, not": (m.Chunk(chunk.lease, 0, checksum(part[:-8])), [part[:-8]]),
    }


WRONG = [
    "a master's to send", "there is no chunk", "has no data called", "no data called 'test'",
    "there is no train shard", "has a wrong checksum", "was not asked for", "bytes, not",
]  # fmt: skip


@pytest.mark.parametrize("reason", WRONG)
def test_a_message_that_is_wrong_is_noted_and_counted_and_changes_nothing(reason: str) -> None:
    bench, first, _ = started()
    first.say(first.push(first.lease))
    message, payloads = bad_messages(first)[reason]
    before = state_of(bench)
    (rejected,) = first.say(message, *payloads)
    assert isinstance(rejected, m.Rejected)
    assert rejected.strikes == (0 if rejected.kind == "checksum" else 1)
    expected = "not a worker's to send" if reason == "a master's to send" else reason
    assert expected in bench.notes("rejection")[-1].text
    assert bench.master.members.get(first.sender).rejections == 1
    assert state_of(bench) == before


WRONG_PUSHES = {
    "the contribution says": {"samples": 4},
    "are a dict of at most": {"sums": [1.0]},
    "lists of numbers by name": {"sums": {"loss": 1.0}},
    "of loss are not 2 finite numbers, the second at least 0": {"sums": {"loss": [1.0, -1.0]}},
    "are over 0 samples": {"sums": {"loss": [1.0, 0.0]}},
    "have no loss": {"sums": {"accuracy": [1.0, 5.0]}},
    "no metric may be called": {"sums": {"loss": [1.0, 5.0], "epoch": [1.0, 1.0]}},
}


@pytest.mark.parametrize("reason", WRONG_PUSHES)
def test_a_push_that_is_wrong_is_noted_and_counted_and_gives_its_unit_back(reason: str) -> None:
    bench, first, second = started()
    lease = first.lease
    before = bytes(bench.master.canonical.vector)
    accepted, rejected = first.say(first.push(lease, **WRONG_PUSHES[reason]))
    assert isinstance(rejected, m.Rejected)
    assert reason in rejected.reason
    assert rejected.strikes == 0, "it may be the job's fault"
    assert isinstance(accepted, m.Accepted)
    assert not accepted.counted
    assert reason in bench.notes("rejection")[-1].text
    assert bench.master.members.get(first.sender).rejections == 1
    assert bench.master.leasing.stage.open_shards == (lease.shard,)
    assert bytes(bench.master.canonical.vector) == before
    second.settle()
    assert second.lease.shard == lease.shard


# -- somebody else starts it again ------------------------------------------------------------------------


def test_a_master_that_hands_over_saves_and_leaves_its_workers_waiting() -> None:
    bench, first, second = started()
    before = len(bench.saves)
    bench.take(bench.master.hand_over(bench.now, 143, "asked to leave"))
    assert [snapshot.version for snapshot in bench.saves[before:]] == [0]
    assert bench.finished == Finished(143, "asked to leave")
    assert not first.heard(m.Stop)
    assert not second.heard(m.Stop)
    assert bench.master.next_deadline() == math.inf


def test_a_run_that_is_over_is_not_handed_over() -> None:
    bench, first, second = started()
    bench.is_disk_slow = True
    bench.stop()
    for hand in (first, second):
        hand.settle()
    assert bench.finished is None
    bench.take(bench.master.hand_over(bench.now, 143, "asked to leave"))
    assert bench.finished == Finished(0, "asked to stop")


def test_whoever_asks_a_master_that_stays_hears_how_the_run_ended() -> None:
    bench, first, second = started()
    bench.stop()
    for hand in (first, second):
        hand.settle()
        hand.say(GOODBYE)
    assert bench.finished == Finished(0, "asked to stop")
    status = bench.master.status(bench.now)
    assert (status["state"], status["reason"], status["exit_code"]) == ("over", "asked to stop", 0)
    assert bench.hand("late", is_ready=False).heard(m.Stop) == [m.Stop(0, "asked to stop")]


def test_what_is_no_message_is_noted_and_changes_nothing() -> None:
    bench, first, _ = started()
    before = state_of(bench)
    bench.take(bench.master.refuse(first.sender, PeerError("no msgpack")))
    bench.take(bench.master.refuse(b"\x01\x02", PeerError("no msgpack")))
    assert [note.fields["worker"] for note in bench.notes("rejection")] == ["w1", "unknown peer 0102"]
    assert state_of(bench) == before


def test_a_stranger_is_asked_to_join_and_its_goodbye_is_not_answered() -> None:
    bench, _, _ = started()
    stranger = Hand(bench, "w9")
    for message in (m.Ready(0), m.Heartbeat(5, 1), m.Push(5, 1, {}, None, 0.0, 0.0, 0.0)):
        assert stranger.say(message) == [m.Rejoin()]
    assert stranger.say(GOODBYE) == []
