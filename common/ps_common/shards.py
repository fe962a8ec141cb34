"""Which samples are in which shard, and in which order an epoch goes through them.

Shards are fixed for the run, disjoint and complete. A number of shards deals the samples out like cards
(sample i is in shard i mod n), so sizes differ by at most one and data sorted by label still gives every
shard a bit of everything. A list of sizes cuts the data in file order, for data that lie with their owners.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from ps_common.errors import DataError, UsageError
from ps_common.seeds import Purpose, generator


@dataclasses.dataclass(frozen=True)
class Shards:
    """`count` shards of `samples` samples; `sizes` where they were given."""

    samples: int
    count: int
    sizes: tuple[int, ...] | None = None

    @classmethod
    def of(cls, samples: int, shards: int | tuple[int, ...], name: str = "train") -> "Shards":
        """`shards` is a number of shards, or the size of each. Raises `DataError`, `UsageError`."""
        if isinstance(shards, int):
            if shards > samples:
                raise DataError(
                    f"{shards} shards of {samples} {name} samples: every shard needs at least one sample; "
                    f"use --shards {samples} or fewer"
                )
            return cls(samples, shards)
        if sum(shards) != samples:
            raise UsageError(
                f"the shard sizes {shards} add up to {sum(shards)}, but there are {samples} samples"
            )
        return cls(samples, len(shards), shards)

    def size(self, shard: int) -> int:
        """Number of samples of a shard."""
        if self.sizes is not None:
            return self.sizes[shard]
        return (self.samples - shard + self.count - 1) // self.count

    def rows(self, shard: int) -> slice:
        """The rows of the data set that a shard is made of, in shard order."""
        if self.sizes is not None:
            first = sum(self.sizes[:shard])
            return slice(first, first + self.sizes[shard])
        return slice(shard, self.samples, self.count)

    def row(self, shard: int, sample: int) -> int:
        """The row of the data set that is a sample of a shard."""
        rows = self.rows(shard)
        return int(rows.start) + sample * (rows.step or 1)

    def rows_between(self, shard: int, first: int, stop: int) -> slice:
        """The data set's rows of the shard's samples `first` to `stop`, as far as there are any."""
        rows = self.rows(shard)
        step = rows.step or 1
        stop = min(stop, self.size(shard))
        if first >= stop:
            return slice(rows.start, rows.start, step)
        return slice(rows.start + first * step, rows.start + (stop - 1) * step + 1, step)


def shuffled(seed: int, epoch: int, shard: int, size: int) -> npt.NDArray[np.int64]:
    """The order in which an epoch goes through a shard: a permutation of its `size` samples."""
    return generator(seed, Purpose.SHUFFLE, epoch, shard).permutation(size)
