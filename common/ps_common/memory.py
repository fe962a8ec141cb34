"""Where flat vectors lie, and who else can see them. The machines are handed one of these.

`Heap` is memory of this process alone: everything travels as messages. `SharedMemory`, beside the
loops, is memory that processes of one user on one machine share.
"""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np

from ps_common.arrays import HostArray
from ps_common.messages import NOT_SHARED


class Unshared(Exception):
    """Memory that was offered cannot be seen from here; the reason, for a person."""


class Memory(Protocol):
    """What the machines ask of memory.

    home: names the machine, PID namespace and user. Empty: not known.
    place: the same of those who share: processes with equal places can. Empty: with nobody.
    pid: of this process.
    """

    home: str
    place: str
    pid: int

    def allocate(self, nbytes: int) -> HostArray:
        """A new flat vector, uint8, zeroed. Raises `MemoryError`."""

    def private(self, nbytes: int) -> HostArray:
        """The same, for this process alone."""

    def fill(self, vector: HostArray, start: int, payload: HostArray) -> None:
        """Write a piece that has come, uint8, into a vector, from byte `start` on."""

    def descriptor(self, vector: HostArray) -> int:
        """By what number another process can attach a vector of `allocate`; `NOT_SHARED` where it cannot."""

    def attach(self, pid: int, descriptor: int, nbytes: int) -> HostArray:
        """A vector of another process. Raises `Unshared`; `PeerError` for what is no vector of that size."""

    def is_free(self, vector: HostArray) -> bool:
        """Whether nobody reads a vector any more, so that it may be written again."""

    def spread(self, nbytes: int) -> Callable[[Callable[[int], None], Iterable[int]], Iterable[Any]]:
        """A `map` for work on so many bytes: over several threads where that pays."""


class Heap:
    """Memory of this process alone."""

    home = place = ""
    pid = 0

    def allocate(self, nbytes: int) -> HostArray:
        return self.private(nbytes)

    def private(self, nbytes: int) -> HostArray:
        return np.zeros(nbytes, np.uint8)

    def fill(self, vector: HostArray, start: int, payload: HostArray) -> None:
        vector[start : start + len(payload)] = payload

    def descriptor(self, vector: HostArray) -> int:
        return NOT_SHARED

    def attach(self, pid: int, descriptor: int, nbytes: int) -> HostArray:
        raise Unshared("this process shares no memory")

    def is_free(self, vector: HostArray) -> bool:
        return True

    def spread(self, nbytes: int) -> Callable[[Callable[[int], None], Iterable[int]], Iterable[Any]]:
        return map
