"""Units of one stage and who works on them: a table, and the rule that assigns a unit to an idle worker.

A stage is a set of units on one version of the weights: the one unit that initialises them, the
shards of a training round, or the shards of an evaluation. It closes on the set of its units, whoever
did them.
"""

import dataclasses
import math
from collections.abc import Hashable, Mapping, Sequence, Set

from ps_common.errors import PeerError
from ps_common.figures import SUMS_MAX
from ps_common.messages import NOT_SHARED


@dataclasses.dataclass(frozen=True)
class Unit:
    """A pure function to compute: kind "initialise", "train" or "evaluate"."""

    kind: str
    round: int
    shard: int

    def __str__(self) -> str:
        return (
            "initialise"
            if self.kind == "initialise"
            else f"{self.kind} round {self.round} shard {self.shard}"
        )


@dataclasses.dataclass
class Lease:
    """A unit in a worker's hands until `deadline`, which moves as long as the worker makes progress."""

    number: int
    unit: Unit
    sender: bytes
    deadline: float
    grant: int
    given_at: float = 0.0
    slot: int = 0  # which of the worker's vectors to compute in
    is_here: bool = False  # the version lies there already
    descriptor: int = NOT_SHARED  # of the segment that holds the version
    step: int = 0
    is_only: bool = False  # no other unit of the stage is expected for its worker
    is_announced: bool = False  # its Push is here
    offered: int = NOT_SHARED  # in it: the segment that the contribution lies in
    is_last: bool = False  # the worker takes no other after it
    samples: int = 0  # that the Push said
    sums: dict[str, list[float]] = dataclasses.field(default_factory=dict)  # that the Push brought

    @property
    def is_pulled(self) -> bool:
        """Whether the weights a unit begins with travel to the worker."""
        return not self.is_here and self.descriptor == NOT_SHARED


@dataclasses.dataclass(frozen=True)
class Refusal:
    """A contribution that was refused: of whom, by its name, and as what."""

    sender: bytes
    peer: Hashable  # as in quarantine.py
    worker: str
    error: PeerError


class Stage:
    """The units of one stage: open, leased or done.

    version: of the weights they begin with. rounds: by shard, of the schedule, where that is another number.
    """

    def __init__(
        self, kind: str, version: int, shards: Sequence[int], rounds: Mapping[int, int] | None = None
    ) -> None:
        self.number = 0  # of all stages of this master
        self.began_at = self.overdue_at = math.inf  # when units are looked at that take too long
        self.kind = kind
        self.version = version
        self.units = {shard: Unit(kind, rounds[shard] if rounds else version, shard) for shard in shards}
        self.left_out: dict[int, tuple[Unit, str, bytes]] = {}  # with name and sender of who had them
        self.announced: set[int] = set()  # shards of which anything may have come
        self._open = dict.fromkeys(shards)  # in order
        self._leases: dict[int, Lease] = {}  # by number
        self._by_shard: dict[int, list[Lease]] = {}  # more than one where a unit is raced
        self.failures: dict[int, list[bytes]] = {}  # shard -> senders that failed at it
        self.refusals: dict[int, list[Refusal]] = {}  # shard -> those among them that were refused
        self.raised: dict[int, set[Hashable]] = {}  # shard -> peers among them whose code raised
        self.samples: dict[int, int] = {}  # shard -> as the first of its contributions said
        self.sums: dict[int, dict[str, list[float]]] = {}  # shard -> metric sums, of units that are done
        self.done_by: dict[int, tuple[str, bytes]] = {}  # shard -> name and sender of who has done it

    @property
    def opens(self) -> int:
        """The version that closing this stage brings about."""
        return self.version + 1 if self.kind == "train" else self.version

    @property
    def is_done(self) -> bool:
        return len(self.sums) == len(self.units)

    @property
    def has_open(self) -> bool:
        return bool(self._open)

    @property
    def open_count(self) -> int:
        return len(self._open)

    def is_open(self, shard: int) -> bool:
        return shard in self._open

    @property
    def leased(self) -> int:
        """Number of units in workers' hands."""
        return len(self._leases)

    @property
    def open_shards(self) -> tuple[int, ...]:
        return tuple(self._open)

    @property
    def leases(self) -> tuple[Lease, ...]:
        return tuple(self._leases.values())

    def lease_of_shard(self, shard: int) -> Lease | None:
        """The lease whose contribution is announced, or else the first."""
        return max(self._by_shard.get(shard, ()), key=lambda lease: lease.is_announced, default=None)

    def rivals(self, lease: Lease) -> tuple[Lease, ...]:
        """The other leases of a lease's unit."""
        return tuple(one for one in self._by_shard.get(lease.unit.shard, ()) if one is not lease)

    def lease(self, number: int) -> Lease | None:
        return self._leases.get(number)

    def begin(self, lease: Lease) -> None:
        self._open.pop(lease.unit.shard, None)
        self._leases[lease.number] = lease
        self._by_shard.setdefault(lease.unit.shard, []).append(lease)

    def reopen(self, lease: Lease) -> None:
        """The lease ended without a contribution; the unit is open again, before units never tried.

        Unless somebody else has it, or has brought it.
        """
        self._end(lease)
        shard = lease.unit.shard
        if shard not in self._by_shard and shard not in self.sums:
            self._open = {shard: None, **self._open}

    def finish(self, lease: Lease, worker: str) -> None:
        """The lease's contribution is in, of the worker of this name."""
        self._end(lease)
        self.sums[lease.unit.shard] = lease.sums
        self.done_by[lease.unit.shard] = (worker, lease.sender)

    def leave_out(self, lease: Lease, name: str) -> None:
        """The stage is closed without a unit, which has been taken from who had it."""
        shard = lease.unit.shard
        self.left_out[shard] = (self.units.pop(shard), name, lease.sender)
        del self._open[shard]

    def reopen_settled(self, shard: int) -> tuple[str, bytes]:
        """A unit that was done was done wrong, and is open again; name and sender of who had done it."""
        del self.sums[shard]
        self._open = {shard: None, **self._open}
        return self.done_by.pop(shard)

    def reopen_done(self) -> int:
        """What was contributed is lost: units that were done are open again; how many."""
        count = len(self.sums)
        self._open = {**dict.fromkeys(sorted(self.sums)), **self._open}
        self.sums.clear()
        self.done_by.clear()
        return count

    def _end(self, lease: Lease) -> None:
        del self._leases[lease.number]
        leases = self._by_shard[lease.unit.shard]
        leases.remove(lease)
        if not leases:
            del self._by_shard[lease.unit.shard]

    def expired(self, now: float) -> list[Lease]:
        return [lease for lease in self._leases.values() if lease.deadline <= now]

    def total(self) -> dict[str, list[float]]:
        """The sums of all units, added in shard order."""
        totals: dict[str, list[float]] = {}
        for shard in sorted(self.sums):
            add_sums(totals, self.sums[shard])
        return totals


def add_sums(totals: dict[str, list[float]], sums: Mapping[str, Sequence[float]]) -> None:
    """totals += sums, name by name, of as many names as there may be: those that come first.

    Nobody is refused for names: whoever brings ever new ones would have all others refused.
    """
    for name, values in sums.items():
        if name not in totals and len(totals) >= SUMS_MAX:
            continue
        into = totals.setdefault(name, [0.0] * len(values))
        for i, value in enumerate(values):
            into[i] += value


def choose_shard(
    open_shards: Sequence[int],
    mine: set[int],
    holders: Mapping[int, set[bytes]],
    busy: Set[bytes] = frozenset(),
) -> int | None:
    """The open shard an idle worker should take, or None if it had better wait.

    Data moves as little as possible: first a shard whose data the worker holds, then one that no living
    worker holds, then one of a worker that has at least two units before it: open ones, and for those who are
    `busy` that in hand.
    """
    for shard in open_shards:
        if shard in mine:
            return shard
    for shard in open_shards:
        if not holders.get(shard):
            return shard
    waiting = dict.fromkeys(busy, 1)
    for shard in open_shards:
        for sender in holders[shard]:
            waiting[sender] = waiting.get(sender, 0) + 1
    for shard in reversed(open_shards):  # the one its holder would come to last
        if all(waiting[sender] >= 2 for sender in holders[shard]):
            return shard
    return None
