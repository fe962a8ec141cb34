"""Contributions that stay where they are: vectors of workers on this machine, lent to the round.

A worker has two vectors, its slots. While the round has borrowed one, the worker computes in the other;
what is summed is given back. When the round closes, the average is written into the vectors of idle
workers, and their next lease says that it is there. A worker writes only where its lease says, so what it
has lent is safe even when it is lost and comes back; and the memory of one that died stays mapped.
"""

from collections.abc import Iterable

from paramserver.averaging.rounds import Lent
from paramserver.exchange import Exchange
from paramserver.leases import Lease
from paramserver.members import Member
from ps_common.memory import Memory, Unshared

SLOTS = 2


def borrow(
    exchange: Exchange, member: Member, lease: Lease, memory: Memory, nbytes: int, samples: int = 0
) -> str:
    """Take the contribution that lies in the lease's slot; returns why it cannot be seen, or nothing.

    samples: that it counts as, where that was not known before. Raises `PeerError` for an offer that is no
    vector of that size.
    """
    lent, pid = member.vectors.get(lease.slot), member.join.pid
    if lent is None or lent.descriptor != lease.offered:
        try:
            vector = memory.attach(pid, lease.offered, nbytes)
        except Unshared as error:
            return str(error)
        lent = member.vectors[lease.slot] = Lent(pid, lease.offered, vector)
    exchange.lend(lease.unit.shard, lent, samples)
    member.lent[lease.slot] = lease.unit.shard
    return ""


def has_free_slot(exchange: Exchange, member: Member) -> bool:
    """Whether the member has a vector to compute in; what is in turn is summed, to give it back."""
    for slot, shard in list(member.lent.items()):
        if exchange.absorb(shard):
            del member.lent[slot]
    return len(member.lent) < SLOTS


def free_slot(exchange: Exchange, member: Member) -> int:
    """A slot the member may compute in: one that holds the version it will need, or is not lent.

    Where the round has borrowed both, one is copied.
    """
    if member.here is not None:
        return member.here[0]
    if not has_free_slot(exchange, member):
        exchange.keep(member.lent[0])
        del member.lent[0]
    return min(slot for slot in range(SLOTS) if slot not in member.lent)


def mirrors(members: Iterable[Member], version: int | None) -> list[Lent]:
    """Vectors of idle members for the version that closes; each member is noted to have it there.

    version: None: no vectors, and nobody is noted to have anything.
    """
    vectors = []
    for member in members:
        member.here = None
        if version is not None and member.is_ready and member.vectors:
            slot = min(member.vectors)
            member.here = (slot, version)
            vectors.append(member.vectors[slot])
    return vectors


def let_go(members: Iterable[Member]) -> None:
    """The round is over: nothing is lent any more."""
    for member in members:
        member.lent.clear()
