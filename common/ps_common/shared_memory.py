"""Memory that the processes of one user on one machine share, for the machines to place vectors in.

Also keeps count of who still reads a vector (the socket sends from where it lies, the checkpoint writer
saves from there), and spreads work on large ones over threads.
"""

import os
import weakref
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

from ps_common import segments
from ps_common.arrays import HostArray
from ps_common.memory import Heap, Unshared
from ps_common.messages import NOT_SHARED

SPREAD_BYTES = 2 * 2**20  # below this, threads cost more than they bring (measured)
THREADS_MAX = 8  # a few cores use up the memory's bandwidth


class SharedMemory:
    """Vectors in segments where there are any to be had, else on the heap: `why_not` says why.

    is_shared: whether to share at all.
    """

    def __init__(self, is_shared: bool = True) -> None:
        self.home = segments.here()
        self.place = self.home if is_shared else ""
        self.pid = os.getpid()
        self.why_not = "" if self.place else "sharing is switched off or not to be had on this system"
        self._heap = Heap()
        self._descriptors: dict[int, int] = {}  # by id of the vector; closed with it
        self._readers: dict[int, dict[int, weakref.ref[HostArray]]] = {}  # by where they begin; the living
        self._pool: ThreadPoolExecutor | None = None

    def allocate(self, nbytes: int) -> HostArray:
        if self.place:
            try:
                segment = segments.create(nbytes)
            except segments.SegmentsUnavailable as error:
                self.why_not = str(error)
            else:
                self._descriptors[id(segment.vector)] = segment.descriptor
                weakref.finalize(segment.vector, self._let_go, id(segment.vector)).atexit = False
                return segment.vector
        return self._heap.allocate(nbytes)

    def private(self, nbytes: int) -> HostArray:
        return self._heap.private(nbytes)

    def fill(self, vector: HostArray, start: int, payload: HostArray) -> None:
        self._heap.fill(vector, start, payload)

    def descriptor(self, vector: HostArray) -> int:
        return self._descriptors.get(id(vector), NOT_SHARED)

    def attach(self, pid: int, descriptor: int, nbytes: int) -> HostArray:
        try:
            return segments.attach(pid, descriptor, nbytes).vector
        except segments.SegmentsUnavailable as error:
            raise Unshared(str(error)) from error

    def pin(self, part: HostArray) -> None:
        """`part`, a view of a vector, is being read for as long as it lives."""
        readers = self._readers.setdefault(_start_of(part), {})
        reader = weakref.ref(part, lambda gone: readers.pop(id(gone), None))
        readers[id(reader)] = reader

    def is_free(self, vector: HostArray) -> bool:
        if not self._readers:
            return True
        first, stop = _start_of(vector), _start_of(vector) + vector.nbytes
        starts = [start for start in self._readers if first <= start < stop]
        for start in starts:
            if not self._readers[start]:
                del self._readers[start]
        return not any(start in self._readers for start in starts)

    def spread(self, nbytes: int) -> Callable[[Callable[[int], None], Iterable[int]], Iterable[Any]]:
        threads = min(THREADS_MAX, len(os.sched_getaffinity(0)))
        if nbytes < SPREAD_BYTES or threads == 1:
            return map
        if self._pool is None:
            self._pool = ThreadPoolExecutor(threads, thread_name_prefix="averaging")
        pool = self._pool

        def share(work: Callable[[int], Any], indices: Iterable[int]) -> list[Any]:
            """Each thread takes the next that nobody has. A task each takes a quarter longer (measured)."""
            given = list(indices)
            results: list[Any] = [None] * len(given)
            left = iter(list(enumerate(given)))

            def take_some() -> None:
                for place, index in left:
                    results[place] = work(index)

            parts = [pool.submit(take_some) for _ in range(threads)]
            wait(parts)
            for part in parts:
                part.result()  # what went wrong in it
            return results

        return share

    def close(self) -> None:
        """Let go of threads and descriptors; memory goes when the last who has mapped it lets go."""
        if self._pool is not None:
            self._pool.shutdown()
        for vector in list(self._descriptors):
            self._let_go(vector)

    def _let_go(self, vector: int) -> None:
        """A vector, by its id, can be attached no more."""
        descriptor = self._descriptors.pop(vector, NOT_SHARED)
        if descriptor != NOT_SHARED:
            os.close(descriptor)


def _start_of(array: HostArray) -> int:
    """The address of its first byte."""
    address: int = array.__array_interface__["data"][0]
    return address
