"""Rows that come from files, read by a thread ahead of the replica that computes with them.

It decides only when rows are read. Which rows, in which order, and where a failure shows are the same as
without it: a batch that cannot be read raises when its turn has come, whatever was read before it. The
thread lives as long as the iteration and no longer.
"""

import contextlib
import queue
import threading
from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ps_common.arrays import HostArray
from ps_worker.rows import FileRows

TOGETHER_BYTES = 1 << 19  # batches smaller than this are read together, up to twice as much
AHEAD = 2  # parts read and not yet taken: one that is ready, and one for a read that takes longer than a step
_T = TypeVar("_T")
_Indices = npt.NDArray[np.int64]


class FileRowsAhead(FileRows):
    """A shard of a source on this machine, whose next batches are read while one is computed with.

    Small batches are read several at once, twice as many each time: to hand one over takes as long as to
    read it.
    """

    def batches(self, indices: _Indices, batch_size: int) -> Generator[tuple[HostArray, ...], None, None]:
        parts, first, size = [], 0, batch_size
        while first < len(indices):
            parts.append(indices[first : first + size])
            first, size = first + size, size * 2 if size * self.sample_bytes < TOGETHER_BYTES else size
        with contextlib.closing(read_ahead(self._tried, parts)) as results:
            for part, read in zip(parts, results, strict=True):
                for at in range(0, len(part), batch_size):
                    batch = slice(at, at + batch_size)
                    yield self.take(part[batch]) if read is None else tuple(field[batch] for field in read)

    def _tried(self, part: _Indices) -> tuple[HostArray, ...] | None:
        """The samples of several batches; None where one cannot be read: each is tried alone then."""
        try:
            return self.take(part)
        except Exception:
            return None

    def _takes(self, parts: Sequence[_Indices]) -> Generator[tuple[HostArray, ...], None, None]:
        return read_ahead(self.take, parts)


def read_ahead(
    take: Callable[[_Indices], _T], parts: Sequence[_Indices], ahead: int = AHEAD
) -> Generator[_T, None, None]:
    """`take(part)` of each part in order, up to `ahead` of them before they are asked for.

    Closing the iterator (its end, an error, `close()`) ends the thread, after the read it is in.
    """
    if len(parts) < 2:  # nothing to be ahead of
        yield from map(take, parts)
        return
    ready: queue.SimpleQueue[tuple[_T | None, BaseException | None]] = queue.SimpleQueue()
    room = threading.Semaphore(ahead)
    ended = threading.Event()

    def read() -> None:
        for part in parts:
            room.acquire()
            if ended.is_set():
                return
            try:
                ready.put((take(part), None))
            except BaseException as error:  # raised again where the part is asked for
                ready.put((None, error))
                return

    thread = threading.Thread(target=read, name="reading ahead", daemon=True)
    thread.start()
    try:
        for _ in parts:
            taken, error = ready.get()
            if error is not None:
                raise error
            room.release()
            yield taken  # type: ignore[misc]  # None only beside an error
            del taken  # not kept while the next one is waited for
    finally:
        ended.set()
        room.release()
        thread.join()
