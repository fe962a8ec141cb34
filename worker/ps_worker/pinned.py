"""Vectors on the host that a GPU copies from and to at full speed, while it computes.

Memory that the system may move is copied by way of a small buffer, and whoever asks for the copy waits.
So a segment that processes share is registered with the driver as pinned, and a vector that is this
process's alone is made of pinned memory. What comes from the network for a vector goes on to the device
as it comes. It decides where vectors lie and when their bytes go to the device; not what they mean.

See cudaHostRegister in "CUDA Runtime API", memory management.
"""

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ps_common.arrays import Array, Device, HostArray
from ps_common.memory import Memory
from ps_common.messages import NOT_SHARED


class Coming:
    """A vector of the host that is being filled, and its twin on the device, which follows."""

    def __init__(self, host: HostArray, twin: Array) -> None:
        self.host = host
        self.twin = twin
        self.last: Any = None  # the event after the last copy to the twin
        self.read: Any = None  # the event after the twin was last read


class PinnedMemory:
    """A `Memory` whose vectors are pinned for one CUDA device; `memory` is where they are shared, or not.

    tell: called once with the reason why a vector could not be pinned, which costs time and nothing else.
    """

    def __init__(
        self, device: Device, memory: Memory, tell: Callable[[str], None] = lambda reason: None
    ) -> None:
        self.home, self.place, self.pid = memory.home, memory.place, memory.pid
        self._tell = tell
        self._has_told = False
        self._memory = memory
        self._device = device
        self._cuda = device.xp.cuda
        self._in = self._cuda.Stream(non_blocking=True)
        self._sends_on = False
        self._coming: Coming | None = None
        self._registered: dict[int, weakref.finalize[Any, Any]] = {}  # by address

    # -- as any memory --------------------------------------------------------------------------------

    def allocate(self, nbytes: int) -> HostArray:
        vector = self._memory.allocate(nbytes)
        if self._memory.descriptor(vector) == NOT_SHARED:
            return self.private(nbytes)
        self._register(vector)
        return vector

    def private(self, nbytes: int) -> HostArray:
        try:
            block = self._cuda.alloc_pinned_memory(max(1, nbytes))
        except self._cuda.runtime.CUDARuntimeError as error:
            self._complain(error)
            return self._memory.private(nbytes)
        vector: HostArray = np.ndarray(nbytes, np.uint8, block)
        vector[...] = 0
        return vector

    def descriptor(self, vector: HostArray) -> int:
        return self._memory.descriptor(vector)

    def attach(self, pid: int, descriptor: int, nbytes: int) -> HostArray:
        vector = self._memory.attach(pid, descriptor, nbytes)
        self._register(vector)
        return vector

    def is_free(self, vector: HostArray) -> bool:
        return self._memory.is_free(vector)

    def spread(self, nbytes: int) -> Callable[[Callable[[int], None], Iterable[int]], Iterable[Any]]:
        return self._memory.spread(nbytes)

    def fill(self, vector: HostArray, start: int, payload: HostArray) -> None:
        """Write a piece into the vector, and send it on to the device; the host does not wait for that."""
        if not self._sends_on:
            vector[start : start + len(payload)] = payload
            return
        coming = self._coming
        if coming is None or coming.host is not vector:
            coming = self._coming = Coming(vector, self._twin_of(vector))
        # A copy still under way of what was there before is of a version that nobody has computed with.
        stop = start + len(payload)
        vector[start:stop] = payload
        if coming.read is not None:
            self._in.wait_event(coming.read)
            coming.read = None
        copy_in(self._cuda, vector[start:stop], coming.twin[start:stop], self._in)
        coming.last = self._in.record(self._event())

    # -- for whoever computes -------------------------------------------------------------------------

    def send_on(self) -> None:
        """From now on what comes for a vector goes to the device as it comes: somebody will upload it.

        A class of the user's own reads its weights from the host, and nothing is copied for that.
        """
        self._sends_on = True

    def upload(self, vector: HostArray, out: Array) -> None:
        """Have `out`, on the device, hold what the vector holds before anything that is computed next.

        The host waits for nothing; it must leave the vector as it is until that has been computed.
        """
        stream, coming = self._cuda.get_current_stream(), self._coming
        if coming is None or coming.host is not vector:
            copy_in(self._cuda, vector, out, stream)
            return
        if coming.last is not None:
            stream.wait_event(coming.last)
        out[...] = coming.twin
        coming.read = stream.record(self._event())

    def overwritten(self, vector: HostArray) -> None:
        """The vector is to hold something else: what the device has of it counts no more."""
        if self._coming is not None and self._coming.host is vector:
            self._let_go()

    def close(self) -> None:
        """Nothing of it is in use any more: unpin what was pinned, and let go of the device's memory."""
        self._device.use()
        self._let_go()
        for release in list(self._registered.values()):
            release()

    # -- small things ---------------------------------------------------------------------------------

    def _complain(self, error: Exception) -> None:
        if not self._has_told:
            self._has_told = True
            self._tell(str(error))

    def _event(self) -> Any:
        return self._cuda.Event(disable_timing=True)

    def _twin_of(self, vector: HostArray) -> Array:
        self._let_go()
        twin = self._device.xp.zeros(vector.nbytes, np.uint8)
        self._in.wait_event(self._cuda.get_current_stream().record(self._event()))  # it is zeroed by then
        return twin

    def _let_go(self) -> None:
        """Of the twin, when no copy to it is under way: its memory is given to whoever asks next."""
        if self._coming is not None and self._coming.last is not None:
            self._coming.last.synchronize()
        self._coming = None

    def _register(self, vector: HostArray) -> None:
        address = int(vector.ctypes.data)
        if vector.nbytes == 0 or address in self._registered:
            return
        try:
            self._cuda.runtime.hostRegister(address, vector.nbytes, 0)
        except self._cuda.runtime.CUDARuntimeError as error:
            self._complain(error)
            return
        release = weakref.finalize(vector, self._unregister, address)  # before the memory is unmapped
        release.atexit = False  # the driver does that itself
        self._registered[address] = release

    def _unregister(self, address: int) -> None:
        self._registered.pop(address, None)
        with self._cuda.Device(self._device.index):
            self._cuda.runtime.deviceSynchronize()  # no copy from there or to there is under way
            self._cuda.runtime.hostUnregister(address)


def copy_in(cuda: Any, source: HostArray, out: Array, stream: Any) -> None:
    """Ask for a copy to the device, on a stream; both arrays contiguous."""
    runtime = cuda.runtime
    runtime.memcpyAsync(
        out.data.ptr, source.ctypes.data, source.nbytes, runtime.memcpyHostToDevice, stream.ptr
    )


def copy_out(cuda: Any, source: Array, out: HostArray, stream: Any) -> None:
    """Ask for a copy to the host, likewise."""
    runtime = cuda.runtime
    runtime.memcpyAsync(out.ctypes.data, source.data.ptr, out.nbytes, runtime.memcpyDeviceToHost, stream.ptr)
