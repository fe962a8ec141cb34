"""A replica on a GPU: what the CPU computes, to rounding; pinned memory, nothing left, no waiting."""

import gc
from typing import Any

import numpy as np
import pytest

from ps_common.arrays import Device, cupy, devices, xp_of
from ps_common.errors import UsageError
from ps_common.memory import Heap
from ps_common.messages import NOT_SHARED
from ps_common.shared_memory import SharedMemory
from ps_worker import nn
from ps_worker.device_copies import close_memory, copies_for, memory_for
from ps_worker.nn.precision import half_dtype
from ps_worker.pinned import PinnedMemory
from ps_worker.replica import Parts, Replica, UnitContext, Watch
from ps_worker.rows import HeldRows
from support_jobs import job

pytestmark = pytest.mark.skipif(cupy() is None, reason="no CUDA device")

GPU = Device(0)
CLOSE = {"rtol": 1e-4, "atol": 1e-5}
PINNED, PAGEABLE = 1, 0  # cudaMemoryTypeHost and cudaMemoryTypeUnregistered


def replica(device: Device = GPU, memory: Any = None, **changes: Any) -> Replica:
    device.use()
    description = job(**changes).describe()
    return Replica(description, Parts.of(description), device, Watch(), memory)


def rows(shard: int) -> HeldRows:
    made = job()
    return HeldRows(made.train.read(made.describe().schedule.shards.rows(shard)))


def whole(contribution: Any) -> np.ndarray:
    contribution.arrival.wait()
    weights: np.ndarray = contribution.vector.copy().view(np.float32)
    return weights


def first_weights() -> np.ndarray:
    vector = replica(Device()).initialise().vector
    assert vector is not None
    return vector.copy()


def memory_type(vector: np.ndarray) -> int:
    module = cupy()
    assert module is not None
    kind: int = module.cuda.runtime.pointerGetAttributes(vector.ctypes.data).type
    return kind


@pytest.mark.parametrize("state", ["average", "reset", "local"])
def test_units_are_those_of_the_cpu(state: str) -> None:
    base, found = first_weights(), []
    if state == "average":
        base = replica(Device(), optimizer=nn.Momentum(0.1)).initialise().vector
    for device in (Device(), GPU):
        one = replica(device, optimizer=nn.Momentum(0.1), optimizer_state=state)
        found.append([whole(one.train(base, rows(shard), 0, shard)) for shard in (0, 1, 0)])
        test = HeldRows(job().test.read(slice(None)))
        found[-1].append(np.array([v for vs in one.evaluate(base, test, 0).sums.values() for v in vs]))
    for here, there in zip(*found, strict=True):
        np.testing.assert_allclose(there, here, **CLOSE)


def test_the_first_weights_are_those_of_the_cpu_bit_for_bit() -> None:
    assert whole(replica().initialise()).tobytes() == first_weights().tobytes()


def test_weights_that_come_in_pieces_are_those_that_come_at_once() -> None:
    memory, base = PinnedMemory(GPU, Heap()), first_weights()
    one = replica(memory=memory)
    expected = whole(one.train(base, rows(0), 0, 0))
    vector = memory.private(len(base))
    for values in (np.zeros_like(base), base):
        for start in range(0, len(values), 64):
            memory.fill(vector, start, values[start : start + 64])
    np.testing.assert_array_equal(whole(one.train(vector, rows(0), 0, 0)), expected)
    one.use(1)
    np.testing.assert_array_equal(whole(one.train(vector, rows(0), 0, 0)), expected)


@pytest.mark.parametrize("numbers", [10, 5_000_000])
def test_a_vector_comes_to_the_host_piece_by_piece_and_whole(numbers: int) -> None:
    GPU.use()
    heap = Heap()
    copies, host = copies_for(GPU, heap), heap.allocate(4 * numbers)
    vector = copies.vector(host).view(np.float32)
    for factor in (1, 2):
        vector[...] = xp_of(vector).arange(numbers) % 1000 * factor
        arrival = copies.store(host)
        arrival.wait(4)
        assert host.view(np.float32)[0] == 0
        arrival.wait()
        np.testing.assert_array_equal(host.view(np.float32), np.arange(numbers) % 1000 * factor)


def test_a_segment_is_pinned_while_it_is_used_and_a_lent_vector_has_arrived() -> None:
    shared = SharedMemory()
    memory = memory_for(GPU, shared, pytest.fail)
    one = replica(memory=memory)
    base = first_weights()
    expected = whole(replica().train(base, rows(0), 0, 0))
    contribution = one.train(base, rows(0), 0, 0)
    assert contribution.descriptor != NOT_SHARED
    assert contribution.vector is not None
    np.testing.assert_array_equal(contribution.vector.view(np.float32), expected)
    seen = memory.attach(memory.pid, contribution.descriptor, contribution.vector.nbytes)
    assert memory_type(contribution.vector) == memory_type(seen) == PINNED
    assert memory_type(memory.private(1000)) == PINNED
    close_memory(memory, GPU)
    assert memory_type(contribution.vector) == memory_type(seen) == PAGEABLE
    shared.close()


def test_a_segment_is_unpinned_when_it_goes() -> None:
    shared = SharedMemory()
    memory = memory_for(GPU, shared, pytest.fail)
    for _ in range(5):  # the next one may lie where the last one lay
        vector = memory.allocate(3_000_000)
        assert memory_type(vector) == PINNED
        del vector
        gc.collect()
    shared.close()


def test_a_replica_leaves_nothing_on_the_device() -> None:
    module = cupy()
    assert module is not None
    GPU.use()
    gc.collect()
    pool = module.get_default_memory_pool()
    before = pool.used_bytes()
    shared = SharedMemory()
    memory = memory_for(GPU, shared, pytest.fail)
    one = replica(memory=memory)
    contribution = one.train(first_weights(), rows(0), 0, 0)
    assert pool.used_bytes() > before
    del one, contribution
    gc.collect()
    close_memory(memory, GPU)
    shared.close()
    assert pool.used_bytes() == before


@pytest.mark.parametrize("precision", [None, "float16"])
@pytest.mark.parametrize(
    "optimizer", [nn.SGD(0.1), nn.Momentum(0.1), nn.Nesterov(0.1), nn.Adam(0.1)], ids=str
)
def test_the_host_waits_for_nothing_in_a_step(precision: str | None, optimizer: nn.Optimizer) -> None:
    """While a stream is captured, whatever would wait for it raises."""
    module = cupy()
    assert module is not None
    one = replica(precision=precision, optimizer=optimizer, regularizer=nn.L2(0.01))
    one.initialise()
    x, y = (module.asarray(field) for field in job().train.read(slice(0, 8)))
    context = UnitContext(1, 0, 0)
    stream = module.cuda.Stream(non_blocking=True)
    with stream:
        for _ in range(3):  # kernels are compiled, and memory is in the pool
            one.step(x, y, context)
        stream.synchronize()
        stream.begin_capture(module.cuda.runtime.streamCaptureModeRelaxed)
        kept = one.step(x, y, context)
        stream.end_capture()
    assert len(kept) == 2


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_half_precision_trains_as_float32_to_its_rounding(precision: str) -> None:
    base = first_weights()
    full = whole(replica().train(base, rows(0), 0, 0))
    module = cupy()
    assert module is not None
    if precision == "bfloat16" and int(module.__version__.partition(".")[0]) < 14:
        with pytest.raises(UsageError, match="use CuPy 14, or float16"):
            replica(precision=precision)
        return
    half = whole(replica(precision=precision).train(base, rows(0), 0, 0))
    np.testing.assert_allclose(half, full, atol=2e-2)
    assert (half != full).any()
    assert half_dtype(precision).itemsize == 2


def test_all_devices_are_taken_in_turn() -> None:
    module = cupy()
    assert module is not None
    assert len(devices("cuda")) == len(devices("auto")) == module.cuda.runtime.getDeviceCount()
    assert devices("cuda:0") == [GPU]
    assert GPU.model
