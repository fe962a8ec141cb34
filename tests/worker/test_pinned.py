"""Where vectors lie that a GPU copies: pinned as long as they are there, and not a moment longer."""

import gc

import numpy as np
import pytest

from ps_common import arrays
from ps_common.arrays import Device
from ps_common.memory import Heap
from ps_common.shared_memory import SharedMemory
from ps_worker.device_copies import close_memory, memory_for
from ps_worker.pinned import PinnedMemory
from support_cuda import Cuda, Cupy

GPU = Device(0)


@pytest.fixture
def cupy(monkeypatch):
    """The stand-in for CuPy, in the place of it."""
    made = Cupy()
    monkeypatch.setattr(arrays, "cupy", lambda: made)
    return made


def test_what_is_pinned_is_unpinned_when_it_goes_and_at_the_end(cupy):
    shared = SharedMemory()
    told: list[str] = []
    memory = memory_for(GPU, shared, told.append)
    kept, gone = memory.allocate(100_000), memory.allocate(100_000)
    assert sorted(cupy.cuda.registered.values()) == [100_000, 100_000]
    seen = memory.attach(memory.pid, memory.descriptor(kept), 100_000)
    assert len(cupy.cuda.registered) == 3
    del gone
    gc.collect()
    assert len(cupy.cuda.registered) == 2
    close_memory(memory, GPU)
    assert cupy.cuda.registered == {}
    assert cupy.pools_freed == 2
    assert seen is not None
    assert told == []
    shared.close()


def test_memory_that_cannot_be_pinned_is_used_as_it_is_and_that_is_told_once(monkeypatch):
    made = Cupy(Cuda(may_register=False))
    monkeypatch.setattr(arrays, "cupy", lambda: made)
    told: list[str] = []
    shared = SharedMemory()
    memory = memory_for(GPU, shared, told.append)
    assert not memory.allocate(5000).any()
    assert not memory.private(5000).any()
    assert told == ["no memory is pinned here"]
    twin, vector = made.zeros(5000, np.uint8), memory.private(5000)
    memory.fill(vector, 0, np.full(5000, 9, np.uint8))
    memory.upload(vector, twin)
    assert (twin == 9).all()
    shared.close()


def test_pinned_memory_is_zeroed_and_as_long_as_asked(cupy):
    vector = PinnedMemory(GPU, Heap()).allocate(1000)
    assert vector.nbytes == 1000
    assert not vector.any()


def test_what_comes_is_sent_on_only_where_somebody_computes_on_the_device(cupy):
    memory = PinnedMemory(GPU, Heap())
    vector, values = memory.private(1000), np.arange(1000, dtype=np.uint8)
    asked = []
    copy, cupy.cuda.runtime.memcpyAsync = cupy.cuda.runtime.memcpyAsync, lambda *given: asked.append(given)
    memory.fill(vector, 0, values)
    assert vector.tobytes() == values.tobytes()
    assert asked == []
    memory.send_on()
    memory.fill(vector, 0, values)
    assert len(asked) == 1
    cupy.cuda.runtime.memcpyAsync = copy
    twin = cupy.zeros(1000, np.uint8)
    memory.fill(vector, 500, values[500:])
    memory.upload(vector, twin)
    assert twin[500:].tobytes() == values[500:].tobytes()
