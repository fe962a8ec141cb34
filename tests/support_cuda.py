"""A stand-in for CuPy and its device, for the paths of the bytes: as late as a GPU is allowed to be.

A stream other than the default one does nothing until somebody waits for it: whoever reads, or overwrites,
without having waited sees it in the bytes. The default stream, where kernels run, is at once.
"""

import ctypes
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np


class DeviceArray(np.ndarray):
    """An array that says where it is as CuPy's do."""

    @property
    def data(self) -> Any:  # type: ignore[override]
        return SimpleNamespace(ptr=self.__array_interface__["data"][0])

    def get(self, out: np.ndarray | None = None) -> np.ndarray:
        if out is None:
            return np.array(self)
        out[...] = self
        return out


class Event:
    def __init__(self, block: bool = False, disable_timing: bool = False) -> None:
        self.wait: Callable[[], None] = lambda: None

    def synchronize(self) -> None:
        self.wait()


class CUDARuntimeError(RuntimeError):
    pass


class Stream:
    """ptr 0: the default stream, which is at once."""

    def __init__(self, cuda: "Cuda", ptr: int) -> None:
        self.ptr = ptr
        self._cuda = cuda
        self._asked: list[Callable[[], None]] = []
        self._done = 0
        cuda.streams[ptr] = self

    def ask(self, work: Callable[[], None]) -> None:
        if self.ptr == 0:
            work()
        else:
            self._asked.append(work)

    def record(self, event: Event) -> Event:
        asked = len(self._asked)
        event.wait = lambda: self.finish(asked)
        return event

    def wait_event(self, event: Event) -> None:
        self.ask(event.wait)

    def finish(self, asked: int | None = None) -> None:
        while self._done < (len(self._asked) if asked is None else asked):
            self._done += 1
            self._asked[self._done - 1]()


class Cuda:
    """What the project uses of `cupy.cuda`. registered: address -> bytes, of what is pinned."""

    def __init__(self, may_register: bool = True) -> None:
        self.streams: dict[int, Stream] = {}
        self.registered: dict[int, int] = {}
        self.may_register = may_register
        self.Event = Event
        self.runtime = SimpleNamespace(
            CUDARuntimeError=CUDARuntimeError,
            memcpyHostToDevice=1,
            memcpyDeviceToHost=2,
            memcpyAsync=self._copy,
            deviceSynchronize=self._synchronize,
            hostRegister=self._register,
            hostUnregister=self._unregister,
            getDeviceCount=lambda: 1,
        )
        self.Stream = self._stream
        self.Device = lambda index: _Device()
        self._null = Stream(self, 0)

    def _stream(self, non_blocking: bool) -> Stream:
        assert non_blocking, "it would wait for the default stream"
        return Stream(self, len(self.streams))

    def get_current_stream(self) -> Stream:
        return self._null

    def alloc_pinned_memory(self, nbytes: int) -> bytearray:
        if not self.may_register:
            raise CUDARuntimeError("no memory is pinned here")
        return bytearray(b"\xff") * nbytes

    def _copy(self, to: int, source: int, nbytes: int, kind: int, stream: int) -> None:
        assert kind in (1, 2)
        self.streams[stream].ask(lambda: ctypes.memmove(to, source, nbytes) and None)

    def _synchronize(self) -> None:
        for stream in self.streams.values():
            stream.finish()

    def _register(self, address: int, nbytes: int, flags: int) -> None:
        if address in self.registered or not self.may_register:
            raise CUDARuntimeError("no memory is pinned here")
        self.registered[address] = nbytes

    def _unregister(self, address: int) -> None:
        del self.registered[address]


class _Device:
    def use(self) -> None:
        pass

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        pass


class Cupy:
    """What the project uses of `cupy` itself; anything else is numpy's, on arrays of the device."""

    def __init__(self, cuda: Cuda | None = None) -> None:
        self.cuda = cuda or Cuda()
        self.pools_freed = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    def zeros(self, shape: Any, dtype: Any) -> DeviceArray:
        return np.zeros(shape, dtype).view(DeviceArray)

    def asarray(self, array: Any, dtype: Any = None) -> DeviceArray:
        return np.array(array, dtype).view(DeviceArray)  # a copy: the device has its own memory

    def concatenate(self, arrays: Any) -> DeviceArray:
        return np.concatenate(arrays).view(DeviceArray)

    def get_default_memory_pool(self) -> Any:
        return SimpleNamespace(free_all_blocks=self._free)

    def get_default_pinned_memory_pool(self) -> Any:
        return SimpleNamespace(free_all_blocks=self._free)

    def _free(self) -> None:
        self.pools_freed += 1
