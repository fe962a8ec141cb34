"""The bytes' way to a device and back: late as a GPU may be, none is read or overwritten too early."""

import os
import socket

import numpy as np
import pytest

from paramserver.cluster import LocalCluster
from ps_common import arrays
from ps_common import messages as m
from ps_common.arrays import Device
from ps_common.memory import Heap
from ps_common.shared_memory import SharedMemory
from ps_worker import device_copies, pinned
from ps_worker.device_copies import close_memory, copies_for, memory_for
from ps_worker.loop import Loop, Working
from ps_worker.pinned import PinnedMemory
from ps_worker.replica import Parts, Replica, Watch
from ps_worker.rows import HeldRows
from support_cuda import Cupy
from support_jobs import job

GPU = Device(0)
WIDE = """
import numpy as np
from paramserver import Job, Plan, data, nn

x = np.random.default_rng(0).normal(size=(64, 16)).astype(np.float32)
job = Job(
    model=nn.Sequential(nn.Dense(16, 40_000), nn.ReLU(), nn.Dense(40_000, 2)),  # 3 chunks
    loss=nn.SoftmaxCrossEntropy(), optimizer=nn.SGD(0.01), metrics=[nn.Accuracy()],
    train=data.arrays(x, np.arange(64) % 2), test=data.arrays(x[:9], np.arange(9) % 2),
    plan=Plan(shards=2, batch_size=8, local_steps=2, epochs=2),
)
"""


@pytest.fixture
def cupy(monkeypatch):
    """The stand-in for CuPy, in the place of it; vectors of tests are copied in several pieces."""
    made = Cupy()
    monkeypatch.setattr(arrays, "cupy", lambda: made)
    monkeypatch.setattr(device_copies, "PIECE_BYTES", 64)
    return made


def replica(device=GPU, memory=None, **changes):
    description = job(**changes).describe()
    return Replica(description, Parts.of(description), device, Watch(), memory)


def rows(shard, **changes):
    made = job(**changes)
    return HeldRows(made.train.read(made.describe().schedule.shards.rows(shard)))


def whole(contribution):
    contribution.arrival.wait()
    return contribution.vector.copy()


def on_cpu(*units, **changes):
    """What a replica on the CPU makes of the same units from its own first weights."""
    here = replica(Device(), **changes)
    base = whole(here.initialise())
    return base, [whole(here.train(base, rows(shard, **changes), 0, shard)) for shard in units]


def test_a_device_computes_what_the_cpu_does(cupy):
    base, (first, second) = on_cpu(0, 1, optimizer_state="average")
    there = replica(optimizer_state="average")
    assert whole(there.initialise()).tobytes() == base.tobytes()
    assert whole(there.train(base, rows(0), 0, 0)).tobytes() == first.tobytes()
    assert whole(there.train(base, rows(1), 0, 1)).tobytes() == second.tobytes()


def test_a_contribution_is_handed_over_before_it_has_arrived_and_arrives_in_pieces(cupy):
    base, (expected,) = on_cpu(0)
    there = replica()
    contribution = there.train(base, rows(0), 0, 0)
    assert contribution.vector.tobytes() != expected.tobytes()
    contribution.arrival.wait(65)
    assert contribution.vector[:128].tobytes() == expected[:128].tobytes()
    assert not contribution.vector[128:].any()
    contribution.arrival.wait()
    assert contribution.vector.tobytes() == expected.tobytes()


def test_the_next_unit_does_not_overwrite_what_is_still_to_arrive(cupy):
    base, (first, second) = on_cpu(0, 1)
    there = replica()
    one = there.train(base, rows(0), 0, 0)
    there.use(1)
    other = there.train(base, rows(1), 0, 1)
    assert one.vector.tobytes() == first.tobytes()
    assert whole(other).tobytes() == second.tobytes()


def test_a_vector_that_is_lent_has_arrived(cupy):
    memory = SharedMemory()
    if not memory.place:
        pytest.fail("this machine shares no memory")
    base, (expected,) = on_cpu(0)
    there = replica(memory=memory)
    contribution = there.train(base, rows(0), 0, 0)
    assert contribution.descriptor != m.NOT_SHARED
    assert contribution.vector.tobytes() == expected.tobytes()
    contribution.vector[...] = base  # the master writes the average there
    assert whole(there.train(None, rows(0), 0, 0)).tobytes() == expected.tobytes()
    memory.close()


def fill(memory, vector, values, piece=64):
    for start in range(0, len(values), piece):
        memory.fill(vector, start, values[start : start + piece])


def test_weights_that_came_in_pieces_are_on_the_device_already(cupy, monkeypatch):
    base, (expected, second) = on_cpu(0, 1)
    memory = PinnedMemory(GPU, Heap())
    there = replica(memory=memory)
    vector = memory.private(len(base))
    fill(memory, vector, base)
    asked = []
    monkeypatch.setattr(pinned, "copy_in", lambda *given: asked.append(given))
    assert whole(there.train(vector, rows(0), 0, 0)).tobytes() == expected.tobytes()
    assert whole(there.train(vector, rows(1), 0, 1)).tobytes() == second.tobytes()
    assert asked == []  # nothing was copied once more


def test_another_version_in_the_same_vector_is_what_is_computed_with(cupy):
    base, (expected,) = on_cpu(0)
    memory = PinnedMemory(GPU, Heap())
    there = replica(memory=memory)
    vector = memory.private(len(base))
    for values in (np.zeros_like(base), base):
        fill(memory, vector, values)
        result = there.train(vector, rows(0), 0, 0)
    assert whole(result).tobytes() == expected.tobytes()
    fill(memory, vector, np.full_like(base, 7))
    fill(memory, vector, base)  # twice, with no unit in between
    assert whole(there.train(vector, rows(0), 0, 0)).tobytes() == expected.tobytes()


def test_a_vector_that_was_taken_counts_by_what_was_computed_in_it(cupy):
    """It is filled, and computed in: the copy that was made as it was filled is out of date."""
    base, (expected,) = on_cpu(0)
    memory = PinnedMemory(GPU, Heap())
    there = replica(memory=memory)
    vector = memory.private(len(base))
    fill(memory, vector, base)
    spare = there.use(0, vector)
    assert spare is not None
    first = there.train(None, rows(0), 0, 0)
    assert first.vector is vector
    assert whole(first).tobytes() == expected.tobytes()
    second = whole(there.train(None, rows(0), 0, 0))  # from what the first has made
    assert second.tobytes() != expected.tobytes()
    fill(memory, spare, base)
    assert whole(there.train(spare, rows(0), 0, 0)).tobytes() == expected.tobytes()


def test_the_slot_of_an_evaluation_holds_what_was_evaluated(cupy):
    """The master says of the next unit that its weights are there."""
    base, (expected,) = on_cpu(0)
    there = replica()
    test = job().test.read(slice(None))
    there.train(base, rows(1), 0, 1)  # what it has made is still on its way to the slot
    there.evaluate(base, HeldRows(test), 0)
    there.use(0)
    assert whole(there.train(None, rows(0), 0, 0)).tobytes() == expected.tobytes()


def test_the_cpu_has_nothing_copied(cupy):
    heap = Heap()
    copies, host = copies_for(Device(), heap), heap.allocate(64)
    assert copies.vector(host) is host
    copies.store(host).wait()
    assert memory_for(Device(), heap, print) is heap
    close_memory(heap, Device())
    assert cupy.pools_freed == 0
    assert len(cupy.cuda.streams) == 1


@pytest.mark.parametrize("transport", ["shm", "tcp"])
def test_a_worker_on_a_device_takes_part_in_a_run(cupy, transport, tmp_path, monkeypatch):
    """The loop of a worker, here, and a master in a process of its own: the bits of a run on the CPU."""
    monkeypatch.setattr(device_copies, "PIECE_BYTES", 300_000)
    path = tmp_path / "wide.py"
    path.write_text(WIDE)
    flags = ["--transport", transport]
    with LocalCluster(path, workers=1, worker_flags=["--device", "cpu"], server_flags=flags) as cluster:
        expected = cluster.wait(60)
    with LocalCluster(path, workers=0, server_flags=flags) as cluster:
        join = m.Join(m.PROTOCOL, "late", socket.gethostname(), os.getpid(), str(GPU), "", "numpy")
        left = Loop(join, Working(cluster.address, GPU, is_quiet=True)).run()
        record = cluster.wait(60)
    assert left.exit_code == 0
    assert record["weights_sha256"] == expected["weights_sha256"]
    assert record["workers"][0]["device"] == "cuda:0"
    assert record["workers"][0]["units"] > 0
    assert cupy.cuda.registered == {}
    assert cupy.pools_freed >= 2
