"""Vectors in memory that processes share: who sees them, who reads them, and that nothing is left of them."""

import gc
import os
import resource
import threading
from collections.abc import Iterator

import numpy as np
import psutil
import pytest

from ps_common import segments, shared_memory
from ps_common.errors import PeerError
from ps_common.memory import Unshared
from ps_common.messages import NOT_SHARED
from ps_common.shared_memory import SharedMemory
from support_disks import small_disk
from support_memory import other_process


@pytest.fixture
def memory() -> Iterator[SharedMemory]:
    memory = SharedMemory()
    yield memory
    memory.close()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def mapped() -> int:
    """Segments that this process has mapped."""
    gc.collect()
    with open("/proc/self/maps") as maps:
        return sum(segments.NAME in line for line in maps)


# -- between processes ------------------------------------------------------------------------------------


def test_what_one_process_writes_another_reads_and_the_other_way_round(memory):
    with other_process(1000) as (child, pid, descriptor, place):
        assert place == memory.place != ""
        vector = memory.attach(pid, descriptor, 1000)
        assert (vector.dtype, vector.shape) == (np.uint8, (1000,))
        assert (vector == 5).all()
        vector[:4] = range(4)
        said, _ = child.communicate("\n")
    assert said.strip() == "[0, 1, 2, 3]"


def test_what_was_attached_stays_when_its_process_is_killed_and_cannot_be_attached_again(memory):
    with other_process(64) as (child, pid, descriptor, _):
        vector = memory.attach(pid, descriptor, 64)
        child.kill()
        child.wait()
        assert (vector == 5).all()
        vector[...] = 6
        with pytest.raises(Unshared, match=f"the segment of process {pid} cannot be opened"):
            memory.attach(pid, descriptor, 64)


def test_an_offer_of_another_size_or_of_no_segment_is_the_peers_mistake(memory):
    with other_process(64) as (_, pid, descriptor, _):
        for nbytes in (0, 63, 65):
            with pytest.raises(PeerError, match="has 64 bytes"):
                memory.attach(pid, descriptor, nbytes)
        with pytest.raises(PeerError, match="is no segment of this project"):
            memory.attach(pid, 1, 64)


def test_every_vector_has_a_descriptor_of_its_own_and_a_part_or_a_stranger_has_none(memory):
    vectors = [memory.allocate(10) for _ in range(3)]
    numbers = [memory.descriptor(vector) for vector in vectors]
    assert len(set(numbers)) == 3
    assert min(numbers) >= 0
    assert memory.descriptor(vectors[0][:5]) == NOT_SHARED
    assert memory.descriptor(np.zeros(10, np.uint8)) == NOT_SHARED


def test_a_vector_of_nothing_is_a_vector(memory):
    vector = memory.allocate(0)
    assert vector.shape == (0,)
    assert memory.attach(memory.pid, memory.descriptor(vector), 0).shape == (0,)


# -- where there is none to be had ------------------------------------------------------------------------


def test_switched_off_it_is_the_heap_and_says_so():
    memory = SharedMemory(is_shared=False)
    vector = memory.allocate(10)
    assert (memory.place, memory.descriptor(vector), vector.tolist()) == ("", NOT_SHARED, [0] * 10)
    assert "switched off" in memory.why_not
    memory.close()


def test_a_segment_that_cannot_be_made_is_on_the_heap_and_the_reason_is_kept(memory):
    before = descriptors()
    assert memory.why_not == ""
    with small_disk(4096):  # a memory file is a file
        vector = memory.allocate(4097)
        small = memory.allocate(4096)
    assert memory.descriptor(vector) == NOT_SHARED
    assert memory.descriptor(small) >= 0
    assert (vector.nbytes, vector.any()) == (4097, False)
    assert "no segment of 4097 bytes can be made here" in memory.why_not
    assert descriptors() == before + 2  # of the small one: its own, and its mapping's


def test_without_address_space_for_a_segment_it_is_on_the_heap_or_a_memory_error(memory):
    """The limit counts both, so only what is free already can be had; no descriptor is left of the try."""
    before, (soft, hard) = descriptors(), resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + 2**20, hard))
    try:
        with pytest.raises(MemoryError):
            memory.allocate(2**28)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert "Cannot allocate memory" in memory.why_not
    assert descriptors() == before


def test_more_than_the_machine_has_free_is_not_asked_of_the_system(memory):
    with pytest.raises(MemoryError):
        memory.allocate(2**60)
    assert "bytes are free" in memory.why_not


# -- who still reads --------------------------------------------------------------------------------------


def test_a_vector_is_free_until_a_part_of_it_is_pinned_and_again_when_that_is_gone(memory):
    vector, other = memory.allocate(100), memory.allocate(100)
    part = vector[40:60]
    assert memory.is_free(vector), "a view alone is nobody who reads"
    memory.pin(part)
    assert not memory.is_free(vector)
    assert not memory.is_free(vector), "asking does not forget"
    assert memory.is_free(other)
    del part
    assert memory.is_free(vector)


def test_bytes_that_are_being_sent_pin_as_long_as_anything_of_them_is_held(memory):
    """As the socket does it: it holds the memoryview of a pinned part, and the part itself is gone."""
    vector = memory.allocate(100)
    memory.pin(part := vector[:50])
    held = part.data
    del part
    assert not memory.is_free(vector)
    slice_of_it = held[10:20]
    del held
    assert not memory.is_free(vector)
    del slice_of_it
    assert memory.is_free(vector)


def test_each_of_many_readers_of_the_same_part_counts(memory):
    vector = memory.allocate(100)
    readers = []
    for _ in range(3):
        readers.append(vector[:10])
        memory.pin(readers[-1])
    while readers:
        assert not memory.is_free(vector)
        readers.pop()
    assert memory.is_free(vector)


@pytest.mark.parametrize("at", [0, 1, 99])
def test_the_first_and_the_last_byte_belong_to_it(memory, at):
    vector = memory.allocate(100)
    part = vector[at : at + 1]
    memory.pin(part)
    assert not memory.is_free(vector)


def test_neighbours_on_the_heap_are_told_apart():
    memory = SharedMemory(is_shared=False)
    both = np.zeros(200, np.uint8)
    first, second = both[:100], both[100:]
    part = second[:1]
    memory.pin(part)
    assert (memory.is_free(first), memory.is_free(second)) == (True, False)
    memory.close()


def test_what_was_read_and_is_read_no_more_takes_no_memory(memory):
    vector = memory.allocate(1000)
    for _ in range(10):
        for at in range(100):
            memory.pin(vector[at : at + 1])
    assert not any(memory._readers.values()), "though nobody has asked whether it is free"
    assert memory.is_free(vector)
    assert not memory._readers


# -- work on large vectors --------------------------------------------------------------------------------


def test_spread_does_everything_once_and_gives_the_results_in_order(memory):
    large = shared_memory.SPREAD_BYTES
    done: list[int] = []
    for nbytes in (0, large - 1, large, 10 * large):
        done.clear()
        results = list(memory.spread(nbytes)(lambda i: done.append(i) or i * i, range(1000)))
        assert results == [i * i for i in range(1000)]
        assert sorted(done) == list(range(1000))


def test_spread_tells_what_went_wrong_in_a_thread(memory):
    def fail(index: int) -> int:
        return 1 // (index - 7)

    for nbytes in (0, shared_memory.SPREAD_BYTES):
        with pytest.raises(ZeroDivisionError):
            list(memory.spread(nbytes)(fail, range(20)))


def test_small_work_starts_no_thread(memory):
    before = threading.active_count()
    list(memory.spread(shared_memory.SPREAD_BYTES - 1)(str, range(100)))
    assert threading.active_count() == before


# -- the end ----------------------------------------------------------------------------------------------


def test_close_leaves_no_thread_no_descriptor_and_no_mapping():
    before = mapped(), descriptors(), threading.active_count()
    for _ in range(3):
        memory = SharedMemory()
        vectors = [memory.allocate(2**16) for _ in range(4)]
        attached = memory.attach(memory.pid, memory.descriptor(vectors[0]), 2**16)
        attached[...] = 1
        list(memory.spread(shared_memory.SPREAD_BYTES)(str, range(100)))
        memory.close()
        assert threading.active_count() == before[2]
        assert attached.all(), "who has attached keeps the memory"
        del vectors, attached, memory
    assert (mapped(), descriptors(), threading.active_count()) == before


def test_close_twice_is_close_once(memory):
    memory.allocate(10)
    memory.close()
    memory.close()


def test_a_vector_that_nobody_holds_any_more_is_given_back_before_the_end(memory):
    """A model that was proposed and forgotten, or the replica of the job before, must not stay."""
    before = mapped(), descriptors()
    for _ in range(5):
        vector = memory.allocate(2**16)
        assert memory.descriptor(vector) >= 0
        del vector
    assert (mapped(), descriptors()) == before
