"""A replica that computes nothing: it takes the time of a unit, and contributes a vector as it is.

All idle replicas contribute one and the same vector, so thousands of them take no memory.
"""

from typing import Any

from paramserver.simulation.slots import Slots
from ps_common.arrays import HostArray
from ps_common.job import Description
from ps_common.layout import Layout
from ps_common.memory import Heap, Memory
from ps_worker.effects import Contribution
from ps_worker.rows import ShardRows


class OneVector(Heap):
    """Memory that has one vector of `nbytes` for everybody."""

    def __init__(self, nbytes: int) -> None:
        self._vector = super().allocate(nbytes)

    def allocate(self, nbytes: int) -> HostArray:
        return self._vector


class IdleReplica(Slots):
    """Same interface as a replica. memory: where its vector lies."""

    def __init__(self, job: Description, layout: Layout, memory: Memory) -> None:
        super().__init__(layout, memory)
        self._job = job

    def initialise(self) -> Contribution:
        return Contribution(0, {}, 0.0, self.vector, self.layout.to_plain())

    def train(self, base: HostArray | None, rows: ShardRows, round_: int, shard: int) -> Contribution:
        samples = self._job.schedule.samples(round_, shard)
        return Contribution(samples, _sums(samples), 0.0, self.vector)

    def evaluate(self, base: HostArray | None, rows: ShardRows, shard: int) -> Contribution:
        return Contribution(0, _sums(0), 0.0)


def _sums(samples: int) -> dict[str, Any]:
    return {"loss": [0.0, float(samples)]}
