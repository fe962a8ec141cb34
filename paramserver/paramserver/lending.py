"""Contributions that stay where they are: vectors of workers on this machine, lent to the round.

A worker has two vectors, its slots. While the round has borrowed one, the worker computes in the other;
what is summed is given back. When the round closes, the average is written into the vectors of idle
workers, and their next lease says that it is there. A worker writes only where its lease says, so what it
has lent is safe even when it is lost and comes back; and the memory of one that died stays mapped.
"""

from collections.abc import Iterable

from paramserver.leases import Lease
from paramserver.members import Attached, Member
from paramserver.rounds import Round
from ps_common.arrays import HostArray
from ps_common.memory import Memory, Unshared

SLOTS = 2


def borrow(round_: Round, member: Member, lease: Lease, descriptor: int, memory: Memory, nbytes: int) -> str:
    """Take the contribution that lies in the lease's slot; returns why it cannot be seen, or nothing.

    Raises `PeerError` for an offer that is no vector of that size.
    """
    attached = member.vectors.get(lease.slot)
    if attached is None or attached.descriptor != descriptor:
        try:
            vector = memory.attach(member.join.pid, descriptor, nbytes)
        except Unshared as error:
            return str(error)
        attached = member.vectors[lease.slot] = Attached(descriptor, vector)
    round_.lend(lease.unit.shard, attached.vector)
    member.lent[lease.slot] = lease.unit.shard
    return ""


def has_free_slot(round_: Round | None, member: Member) -> bool:
    """Whether the member has a vector to compute in; what is in turn is summed, to give it back."""
    for slot, shard in list(member.lent.items()):
        if round_ is None or round_.absorb(shard):
            del member.lent[slot]
    return len(member.lent) < SLOTS


def free_slot(round_: Round | None, member: Member) -> int:
    """A slot the member may compute in: one that holds the version it will need, or is not lent.

    Where the round has borrowed both, one is copied.
    """
    if member.here is not None:
        return member.here[0]
    if not has_free_slot(round_, member):
        if round_ is not None:
            round_.keep(member.lent[0])
        del member.lent[0]
    return min(slot for slot in range(SLOTS) if slot not in member.lent)


def mirrors(members: Iterable[Member], version: int) -> list[HostArray]:
    """Vectors of idle members for the version that closes; each member is noted to have it there."""
    vectors = []
    for member in members:
        member.here = None
        if member.is_ready and member.vectors:
            slot = min(member.vectors)
            member.here = (slot, version)
            vectors.append(member.vectors[slot].vector)
        member.lent.clear()
    return vectors
