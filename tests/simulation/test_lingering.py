"""A master that a launcher has started stays until everyone has heard that the run is over."""

from collections.abc import Callable

import pytest

from paramserver.farewell import Farewell
from ps_common import messages as m
from simulation.bench import Bench, Hand
from simulation.test_master_leases import started


def finish(bench: Bench, hand: Hand) -> None:
    """One worker does whatever is left."""
    done = 0
    while not hand.heard(m.Stop):
        hand.say(m.Ready(bench.master.progress.version))
        if len(hand.heard(m.Lease)) > done:
            done = len(hand.heard(m.Lease))
            hand.settle()


def finished_run() -> Bench:
    bench, first, second = started()
    second.say(m.Leave("bye"))
    finish(bench, first)
    return bench


def who_comes_too_late_is_told() -> None:
    """The run was over before: its master was started once more with all its workers."""
    before = finished_run()
    bench = Bench(before.case, snapshot=before.saves[-1], workers_at_start=2, linger_s=5.0)
    bench.wait(3.0)
    for name in ("w1", "w2"):
        assert bench.finished is None, "it is gone before everyone has come"
        assert Hand(bench, name).say(Hand(bench, name).join) == [m.Stop(0, "finished")]
    bench.wait(0.5)
    assert bench.finished is not None, "it stays though everyone knows"
    assert bench.finished.exit_code == 0


def who_was_silent_at_the_end_is_told() -> None:
    bench, first, second = started(linger_s=5.0)
    for _ in range(3):
        bench.wait(0.9)
        first.say(m.Heartbeat(first.lease.lease, 1))
    assert "w2 is lost" in bench.notes("loss")[0].text
    finish(bench, first)
    first.say(m.Leave("finished"))
    assert bench.finished is None, "it is gone before everyone has come"
    assert second.say(m.Heartbeat(second.lease.lease, 1)) == [m.Stop(0, "finished")]
    bench.wait(0.5)
    assert bench.finished is not None, "it stays though everyone knows"


SHOWN = [who_comes_too_late_is_told, who_was_silent_at_the_end_is_told]


@pytest.mark.parametrize("shown", SHOWN)
def test_everyone_hears_that_the_run_is_over(shown: Callable[[], None]) -> None:
    shown()


@pytest.mark.parametrize("shown", SHOWN)
def test_a_master_that_does_not_stay_is_seen(
    shown: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Farewell, "is_ended", lambda self, now: True)
    with pytest.raises(AssertionError, match="gone before everyone has come"):
        shown()


def test_nobody_is_waited_for_longer_than_said() -> None:
    before = finished_run()
    bench = Bench(before.case, snapshot=before.saves[-1], workers_at_start=2, linger_s=5.0)
    bench.wait(4.5)
    assert bench.finished is None
    bench.wait(1.0)
    assert bench.finished is not None


def test_who_asks_it_to_stop_does_not_wait_for_workers_who_never_came() -> None:
    bench = Bench(workers_at_start=2, linger_s=5.0)
    bench.hand("w1").say(m.Leave("bye"))
    bench.stop()
    bench.wait(0.5)
    assert bench.finished is not None


@pytest.mark.parametrize(("keeps", "told"), [(True, "writing round 0"), (False, "without --checkpoint")])
def test_a_checkpoint_is_written_when_somebody_wants_one(keeps: bool, told: str) -> None:
    bench, _, _ = started(keeps_ledger=keeps, checkpoint_every_rounds=100)
    saved = len(bench.saves)
    bench.take(bench.master.save(bench.now))
    assert len(bench.saves) == saved + keeps
    assert told in bench.notes("checkpoint")[-1].text


def test_before_there_are_weights_there_is_nothing_to_write() -> None:
    bench = Bench(keeps_ledger=True)
    bench.take(bench.master.save(bench.now))
    assert not bench.saves
    assert "no weights yet" in bench.notes("checkpoint")[-1].text
