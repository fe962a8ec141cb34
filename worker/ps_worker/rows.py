"""The rows of one shard, for a replica to take batches from: held in memory, or read from files as needed."""

import abc
import contextlib
from collections.abc import Generator, Sequence

import numpy as np
import numpy.typing as npt

from ps_common.arrays import HostArray
from ps_common.job import DataSource
from ps_common.shards import Shards

AT_ONCE_BYTES = 4 * 2**20  # read at once where a shard is gone through from end to end


class ShardRows(abc.ABC):
    """Samples 0 to `size` - 1 of one shard."""

    size: int
    sample_bytes: int

    @abc.abstractmethod
    def take(self, indices: npt.NDArray[np.int64]) -> tuple[HostArray, ...]:
        """The samples of these numbers, in this order: one array of shape (n, ...) a field."""

    def batches(
        self, indices: npt.NDArray[np.int64], batch_size: int
    ) -> Generator[tuple[HostArray, ...], None, None]:
        """The samples of these numbers, `batch_size` at a time, the last may be smaller. Close it after."""
        parts = [indices[first : first + batch_size] for first in range(0, len(indices), batch_size)]
        return self._takes(parts)

    def blocks(self, samples: int | None = None) -> Generator[tuple[int, tuple[HostArray, ...]], None, None]:
        """All samples in order, each block with the number of its first one. Close it after.

        samples: the most in a block, which is of a few MiB at most in any case.
        """
        step = max(1, AT_ONCE_BYTES // max(1, self.sample_bytes))
        step = min(step, samples or step)
        firsts = range(0, self.size, step)
        parts = [np.arange(first, min(first + step, self.size)) for first in firsts]
        with contextlib.closing(self._takes(parts)) as blocks:
            yield from zip(firsts, blocks, strict=True)

    def _takes(self, parts: Sequence[npt.NDArray[np.int64]]) -> Generator[tuple[HostArray, ...], None, None]:
        """`take` of each part, in order."""
        for part in parts:
            yield self.take(part)


class HeldRows(ShardRows):
    """A shard that lies in memory, one array a field."""

    def __init__(self, arrays: tuple[HostArray, ...]) -> None:
        self.size = len(arrays[0])
        self.sample_bytes = sum(array.nbytes for array in arrays) // self.size
        self._arrays = arrays

    def take(self, indices: npt.NDArray[np.int64]) -> tuple[HostArray, ...]:
        return tuple(np.take(array, indices, axis=0) for array in self._arrays)


class FileRows(ShardRows):
    """A shard of a source on this machine; nothing is kept in memory."""

    def __init__(self, source: DataSource, shards: Shards, shard: int) -> None:
        self.size = shards.size(shard)
        self.sample_bytes = sum(field.sample_bytes for field in source.fields)
        self._source = source
        self._rows = shards.rows(shard)

    def take(self, indices: npt.NDArray[np.int64]) -> tuple[HostArray, ...]:
        return self._source.read(self._rows.start + indices * (self._rows.step or 1))
