"""Broken: what becomes of units that a round was closed without."""

from typing import Any

import pytest

from paramserver.accounting import AccountError
from paramserver.leases import Lease, Stage
from paramserver.leasing import Leasing
from paramserver.machine import Master
from paramserver.progress import Progress
from ps_common.job import Description
from simulation.bench import Bench
from simulation.test_quorum import finished, late, left_out, run
from simulation.test_stragglers import FAST, SLOW

PACES = [FAST, FAST, SLOW, FAST]


def test_a_unit_that_was_left_out_and_never_comes_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Progress.close

    def close(self: Progress, stage: Stage, job: Description) -> dict[str, Any] | None:
        """Takes what was left out for done."""
        if stage.left_out:
            self.done = self._done(job)
            for shard in stage.left_out:
                self.done[shard] += 1
        return honest(self, stage, job)

    assert left_out(finished(run(PACES)))
    monkeypatch.setattr(Progress, "close", close)
    with pytest.raises(AccountError, match="was not averaged"):
        finished(run(PACES))


def note_nothing(self: Leasing, lease: Lease, samples: int) -> int:
    """Instead of `Leasing.note_announced`."""
    return samples


def test_leaving_out_what_has_begun_to_come_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Part of it may be in the sum already."""

    def round_with_a_unit_half_here() -> Bench:
        bench, first, second, slow = late()
        first.say(first.push(slow))
        first.say(*first.chunk(slow, 0))
        second.settle()
        bench.wait(2.0)
        return bench

    assert round_with_a_unit_half_here().master.progress.version == 0
    monkeypatch.setattr(Leasing, "note_announced", note_nothing)
    with pytest.raises(AssertionError, match="has come, and may be summed"):
        round_with_a_unit_half_here()


class NoQuorum(Master):
    """Waits for the last unit of every round."""

    def _close_without(self, stage: Stage, now: float) -> None: ...


def test_waiting_for_the_slow_one_all_the_same_is_seen() -> None:
    """By the rounds that lack a unit: there are none."""
    assert left_out(finished(run(PACES, make_master=NoQuorum))) == []
