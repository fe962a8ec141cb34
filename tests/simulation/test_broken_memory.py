"""Broken: weights are read that are not yet whole, or no more what they were."""

import pytest

from paramserver.exchange import Exchange
from paramserver.members import Member
from ps_worker.stock import Stock
from simulation.broken import real_case, run


def test_computing_on_half_a_pull_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def half(self: Stock) -> bool:
        return all(part.left <= 1 for part in self._weights) and self._rows.is_complete

    monkeypatch.setattr(Stock, "is_complete", property(half))
    with pytest.raises(AssertionError, match="is not version"):
        run(real_case())


@pytest.mark.parametrize("servers", [1, 2])
def test_giving_lent_memory_back_before_it_is_summed_is_seen(
    monkeypatch: pytest.MonkeyPatch, servers: int
) -> None:
    def has_free_slot(exchange: Exchange, member: Member) -> bool:
        member.lent.clear()
        return True

    run(real_case(), is_shared=True, servers=servers)
    for module in ("lending", "work"):
        monkeypatch.setattr(f"paramserver.{module}.has_free_slot", has_free_slot)
    with pytest.raises(AssertionError, match=r"not the oracle's|other bits|another digest"):
        run(real_case(), is_shared=True, servers=servers)
