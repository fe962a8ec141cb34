"""The rows of one shard, for a replica to take batches from: held in memory, or read from files as needed."""

import abc
from collections.abc import Iterator

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

    def blocks(self) -> Iterator[tuple[int, tuple[HostArray, ...]]]:
        """All samples in order, in blocks of a few MiB, each with the number of its first sample."""
        step = max(1, AT_ONCE_BYTES // max(1, self.sample_bytes))
        for first in range(0, self.size, step):
            yield first, self.take(np.arange(first, min(first + step, self.size)))


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
