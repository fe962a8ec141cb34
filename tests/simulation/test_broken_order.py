"""Broken: who computes a unit, or when and by which way its contribution comes, makes a difference."""

import dataclasses
from typing import Any

import pytest

from paramserver.averaging.rounds import Round
from paramserver.simulation.computing import Replica
from ps_common.job import Description
from ps_common.memory import Memory
from ps_worker.effects import Contribution
from simulation.broken import count_case, kill_the_master, real_case, run


class ByArrival(Round):
    """Gives each shard the place in which it comes."""

    def deliver(self, shard: int, index: int, payload: memoryview, checksum: int | None = None) -> bool:
        came = self.__dict__.setdefault("came", {}).setdefault(index, [])
        if shard not in came and index in self._granted.get(shard, ()):
            came.append(shard)
            place = self._place
            self._place = dict(
                zip([*came, *(s for s in place if s not in came)], range(len(place)), strict=True)
            )
            try:
                return super().deliver(shard, index, payload, checksum)
            finally:
                self._place = place
        return super().deliver(shard, index, payload, checksum)


def test_summing_in_the_order_of_arrival_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paramserver.averaging.canonical.Round", ByArrival)
    with pytest.raises(AssertionError, match="not the oracle's"):
        run(real_case())


def test_a_digest_that_depends_on_the_way_that_a_contribution_came_is_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    honest = Round.deliver

    def deliver(
        self: Round, shard: int, index: int, payload: memoryview, checksum: int | None = None
    ) -> bool:
        """Takes the checksum of another chunk for that of what was sent again after the master's death."""
        return honest(self, shard, index, payload, None if checksum is None else checksum ^ id(self))

    run(count_case(), disturb=kill_the_master)
    monkeypatch.setattr(Round, "deliver", deliver)
    with pytest.raises(AssertionError, match="has another digest than before"):
        run(count_case(), disturb=kill_the_master)


def test_a_unit_that_depends_on_who_computes_it_is_seen() -> None:
    honest = real_case()

    def make_replica(job: Description, memory: Memory) -> Replica:
        """Of one that is a little otherwise with every unit that it has computed."""
        replica, units = honest.make_replica(job, memory), 0
        train = replica.train

        def train_more(*given: Any) -> Contribution:
            nonlocal units
            made, units = train(*given), units + 1
            assert made.vector is not None
            made.vector.view("float32")[0] += units
            return made

        replica.train = train_more  # type: ignore[method-assign]
        return replica

    with pytest.raises(AssertionError, match="not the oracle's"):
        run(dataclasses.replace(honest, make_replica=make_replica))
