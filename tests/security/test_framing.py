"""One worker tries to have others blamed, or the run ended: each with its control off."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from ps_common import messages as m
from ps_common import rules
from ps_common.loop_job import LoopJob
from ps_common.plan import Plan
from ps_common.wire import checksum
from security import controls
from simulation import test_own_loop
from simulation.bench import Bench, Hand
from simulation.counting import check_counts
from simulation.jobs import Case, counting_case
from simulation.test_master_leases import started

Check = Callable[[], None]
NAN = {"loss": [math.nan, 5.0]}


def busy(bench: Bench, *hands: Hand) -> list[Hand]:
    """Those who have a unit, while the run goes on."""
    if bench.master.is_over:
        return []
    return [hand for hand in hands if (one := bench.master.members.get(hand.sender)) and one.lease]


def finish(bench: Bench, *hands: Hand, epochs: int = 1) -> None:
    """They do the rest of the run, and nobody refuses anything of them."""
    while working := busy(bench, *hands):
        working[0].settle()
    assert not [one for hand in hands for one in hand.heard(m.Rejected)], "others are blamed"
    assert bench.master.is_over
    check_counts(bench.counts, epochs)


def a_part_left_for_another_to_finish() -> None:
    """Finite, far away, and not all of a contribution: who brings the rest is held to have brought it all."""
    case = counting_case(Plan(shards=6, batch_size=5), 3, 30)
    bench = Bench(case, workers_at_start=3, rejects_outliers=True)
    honest, other, bad = (bench.hand(name) for name in ("w1", "w2", "bad"))
    honest.settle()
    lease = bad.lease
    bad.say(bad.push(lease))
    part = np.full(8, 1e9).tobytes()
    bad.say(m.Chunk(lease.lease, 0, checksum(part)), part)
    bad.say(m.Leave("bye"))
    finish(bench, honest, other)


def samples_said_for_another() -> None:
    """It says 2^31 samples, brings nothing and leaves; the unit is somebody else's."""
    job = LoopJob(plan=test_own_loop.PLAN, rounds=3, seed=3).describe()
    bench = Bench(Case(job, {"train": None, "test": None}, test_own_loop.LoopReplica), workers_at_start=3)
    honest, other, bad = (bench.hand(name) for name in ("w1", "w2", "bad"))
    honest.settle()
    bad.say(bad.push(bad.lease, samples=2**31, sums={"loss": [1.0, 2.0**31]}))
    bad.say(m.Leave("bye"))
    finish(bench, honest, other, epochs=4)


def weights_that_only_one_can_train_on() -> None:
    """Others' contributions are not finite, for the weights are huge; who made them so brings their units."""
    case = counting_case(Plan(shards=3, batch_size=5), 3, 15)
    bench = Bench(case, workers_at_start=3)
    first, second, bad = (bench.hand(name) for name in ("w1", "w2", "bad"))
    first.settle()
    for hand in (first, second):
        hand.say(hand.push(hand.lease, sums=NAN))
    while bench.master.progress.version < 1:
        bad.settle()
    for hand in (first, second):
        assert bench.master.quarantine.strikes(hand.sender, bench.now) == 0, "others are blamed"


def one_key_as_many_workers() -> None:
    """Each of its processes is wrong once at the same unit, and leaves."""
    bench, first, _ = started(names_are_keys=True)
    for number in range(3):
        shard = first.lease.shard
        first.say(first.push(first.lease, sums=NAN))
        first.say(m.Leave("bye"))
        again = Hand(bench, f"again-{number}")
        again.join = first.join
        again.say(again.join)
        again.say(m.Ready(-1))
        if not again.heard(m.Lease):
            break
        assert again.lease.shard == shard
        first = again
    assert bench.master.quarantine.strikes("w1", bench.now) >= 2, "it goes on and on"


def one_key_that_fails_as_many() -> None:
    """Where a rule withstands one worker, and all others have made their part."""
    case = counting_case(Plan(shards=5, batch_size=5, rule=rules.Median(2)), 3, 25)
    bench = Bench(case, workers_min=3, workers_at_start=3, names_are_keys=True)
    *honest, bad = (bench.hand(name) for name in ("w1", "w2", "bad"))
    twin = Hand(bench, "twin")
    twin.join = bad.join
    twin.say(twin.join)
    honest[0].settle()
    while working := busy(bench, *honest):
        working[0].settle()
    twin.say(m.Ready(-1))
    for _ in range(2 * bench.settings.attempts_max):
        for hand in busy(bench, bad, twin):
            hand.say(m.Failed(hand.lease.lease, "it is broken", "", "", 1))
            hand.say(m.Ready(-1))
    assert not bench.master.is_over, "it ends the run"


def a_loss_that_adds_up_to_infinity() -> None:
    """Two of them are no number, and no checkpoint of such sums is taken for one."""
    bench, first, second = started()
    first.say(first.push(first.lease, sums={"loss": [1.7e308, 5.0]}))
    assert [one.kind for one in first.heard(m.Rejected)] == ["not-finite"], "it is taken"
    second.settle()
    finish(bench, second)


PAIRS: list[tuple[Check, Callable[[pytest.MonkeyPatch], None]]] = [
    (a_part_left_for_another_to_finish, controls.parts_stay_whoever_brought_them),
    (samples_said_for_another, controls.samples_are_as_first_said),
    (weights_that_only_one_can_train_on, controls.whoever_is_right_is_believed),
    (one_key_as_many_workers, controls.each_connection_is_somebody_else),
    (one_key_that_fails_as_many, controls.each_connection_is_somebody_else),
    (a_loss_that_adds_up_to_infinity, controls.sums_are_without_bound),
]
IDS = [check.__name__ for check, _ in PAIRS]


@pytest.mark.parametrize("check", [check for check, _ in PAIRS], ids=IDS)
def test_nobody_is_blamed_for_what_another_did(check: Check) -> None:
    check()


@pytest.mark.parametrize(("check", "control"), PAIRS, ids=IDS)
def test_without_its_control_somebody_is(
    check: Check, control: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    control(monkeypatch)
    with pytest.raises(AssertionError):
        check()
