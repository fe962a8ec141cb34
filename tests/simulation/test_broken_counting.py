"""Broken: samples count twice or not at all, or the ledger says something else than what was averaged."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from paramserver import machine
from paramserver.accounting import AccountError
from paramserver.effects import Averaged
from paramserver.machine import Master
from paramserver.members import Member
from ps_common import messages as m
from simulation.bench import Bench
from simulation.broken import count_case, kill_the_master, run
from simulation.counting import check_counts


def test_counting_a_late_twin_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def count_anyway(
        self: Master, member: Member, message: m.Chunk, payloads: Sequence[memoryview], now: float
    ) -> None:
        if self.leasing.current(member, message.lease) is None and self.exchange.round is not None:
            span = self.canonical.spans[message.index]
            span.of(self.exchange.round.out)[...] += np.frombuffer(payloads[0], span.dtype)
        else:
            Master._on_chunk(self, member, message, payloads, now)

    def late_twin() -> Bench:
        bench = Bench(workers_at_start=2, lease_timeout_s=1.0)
        first, second = bench.hand("w1"), bench.hand("w2")
        first.settle()
        late = first.lease
        second.settle()
        for _ in range(4):
            bench.wait(0.5)
            first.say(m.Heartbeat(late.lease, 0))
            second.say(m.Ready(0))
        second.say(second.push(second.lease))
        for index in (0, 1):  # of three: the round is still open
            second.say(*second.chunk(second.lease, index))
        first.say(first.push(late))
        for index in (0, 1):
            first.say(*first.chunk(late, index))
        second.settle()
        while bench.master.progress.version < 2:
            second.settle()
        return bench

    check_counts(late_twin().counts, 1)
    monkeypatch.setitem(machine._HANDLERS, m.Chunk, count_anyway)
    with pytest.raises(AssertionError, match="were counted"):
        check_counts(late_twin().counts, 1)


class LeavesOneOut(Master):
    """Closes a round as if its last shard had sent nothing new."""

    def _close_stage(self, stage: Any, now: float) -> None:
        if stage.kind == "train" and stage.version == 1 and self.canonical.vector is not None:
            span = self.canonical.spans[0]
            span.of(self.exchange.round.out)[...] = span.of(self.canonical.vector)
        super()._close_stage(stage, now)


def test_a_sample_that_is_not_counted_is_seen() -> None:
    with pytest.raises(AssertionError, match=r"not the oracle's|were counted|is not version"):
        run(count_case(), LeavesOneOut)


class KeepsSilent(Master):
    """Says nothing of the last round in its second life."""

    def _account(self, stage: Any) -> None:
        if (self.term, stage.version) != (2, 3):
            super()._account(stage)


class CreditsAnother(Master):
    """Says that another unit was averaged than the one that was."""

    def _account(self, stage: Any) -> None:
        before = len(self._outbox._effects)
        super()._account(stage)
        averaged = self._outbox._effects[before]
        assert isinstance(averaged, Averaged)
        units = (averaged.units[0], *averaged.units[:-1])
        self._outbox._effects[before] = dataclasses.replace(averaged, units=units)


def test_a_round_that_the_ledger_lacks_is_seen() -> None:
    with pytest.raises(AssertionError, match="version 4 is not in the ledger"):
        run(count_case(), KeepsSilent, kill_the_master)


def test_a_ledger_that_does_not_add_up_is_seen() -> None:
    with pytest.raises(AccountError, match="again: it was averaged in version 1"):
        run(count_case(), CreditsAnother)
