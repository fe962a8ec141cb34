"""Memory of one process alone: vectors are there, and nobody else can see them."""

import numpy as np
import pytest

from ps_common.memory import Heap, Unshared
from ps_common.messages import NOT_SHARED


@pytest.mark.parametrize("nbytes", [0, 1, 1000])
def test_a_vector_is_zeroed_flat_and_ones_own(nbytes):
    heap = Heap()
    first, second = heap.allocate(nbytes), heap.allocate(nbytes)
    assert (first.dtype, first.shape) == (np.uint8, (nbytes,))
    assert not first.any()
    first[...] = 7
    assert not second.any()


def test_nobody_can_attach_a_vector_of_the_heap():
    heap = Heap()
    assert heap.descriptor(heap.allocate(8)) == NOT_SHARED
    assert heap.place == "", "an empty place is shared with nobody"
    with pytest.raises(Unshared, match="this process shares no memory"):
        heap.attach(1, 3, 8)


def test_nobody_else_reads_it_and_work_stays_in_order():
    heap = Heap()
    vector = heap.allocate(8)
    part = vector[2:]
    assert heap.is_free(vector)
    assert part is not None
    assert list(heap.spread(2**40)(lambda i: i * i, range(4))) == [0, 1, 4, 9]


def test_more_than_there_is_is_a_memory_error():
    with pytest.raises(MemoryError):
        Heap().allocate(2**60)
