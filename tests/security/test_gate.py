"""What a member sends changes nothing unless it is what its lease wants; each with its control off."""

from collections.abc import Callable
from typing import Any

import msgpack
import numpy as np
import pytest

from ps_common import messages as m
from ps_common.errors import PeerError
from ps_common.figures import SUMS_MAX
from ps_common.loop_job import LoopJob
from ps_common.wire import checksum, decode, encode
from security import controls
from simulation import test_own_loop
from simulation.bench import Bench, Hand
from simulation.cluster import through_a_file
from simulation.counting import check_counts
from simulation.jobs import Case
from simulation.test_master_leases import started, state_of

Check = Callable[[], None]
Control = Callable[[pytest.MonkeyPatch], None]


def pushing() -> tuple[Bench, Hand, Hand]:
    """Two workers with a unit each; the first has offered its contribution."""
    bench, first, second = started()
    first.say(first.push(first.lease))
    return bench, first, second


def is_refused(bench: Bench, hand: Hand, message: m.Message, *payloads: bytes, kind: str) -> None:
    """It is told what was wrong, and nothing else has changed."""
    before = state_of(bench)
    try:
        answers = hand.say(message, *payloads)
    except Exception as error:
        raise AssertionError(f"it ends the master: {error}") from error
    assert [answer.kind for answer in answers if isinstance(answer, m.Rejected)] == [kind], (
        "it is not refused"
    )
    assert state_of(bench) == before, "it has changed something"


def finish(bench: Bench, *hands: Hand, epochs: int = 1) -> None:
    """The run goes on to its end, whatever was tried; every sample counts once."""
    while not bench.master.is_over:
        busy = [hand for hand in hands if (one := bench.master.members.get(hand.sender)) and one.lease]
        assert busy, "nobody has anything to do"
        busy[0].settle()
    check_counts(bench.counts, epochs)


def one_number_for_a_whole_chunk() -> None:
    """Flower's (1,) for (3,): NumPy would repeat it over all of them."""
    bench, first, second = pushing()
    part = np.float64(1e6).tobytes()
    is_refused(bench, first, m.Chunk(first.lease.lease, 0, checksum(part)), part, kind="chunk")
    finish(bench, first, second)


def a_chunk_that_is_not_there() -> None:
    bench, first, second = pushing()
    chunk, part = first.chunk(first.lease, 0)
    for index in (bench.master.canonical.chunks, 2**31):
        is_refused(bench, first, m.Chunk(chunk.lease, index, chunk.checksum), part, kind="chunk")
        if bench.master.members.get(first.sender) is None:
            break
    finish(bench, first, second)


def a_chunk_that_comes_again_with_other_bytes() -> None:
    """Its lease is good and its checksum, too."""
    bench, first, second = pushing()
    first.say(*first.chunk(first.lease, 0))
    before = state_of(bench)
    part = np.full(8, 1e6).tobytes()
    try:
        assert first.say(m.Chunk(first.lease.lease, 0, checksum(part)), part) == []
    except ValueError as error:
        raise AssertionError("it ends the master") from error
    assert state_of(bench) == before, "it was added, too"
    finish(bench, first, second)


def a_chunk_that_was_damaged() -> None:
    bench, first, second = pushing()
    chunk, part = first.chunk(first.lease, 0)
    damaged = bytes([part[0] ^ 0x10]) + part[1:]
    is_refused(bench, first, chunk, damaged, kind="checksum")
    finish(bench, first, second)


def a_contribution_for_the_lease_of_another() -> None:
    bench, first, second = started()
    before = state_of(bench)
    stolen = first.lease.lease
    for message in (second.push(first.lease), m.Heartbeat(stolen, 99), m.Failed(stolen, "no", "", "", 1)):
        second.say(message)
    chunk, part = second.chunk(first.lease, 0)
    second.say(chunk, part)
    assert state_of(bench) == before, "it counts"
    finish(bench, first, second)


def no_samples() -> None:
    bench, first, second = started()
    weights = bytes(bench.master.canonical.vector)
    answers = first.say(first.push(first.lease, samples=0, sums={"loss": [0.0, 0.0]}))
    assert [answer.kind for answer in answers if isinstance(answer, m.Rejected)] == ["samples"]
    assert bytes(bench.master.canonical.vector) == weights
    second.settle()
    finish(bench, second, first)


def samples_that_are_no_number_of_samples() -> None:
    push = m.Push(1, 5, {"loss": [1.0, 5.0]}, None, 0.0, 0.0, 0.0)
    values = msgpack.unpackb(encode(push))
    at = 2  # after the kind and the lease
    for samples in (-1, 2**63, 1e30, float("nan"), float("inf"), "5", None, True):
        values[at] = samples
        with pytest.raises(PeerError, match="samples must be int"):
            decode([msgpack.packb(values)])


def weights_that_are_not_finite() -> None:
    for value in (np.nan, np.inf, -np.inf):
        bench, first, second = pushing()
        part = np.full(8, 1.0)
        part[3] = value
        answers = first.say(m.Chunk(first.lease.lease, 0, checksum(part.tobytes())), part.tobytes())
        kinds = [answer.kind for answer in answers if isinstance(answer, m.Rejected)]
        assert kinds == ["not-finite"], "it is averaged"
        second.settle()
        finish(bench, second, first)


def a_layout_of_what_is_no_array() -> None:
    for entry in (
        ["w", [3], ">f4", "weight"], ["w", [3], "object", "weight"], ["w", [3], "O", "weight"],
        ["w", [-3], "float32", "weight"], ["w", [2**40, 2**40], "float32", "weight"],
        ["w", [2**62], "float32", "weight"], ["w", [0, 2**62], "float32", "weight"],
        ["w", [1] * 64, "float32", "weight"], ["w", [1.5], "float32", "weight"],
        ["w", 3, "float32", "weight"], ["w", [3], "float32", "boss"], [1, 2, 3], "w", None,
    ):  # fmt: skip
        bench = Bench(workers_at_start=2)
        first, second = bench.hand("w1"), bench.hand("w2")
        try:
            answers = first.say(first.push(first.lease, layout=[entry]))
        except Exception as error:
            raise AssertionError(f"{entry} ends the master: {error}") from error
        kinds = [answer.kind for answer in answers if isinstance(answer, m.Rejected)]
        assert kinds == ["layout"], f"{entry} is taken"
        assert bench.master.canonical.layout is None
        second.settle()
        finish(bench, second, first)


class Recorder:
    """What a worker says, as frames."""

    def __init__(self, hand: Hand) -> None:
        self.frames: list[list[bytes]] = []
        say = hand.bench.say

        def keep(sender: bytes, message: m.Message, *payloads: bytes) -> Any:
            if sender == hand.sender:
                self.frames.append([encode(message), *payloads])
            return say(sender, message, *payloads)

        hand.bench.say = keep  # type: ignore[method-assign]

    def play(self, bench: Bench, sender: bytes) -> None:
        for frames in self.frames[:]:
            message, payloads = decode(frames), [memoryview(one) for one in frames[1:]]
            if not isinstance(message, m.Join | m.Leave):  # what these do is no secret
                bench.take(bench.master.handle(sender, message, payloads, bench.now))


def a_run_that_is_played_back_into_itself() -> None:
    """All that a worker has said, by itself and by another member, after every unit."""
    bench, first, second = started()
    recorder = Recorder(first)
    while not bench.master.is_over:
        busy = [hand for hand in (first, second) if bench.master.members.get(hand.sender).lease]
        busy[0].settle()
        if not bench.master.is_over:
            before = state_of(bench)
            for sender in (first.sender, second.sender):
                recorder.play(bench, sender)
            assert state_of(bench)[1:] == before[1:], "something of it counts"
    check_counts(bench.counts, 1)


def a_run_that_is_played_back_into_a_later_one() -> None:
    bench, first, second = started()
    recorder = Recorder(first)
    saved = through_a_file(bench.saves[-1])
    finish(bench, first, second)
    later = Bench(snapshot=saved, workers_at_start=2)
    hands = [later.hand(hand.sender.decode()) for hand in (first, second)]
    for hand in hands:
        hand.say(m.Ready(-1))
    while not later.master.is_over:
        before = state_of(later)
        for sender in (first.sender, second.sender, b"stranger"):
            recorder.play(later, sender)
        assert state_of(later)[1:] == before[1:], "something of it counts"
        busy = [hand for hand in hands if later.master.members.get(hand.sender).lease]
        busy[0].settle()
    check_counts(later.counts, 1)
    assert bytes(later.counts) == bytes(bench.counts)


def a_worker_that_goes_on_and_on() -> None:
    bench, first, second = started()
    for _ in range(3):
        first.say(m.Fetch("secrets", 0, (0,)))
    assert bench.master.members.get(first.sender) is None, "it is still here"
    assert isinstance(first.say(first.join)[-1], m.Refused)
    finish(bench, second)


def a_unit_that_one_worker_spoils_for_all() -> None:
    """It comes again and again as somebody else; where units are counted by attempts, the run ends."""
    bench, first, second = started()
    for number in range(bench.settings.attempts_max + 1):
        assert not bench.notes("report"), "it ends the run"
        bad = bench.hand(f"bad-{number}")
        if bench.master.members.get(first.sender).lease:
            first.say(first.push(first.lease, samples=4))
        lease = bench.master.members.get(bad.sender).lease
        if lease:
            bad.say(bad.push(bad.lease, samples=4))
        bad.say(m.Ready(0))
    assert not bench.notes("report"), "it ends the run"
    second.settle()
    while not bench.master.is_over:
        assert bench.master.members.get(second.sender).lease
        second.settle()
    check_counts(bench.counts, 1)


def named(prefix: str, samples: int) -> dict[str, list[float]]:
    """Metric sums with as many names as a contribution may have."""
    sums = {f"{prefix}{i}": [1.0, float(samples)] for i in range(SUMS_MAX - 1)}
    return {"loss": [1.0, float(samples)], **sums}


def ever_new_names_of_metrics() -> None:
    """They fill neither memory nor record."""
    bench, first, second = started()
    for round_ in range(2):
        for hand in (first, second):
            prefix = f"{hand.sender.decode()} {round_} "
            hand.say(hand.push(hand.lease, sums=named(prefix, 5)))
            hand.settle()
        kept = [
            *bench.master.progress.sums,
            *(entry for one in bench.master.progress.history for entry in one),
        ]
        assert len(kept) <= SUMS_MAX + 2, "they are all kept"  # with `epoch` and `samples`
    check_counts(bench.counts, 1)


def names_of_metrics_that_have_others_refused() -> None:
    """One worker brings as many as there may be; another brings one of its own, which is no mistake."""
    bench, first, second = started()
    first.say(first.push(first.lease, sums=named("x", 5)))
    first.settle()
    second.settle()
    sums = {"loss": [1.0, 5.0], "accuracy": [4.0, 5.0]}
    second.say(second.push(second.lease, sums=sums))
    assert not second.heard(m.Rejected), "it has the other one refused"
    finish(bench, first, second)


def more_samples_than_all_others() -> None:
    """Flower's 1e30: its weights would be the average. It is named; or refused, and others do the unit."""
    for rejects in (False, True):
        job = LoopJob(plan=test_own_loop.PLAN, rounds=3, seed=3).describe()
        case = Case(job, {"train": None, "test": None}, test_own_loop.LoopReplica)
        bench = Bench(case, workers_at_start=3, rejects_outliers=rejects)
        first, second, liar = hands = [bench.hand(name) for name in ("w1", "w2", "liar")]
        first.settle()
        for hand in (first, second):
            hand.say(hand.push(hand.lease))
        samples = {"samples": 2**31, "sums": {"loss": [1.0, 2.0**31]}}
        liar.say(liar.push(liar.lease, **samples))
        if not rejects:
            assert [note.fields["worker"] for note in bench.notes("outlier")] == ["liar"], "it is not named"
            continue
        assert [one.kind for one in liar.heard(m.Rejected)] == ["outlier"], "it is not refused"
        finish(bench, *hands, epochs=4)
        assert [one.strikes for one in liar.heard(m.Rejected)] == [0, 1], "it is no strike"
        assert not [one for hand in (first, second) for one in hand.heard(m.Rejected)], "others are refused"


PAIRS: list[tuple[Check, Control]] = [
    (one_number_for_a_whole_chunk, controls.chunks_are_taken_as_they_come),
    (a_chunk_that_is_not_there, controls.chunks_are_taken_as_they_come),
    (a_chunk_that_comes_again_with_other_bytes, controls.chunks_are_taken_as_they_come),
    (a_chunk_that_was_damaged, controls.checksums_are_not_compared),
    (a_contribution_for_the_lease_of_another, controls.leases_are_anybodys),
    (no_samples, controls.contributions_are_believed),
    (samples_that_are_no_number_of_samples, controls.numbers_are_whatever_comes),
    (weights_that_are_not_finite, controls.anything_is_finite),
    (a_layout_of_what_is_no_array, controls.anything_is_an_array),
    (a_run_that_is_played_back_into_itself, controls.every_lease_is_the_one_in_hand),
    (a_run_that_is_played_back_into_a_later_one, controls.every_lease_is_the_one_in_hand),
    (a_worker_that_goes_on_and_on, controls.strikes_are_not_counted),
    (a_unit_that_one_worker_spoils_for_all, controls.refusals_are_attempts),
    (more_samples_than_all_others, controls.any_number_of_samples_is_usual),
    (ever_new_names_of_metrics, controls.names_are_kept_without_end),
    (names_of_metrics_that_have_others_refused, controls.names_beyond_the_bound_are_refused),
]
IDS = [check.__name__ for check, _ in PAIRS]


@pytest.mark.parametrize("check", [check for check, _ in PAIRS], ids=IDS)
def test_what_a_member_sends_wrong_changes_nothing(check: Check) -> None:
    check()


@pytest.mark.parametrize(("check", "control"), PAIRS, ids=IDS)
def test_without_its_control_what_is_wrong_is_taken(
    check: Check, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    control(monkeypatch)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        check()
