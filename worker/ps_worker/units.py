"""What every kind of replica does with a unit: the order of its samples, and sums that must be numbers."""

import math

import numpy as np
import numpy.typing as npt

from ps_common.errors import DataError
from ps_common.job import Description
from ps_common.shards import shuffled


class Order:
    """Which samples of a shard a unit goes through, one after another."""

    def __init__(self, job: Description) -> None:
        self._job = job
        self._made = (-1, -1)  # epoch and shard of the order that was made last
        self._last: npt.NDArray[np.int64] = np.empty(0, np.int64)

    def of(self, round_: int, shard: int) -> npt.NDArray[np.int64]:
        """Numbers within the shard; an epoch's order is made once, where its units follow each other."""
        schedule = self._job.schedule
        epoch, positions = schedule.epoch(round_), schedule.positions(round_, shard)
        if self._made != (epoch, shard):
            size = schedule.shards.size(shard)
            self._made, self._last = (epoch, shard), shuffled(self._job.seed, epoch, shard, size)
        return self._last[positions.start : positions.stop]


def require_finite(sums: dict[str, list[float]], where: str) -> None:
    """Raise `DataError` for sums of the loss or a metric, numerator and denominator, that are no numbers."""
    for name, values in sums.items():
        if not all(map(math.isfinite, values)):
            raise DataError(
                f"the {name} became {values[0] / (values[-1] or 1)} in {where}; the learning rate may be "
                "too high, or the data may hold very large numbers"
            )
