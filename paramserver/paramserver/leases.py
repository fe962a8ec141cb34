"""Units of one stage and who works on them: a table, and the rule that assigns a unit to an idle worker.

A stage is a set of units on one version of the weights: the one unit that initialises them, the
shards of a training round, or the shards of an evaluation. It closes on the set of its units, whoever
did them.
"""

import dataclasses
from collections.abc import Mapping, Sequence

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
    slot: int = 0  # which of the worker's vectors to compute in
    is_here: bool = False  # the version lies there already
    descriptor: int = NOT_SHARED  # of the segment that holds the version
    step: int = 0
    is_only: bool = False  # no other unit of the stage is expected for its worker
    is_announced: bool = False  # its Push is here
    offered: int = NOT_SHARED  # in it: the segment that the contribution lies in
    is_last: bool = False  # the worker takes no other after it
    sums: dict[str, list[float]] = dataclasses.field(default_factory=dict)  # that the Push brought

    @property
    def is_pulled(self) -> bool:
        """Whether the weights a unit begins with travel to the worker."""
        return not self.is_here and self.descriptor == NOT_SHARED


class Stage:
    """The units of one stage: open, leased or done."""

    def __init__(self, kind: str, round_: int, shards: Sequence[int]) -> None:
        self.kind = kind
        self.round = round_
        self.units = {shard: Unit(kind, round_, shard) for shard in shards}
        self._open = dict.fromkeys(shards)  # in order
        self._leases: dict[int, Lease] = {}  # by number
        self._by_shard: dict[int, Lease] = {}
        self.failures: dict[int, list[bytes]] = {}  # shard -> senders that failed at it
        self.sums: dict[int, dict[str, list[float]]] = {}  # shard -> metric sums, of units that are done

    @property
    def opens(self) -> int:
        """The version that closing this stage brings about."""
        return self.round + 1 if self.kind == "train" else self.round

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
        return self._by_shard.get(shard)

    def lease(self, number: int) -> Lease | None:
        return self._leases.get(number)

    def begin(self, lease: Lease) -> None:
        del self._open[lease.unit.shard]
        self._leases[lease.number] = lease
        self._by_shard[lease.unit.shard] = lease

    def reopen(self, lease: Lease) -> None:
        """The lease ended without a contribution; the unit is open again, before units never tried."""
        self._end(lease)
        self._open = {lease.unit.shard: None, **self._open}

    def finish(self, lease: Lease) -> None:
        """The lease's contribution is in."""
        self._end(lease)
        self.sums[lease.unit.shard] = lease.sums

    def reopen_done(self) -> int:
        """What was contributed is lost: units that were done are open again; how many."""
        count = len(self.sums)
        self._open = {**dict.fromkeys(sorted(self.sums)), **self._open}
        self.sums.clear()
        return count

    def _end(self, lease: Lease) -> None:
        del self._leases[lease.number]
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
    """totals += sums, name by name."""
    for name, values in sums.items():
        into = totals.setdefault(name, [0.0] * len(values))
        for i, value in enumerate(values):
            into[i] += value


def choose_shard(
    open_shards: Sequence[int],
    mine: set[int],
    holders: Mapping[int, set[bytes]],
    failed_by_me: set[int],
) -> int | None:
    """The open shard an idle worker should take, or None if it had better wait.

    Data moves as little as possible: first a shard whose data the worker holds, then one that no living
    worker holds, then one of a worker that has at least two open units waiting. A unit that the worker
    has failed at comes last, for others may do better.
    """
    candidates = [s for s in open_shards if s not in failed_by_me] or list(open_shards)
    for shard in candidates:
        if shard in mine:
            return shard
    for shard in candidates:
        if not holders.get(shard):
            return shard
    waiting: dict[bytes, int] = {}
    for shard in candidates:
        for sender in holders[shard]:
            waiting[sender] = waiting.get(sender, 0) + 1
    for shard in reversed(candidates):  # the one its holder would come to last
        if all(waiting[sender] >= 2 for sender in holders[shard]):
            return shard
    return None
