"""Broken: what comes is believed, as damaged as it is, as wrong as it is, or as late as it is."""

import pytest

from master import test_averager
from paramserver.averaging.chunks import Chunks
from paramserver.leases import Unit
from paramserver.servers.averager import Averager
from paramserver.simulation.network import Weather
from ps_common import messages as m
from ps_common.job import Description
from simulation import test_master_ends
from simulation.broken import NO_LEDGER, count_case, run

DAMAGING = Weather(0.001, 0.02, corrupt=0.1)


def test_taking_a_damaged_chunk_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def take(self: Chunks, shard: int, message: m.Chunk, payload: memoryview) -> None:
        """Without a look at its checksum."""
        if self.round is not None and self.round.deliver(shard, message.index, payload):
            self._send_awaited(self.round, message.index)

    run(count_case(), settings=NO_LEDGER, weather=DAMAGING)
    monkeypatch.setattr(Chunks, "take", take)
    with pytest.raises(AssertionError, match="not the oracle's"):
        run(count_case(), settings=NO_LEDGER, weather=DAMAGING)


def believe(push: m.Push, unit: Unit, job: Description) -> dict[str, list[float]]:
    """Instead of `check_push`."""
    return push.sums


@pytest.mark.parametrize("reason", test_master_ends.WRONG_PUSHES)
def test_taking_a_contribution_that_cannot_be_one_is_seen(
    monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    monkeypatch.setattr("paramserver.work.check_push", believe)
    with pytest.raises((AssertionError, ValueError)):
        test_master_ends.test_a_push_that_is_wrong_is_noted_and_counted_and_gives_its_unit_back(reason)


def test_an_averaging_server_that_serves_a_master_after_its_end_is_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a late message names may be another's by then."""

    def forget(self: Averager, sender: bytes) -> None: ...

    monkeypatch.setattr(Averager, "_gone", property(lambda self: b"", forget), raising=False)
    with pytest.raises(AssertionError):
        test_averager.test_after_the_end_a_serve_of_the_same_master_is_late_and_another_master_is_served()
