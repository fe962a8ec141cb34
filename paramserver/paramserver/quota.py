"""How many units of a round one worker may contribute, where workers are not trusted to be right.

A robust rule withstands so many faulty contributions, so a worker must not fill a round with its own. What
counts is what may be in the average: a unit in hand, and one of which anything may have come, whatever became
of its lease. Who takes a unit again takes no other one.
"""

import collections
from collections.abc import Hashable

from paramserver.members import Member


class Quota:
    """The units of the round in progress, by worker.

    units_max: of one worker; None: any number. A worker is its key, however many processes have it; without
    keys it is a process, which gets rid of what it has had by being started anew.
    """

    def __init__(self, units_max: int | None = None) -> None:
        self.units_max = units_max
        self._brought: dict[Hashable, set[int]] = collections.defaultdict(set)  # by worker: shards
        self._in_hand: dict[Hashable, list[int]] = collections.defaultdict(list)

    def begin(self) -> None:
        """A round begins: nothing of it is here, nor in anybody's hands."""
        self._brought.clear()
        self._in_hand.clear()

    def begin_anew(self) -> None:
        """What was here of the round is lost. Units in hand stay there."""
        self._brought.clear()

    def allows(self, member: Member, shard: int) -> bool:
        """Whether a member may take the unit of a shard."""
        if self.units_max is None:
            return True
        has = self._units_of(member)
        return shard in has or len(has) < self.units_max

    def is_used_up(self, member: Member) -> bool:
        """Whether a member may take none but those that it has had."""
        return self.units_max is not None and len(self._units_of(member)) >= self.units_max

    def take(self, member: Member, shard: int) -> None:
        """A member has got a unit."""
        if self.units_max is not None:
            self._in_hand[member.peer].append(shard)

    def give_back(self, member: Member, shard: int, is_announced: bool) -> None:
        """A unit is out of a member's hand; is_announced: something of it may have come."""
        if self.units_max is None:
            return
        worker = member.peer
        self._in_hand[worker].remove(shard)
        if not self._in_hand[worker]:
            del self._in_hand[worker]
        if is_announced:
            self._brought[worker].add(shard)

    def _units_of(self, member: Member) -> set[int]:
        worker = member.peer
        return {*self._brought.get(worker, ()), *self._in_hand.get(worker, ())}
