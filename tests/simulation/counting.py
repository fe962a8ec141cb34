"""A replica that counts: its weights are how often each sample has been trained on.

Sample i of the data holds the number i. A unit on n of the round's N samples adds N / n to the weight of
each sample it goes through, so that the mean, weighted by n, adds exactly one. It counts the samples that
really came over the wire.
"""

from typing import Any

import numpy as np

from paramserver.simulation.slots import Slots
from ps_common import data
from ps_common.arrays import HostArray
from ps_common.job import Description
from ps_common.layout import Entry, Layout
from ps_common.memory import Heap, Memory
from ps_common.shards import shuffled
from ps_worker.effects import Contribution
from ps_worker.rows import ShardRows

ROUNDING = 1e-6  # of a count in float64: a few units in the last place a round


class CountingReplica(Slots):
    """Counts the samples it is given; same interface as a replica."""

    def __init__(self, job: Description, memory: Memory | None = None) -> None:
        self.job = job
        super().__init__(Layout([Entry("counts", (job.train.samples,), "float64")]), memory or Heap())

    def initialise(self) -> Contribution:
        self.vector[...] = 0
        return self._contribution(0, {}, self.layout.to_plain())

    def train(self, base: HostArray | None, rows: ShardRows, round_: int, shard: int) -> Contribution:
        schedule = self.job.schedule
        positions = schedule.positions(round_, shard)
        order = shuffled(self.job.seed, schedule.epoch(round_), shard, schedule.shards.size(shard))
        x, _ = rows.take(order[positions.start : positions.stop])
        total = sum(schedule.samples(round_, s) for s in schedule.units(round_))
        if base is not None:
            self.vector[...] = base
        counts = self.vector.view(np.float64)
        np.add.at(counts, x[:, 0].astype(np.int64), total / len(positions))
        return self._contribution(len(positions), {"loss": [1.0, float(len(positions))]})

    def _contribution(self, samples: int, sums: dict[str, list[float]], layout: Any = None) -> Contribution:
        descriptor = self._memory.descriptor(self.vector)
        return Contribution(samples, sums, 0.0, self.vector, layout, descriptor)

    def evaluate(self, base: HostArray | None, rows: ShardRows, shard: int) -> Contribution:
        if base is not None:
            self.vector[...] = base
        return Contribution(rows.size, {"loss": [1.0, float(rows.size)]}, 0.0)


def numbered(samples: int) -> data.Source:
    """Sample i is the number i."""
    return data.arrays(np.arange(samples, dtype=np.float64)[:, None], np.zeros(samples, np.int64))


def check_counts(counts: HostArray, epochs: int) -> None:
    """Every sample of every epoch is in the weights exactly once."""
    wrong = np.flatnonzero(~(np.abs(counts - epochs) <= ROUNDING))  # NaN is wrong, too
    assert not len(wrong), f"samples {wrong} were counted {counts[wrong]} times in {epochs} epochs"
