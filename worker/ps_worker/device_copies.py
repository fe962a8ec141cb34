"""The way between the vectors of the host, which travel, and the vector a replica computes in.

On a CPU they are the same, and nothing is done. On a GPU the vector lives on the device; what comes and goes
is copied beside the computing, on streams of its own, and the host waits only where it is going to read
or overwrite. It must not know what the vectors hold or when a unit begins.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from ps_common.arrays import Array, Device, HostArray
from ps_common.memory import Heap, Memory
from ps_worker.arrival import HERE, Arrival
from ps_worker.pinned import PinnedMemory, copy_out

PIECE_BYTES = 4 * 2**20  # copied at once: long enough for full speed, short enough to be sent meanwhile


class Copies(Protocol):
    """What a replica asks for. host: the vector of its slot."""

    @property
    def memory(self) -> Memory:
        """Where the host's vectors lie."""

    def vector(self, host: HostArray) -> Array:
        """What is computed in."""

    def load(self, base: HostArray | None, host: HostArray) -> None:
        """Whatever is computed next finds what `base` holds; None: what `host` holds."""

    def store(self, host: HostArray) -> Arrival:
        """`host` is to hold what has been computed so far; the answer says when."""

    def keep(self, base: HostArray | None, host: HostArray) -> None:
        """After a unit that changes no weights: `host` holds what was loaded, as the master will assume."""

    def settle(self) -> None:
        """Come back when nothing is on its way to the host any more: it may be written."""

    def fields(self, rows: Sequence[HostArray]) -> tuple[Array, ...]:
        """Rows, where they are computed with."""

    def numbers(self, arrays: Sequence[Array]) -> list[list[float]]:
        """Each array's numbers: the one place of a unit where the host waits for what was computed."""


class HostCopies:
    """On a CPU: what is computed in is the slot's vector itself."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory

    def vector(self, host: HostArray) -> Array:
        return host

    def load(self, base: HostArray | None, host: HostArray) -> None:
        if base is not None:
            host[...] = base

    def store(self, host: HostArray) -> Arrival:
        return HERE

    def keep(self, base: HostArray | None, host: HostArray) -> None:
        pass  # it was loaded there

    def settle(self) -> None:
        pass

    def fields(self, rows: Sequence[HostArray]) -> tuple[Array, ...]:
        return tuple(rows)

    def numbers(self, arrays: Sequence[Array]) -> list[list[float]]:
        return [[float(array)] if np.ndim(array) == 0 else _numbers(array) for array in arrays]


class CudaCopies:
    """On a GPU: one vector on the device, whichever slot its contribution is for."""

    def __init__(self, device: Device, memory: Memory) -> None:
        self.memory = memory if isinstance(memory, PinnedMemory) else PinnedMemory(device, memory)
        self.memory.send_on()
        self._xp = device.xp
        self._out = self._xp.cuda.Stream(non_blocking=True)
        self._vector: Array = None
        self._arrival = HERE

    def vector(self, host: HostArray) -> Array:
        if self._vector is None:
            self._vector = self._xp.zeros(host.nbytes, np.uint8)
        return self._vector

    def load(self, base: HostArray | None, host: HostArray) -> None:
        self.settle()
        self.memory.upload(host if base is None else base, self._vector)

    def store(self, host: HostArray) -> Arrival:
        cuda = self._xp.cuda
        self.memory.overwritten(host)
        self._out.wait_event(cuda.get_current_stream().record(cuda.Event(disable_timing=True)))
        ends, marks = [], []
        for start in range(0, host.nbytes, PIECE_BYTES):
            stop = min(start + PIECE_BYTES, host.nbytes)
            copy_out(cuda, self._vector[start:stop], host[start:stop], self._out)
            ends.append(stop)
            marks.append(self._out.record(cuda.Event(disable_timing=True)))
        self._arrival = Arrival(ends, marks)
        return self._arrival

    def keep(self, base: HostArray | None, host: HostArray) -> None:
        if base is not None:  # while the device still computes
            self.memory.overwritten(host)
            host[...] = base

    def settle(self) -> None:
        self._arrival.wait()
        self._arrival = HERE

    def fields(self, rows: Sequence[HostArray]) -> tuple[Array, ...]:
        # CuPy copies rows to pinned memory of its own at once, and from there while the device computes.
        return tuple(self._xp.asarray(field) for field in rows)

    def numbers(self, arrays: Sequence[Array]) -> list[list[float]]:
        xp = self._xp
        there = [xp.asarray(array, np.float64).reshape(-1) for array in arrays]
        together = iter(xp.concatenate(there).get().tolist())
        return [list(itertools.islice(together, array.size)) for array in there]


def _numbers(array: HostArray) -> list[float]:
    numbers: list[float] = array.astype(np.float64).reshape(-1).tolist()
    return numbers


def copies_for(device: Device, memory: Memory | None = None) -> Copies:
    """The way for a device; memory: where the host's vectors lie."""
    place = memory or Heap()
    return HostCopies(place) if device.index is None else CudaCopies(device, place)


def memory_for(device: Device, memory: Memory, tell: Callable[[str], None]) -> Memory:
    """Where the host's vectors lie if this device is to copy them; tell: as for `PinnedMemory`."""
    return memory if device.index is None else PinnedMemory(device, memory, tell)


def close_memory(memory: Memory, device: Device) -> None:
    """Nobody computes any more: let go of what `memory_for` has pinned, and of the device's memory."""
    if isinstance(memory, PinnedMemory):
        memory.close()
        device.release()
