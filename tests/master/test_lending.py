"""What workers on the master's machine lend: which vector, for how long, and which holds the average."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paramserver.averaging.canonical import Canonical
from paramserver.averaging.chunks import Chunks
from paramserver.effects import Outbox
from paramserver.leases import Lease, Unit
from paramserver.lending import SLOTS, borrow, free_slot, has_free_slot, let_go, mirrors
from paramserver.members import Members
from paramserver.settings import Settings
from paramserver.simulation.host import Host
from ps_common import messages as m
from ps_common.errors import PeerError
from ps_common.shared_memory import SharedMemory
from support_layouts import layouts
from support_memory import other_process
from support_rounds import SMALL, Case

GARBAGE = np.random.default_rng(7).integers(0, 256, 2**16, np.uint8)


class Worker:
    """A worker's side: its vectors, which it writes where its lease says, and nowhere else."""

    def __init__(self, lent: "Lent"):
        self.memory = lent.host.process()
        name = f"w{self.memory.pid}"
        self.join = m.Join(m.PROTOCOL, name, "host", self.memory.pid, "cpu", "", "numpy", self.memory.place)
        self.member = lent.members.add(name.encode(), self.join, 0.0)
        self.slots = {}

    def vector(self, slot, nbytes):
        """The vector of a slot; what it held before is overwritten, as a replica does."""
        if slot not in self.slots:
            self.slots[slot] = self.memory.allocate(nbytes)
        self.slots[slot][...] = GARBAGE[:nbytes]
        return self.slots[slot]


class Lent(Case):
    """A round to which workers on this machine lend what they compute."""

    def __init__(self, layout, samples, **changes):
        super().__init__(layout, samples, **changes)
        self.host = Host()
        self.memory = self.host.process()
        self.members = Members()
        self.leases = 0
        self.exchange = Chunks(Canonical(Settings(), self.memory), Outbox())
        self.exchange.round = self.round

    def worker(self):
        return Worker(self)

    def lease(self, worker, shard, slot, offered):
        self.leases += 1
        unit = Unit("train", 0, shard)
        return Lease(self.leases, unit, worker.member.sender, 1.0, 0, slot=slot, offered=offered)

    def push(self, worker, shard):
        """The worker computes a shard's unit where it is told to, and the round borrows it."""
        slot = free_slot(self.exchange, worker.member)
        vector = worker.vector(slot, self.layout.nbytes)
        for span in self.spans:
            vector[span.start : span.stop] = self.vectors[shard][span.start : span.stop]
        lease = self.lease(worker, shard, slot, worker.memory.descriptor(vector))
        assert borrow(self.exchange, worker.member, lease, self.memory, self.layout.nbytes) == ""
        return slot

    def close(self, version=1):
        into = mirrors(self.members, version)
        vectors = [lent.vector for lent in into]
        self.round.finish(vectors)
        let_go(self.members)
        self.assert_right(*vectors)


def nothing_is_lent(case, worker):
    return (
        worker.member.lent == {}
        and worker.member.vectors == {}
        and not any(case.round.is_delivered(shard) for shard in case.shards)
    )


# -- borrowing --------------------------------------------------------------------------------------------


def test_a_vector_is_attached_once_and_anew_where_another_is_offered():
    case = Lent(SMALL, [1, 1, 1])
    worker = case.worker()
    assert [case.push(worker, shard) for shard in case.shards[:2]] == [0, 0], "the first is summed by then"
    first = worker.member.vectors[0]
    assert first.vector is worker.slots[0]
    worker.slots = {}  # a replica built anew
    case.push(worker, case.shards[2])
    assert worker.member.vectors[0].vector is worker.slots[0] is not first.vector
    case.close()


def test_a_process_that_is_gone_lends_nothing_and_the_reason_is_told():
    case = Lent(SMALL, [1])
    worker = case.worker()
    descriptor = worker.memory.descriptor(worker.vector(0, SMALL.nbytes))
    case.host.end(worker.memory.pid)
    lease = case.lease(worker, case.shards[0], 0, descriptor)
    why_not = borrow(case.exchange, worker.member, lease, case.memory, SMALL.nbytes)
    assert why_not == f"process {worker.memory.pid} is gone"
    assert nothing_is_lent(case, worker)


def test_the_vector_of_a_process_that_is_gone_is_still_there_for_the_round():
    case = Lent(SMALL, [1, 2])
    worker = case.worker()
    case.push(worker, case.shards[1])
    case.host.end(worker.memory.pid)
    case.members.remove(worker.member)
    case.push(case.worker(), case.shards[0])
    case.close()


@pytest.mark.parametrize("nbytes", [0, SMALL.nbytes - 1, SMALL.nbytes + 1])
def test_a_vector_of_another_size_is_refused(nbytes):
    case = Lent(SMALL, [1])
    worker = case.worker()
    descriptor = worker.memory.descriptor(worker.memory.allocate(nbytes))
    lease = case.lease(worker, case.shards[0], 0, descriptor)
    with pytest.raises(PeerError, match=f"has {nbytes} bytes, not {SMALL.nbytes}"):
        borrow(case.exchange, worker.member, lease, case.memory, SMALL.nbytes)
    assert nothing_is_lent(case, worker)


def test_real_memory_of_another_process_is_borrowed_and_what_is_none_is_refused():
    case, memory = Lent(SMALL, [1]), SharedMemory()
    with other_process(SMALL.nbytes) as (child, pid, descriptor, place):
        join = m.Join(m.PROTOCOL, "real", "host", pid, "cpu", "", "numpy", place)
        member = case.members.add(b"real", join, 0.0)
        lease = Lease(1, Unit("train", 0, case.shards[0]), b"real", 1.0, 0)
        lease.offered = 1  # what it prints to
        with pytest.raises(PeerError, match="is no segment of this project"):
            borrow(case.exchange, member, lease, memory, SMALL.nbytes)
        lease.offered = 4000
        assert "cannot be opened" in borrow(case.exchange, member, lease, memory, SMALL.nbytes)
        assert member.lent == member.vectors == {}
        lease.offered = descriptor
        assert borrow(case.exchange, member, lease, memory, SMALL.nbytes) == ""
        child.kill()
        child.wait()
    case.vectors[case.shards[0]][...] = 5
    case.round.finish()
    case.assert_right()
    memory.close()


# -- where to compute next --------------------------------------------------------------------------------


def test_while_one_vector_is_lent_the_other_is_free():
    case = Lent(SMALL, [1, 1, 1])
    worker = case.worker()
    assert has_free_slot(case.exchange, worker.member)
    assert case.push(worker, case.shards[1]) == 0  # not in turn
    assert worker.member.lent == {0: case.shards[1]}
    assert has_free_slot(case.exchange, worker.member)
    assert free_slot(case.exchange, worker.member) == 1
    assert worker.member.lent == {0: case.shards[1]}, "nothing was copied for that"
    assert case.round.held_bytes == 0


def test_with_both_lent_none_is_free_until_those_before_them_are_in():
    case = Lent(SMALL, [1, 1, 1])
    worker, other = case.worker(), case.worker()
    slots = [case.push(worker, shard) for shard in case.shards[1:]]
    assert slots == [0, 1]
    assert not has_free_slot(case.exchange, worker.member)
    case.push(other, case.shards[0])
    assert has_free_slot(case.exchange, worker.member)
    assert worker.member.lent == {}, "both are summed"
    worker.vector(0, SMALL.nbytes)
    worker.vector(1, SMALL.nbytes)
    case.close()


def test_who_must_go_on_with_both_lent_has_one_copied():
    case = Lent(SMALL, [1, 1, 1, 1])
    worker, other = case.worker(), case.worker()
    for shard in case.shards[1:3]:
        case.push(worker, shard)
    assert case.push(worker, case.shards[3]) == 0
    assert case.round.held_bytes == sum(span.nbytes for span in case.spans)
    assert worker.member.lent == {0: case.shards[3], 1: case.shards[2]}
    case.push(other, case.shards[0])
    case.close()
    assert case.round.held_bytes == 0


def test_without_a_round_nothing_is_lent():
    case = Lent(SMALL, [1, 1, 1])
    worker = case.worker()
    for shard in case.shards[1:]:
        case.push(worker, shard)
    case.exchange.round = None
    assert has_free_slot(case.exchange, worker.member)
    assert worker.member.lent == {}
    assert free_slot(case.exchange, worker.member) == 0


def test_the_vector_that_holds_the_version_is_the_one_to_compute_in():
    case = Lent(SMALL, [1])
    worker = case.worker()
    worker.member.here = (1, 4)
    assert free_slot(case.exchange, worker.member) == 1
    worker.member.here = (0, 4)
    assert free_slot(case.exchange, worker.member) == 0


# -- the average comes back -------------------------------------------------------------------------------


def test_idle_members_with_vectors_have_the_average_and_nobody_else():
    case = Lent(SMALL, [1, 2, 3])
    idle, busy, remote, second = (case.worker() for _ in range(4))
    for worker, shard in ((busy, case.shards[2]), (idle, case.shards[1]), (second, case.shards[0])):
        case.push(worker, shard)
    for worker in (idle, remote, second):
        worker.member.is_ready = True
    busy.member.here = (0, 6)  # of a version gone by
    case.close(version=7)
    assert [one.member.here for one in (idle, busy, remote, second)] == [(0, 7), None, None, (0, 7)]
    assert all(one.member.lent == {} for one in (idle, busy, remote, second))
    for worker in (idle, second):
        case.assert_right(worker.slots[0])
    with pytest.raises(AssertionError):
        case.assert_right(busy.slots[0])


def test_of_two_vectors_the_first_holds_the_average():
    case = Lent(SMALL, [1, 1, 1])
    worker, other = case.worker(), case.worker()
    for shard in case.shards[1:]:
        case.push(worker, shard)
    case.push(other, case.shards[0])
    worker.member.is_ready = True
    case.close()
    assert worker.member.here == (0, 1)
    assert set(worker.slots) == set(range(SLOTS))


@settings(deadline=None, max_examples=150)
@given(
    layouts(most=3),
    st.lists(st.integers(1, 50), min_size=1, max_size=7),
    st.integers(1, 4),
    st.integers(0, 2**32),
)
def test_whoever_computes_what_in_whichever_order_the_average_is_right_and_comes_back(
    layout, samples, workers, seed
):
    """Several rounds, each worker computing wherever it is told to: nothing that counts is overwritten."""
    rng = random.Random(seed)
    case = Lent(layout, samples, seed=seed % 100)
    at_work = [case.worker() for _ in range(workers)]
    for version in range(1, 4):
        shards = rng.sample(case.shards, len(case.shards))
        for shard in shards:
            worker = rng.choice(at_work)
            if rng.random() < 0.2:
                has_free_slot(case.exchange, worker.member)
            elif rng.random() < 0.2 and len(at_work) > 1:  # its process dies; what it lent is needed still
                at_work.remove(worker)
                case.members.remove(worker.member)
                case.host.end(worker.memory.pid)
                worker = case.worker()
                at_work.append(worker)
            case.push(worker, shard)
        for worker in at_work:
            worker.member.is_ready = rng.random() < 0.8
        case.close(version)
        for worker in at_work:
            here = worker.member.here
            assert (here is not None) == (worker.member.is_ready and bool(worker.slots))
            if here is not None:
                assert here[1] == version
                case.assert_right(worker.slots[here[0]])
                assert free_slot(case.exchange, worker.member) == here[0]
                worker.member.here = None  # the next unit trains there
        case.exchange.round = case.round = Lent(layout, samples).round
        case.spans = layout.chunks(64)
