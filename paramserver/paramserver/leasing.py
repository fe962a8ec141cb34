"""Who gets which unit, and when it is taken away again: the leases of the stage in progress."""

import itertools
import math
from collections.abc import Callable, Collection, Mapping, Sequence

from paramserver.leases import Lease, Stage, Unit, choose_shard
from paramserver.members import Member, Members
from paramserver.quota import Quota
from paramserver.racing import UnitTimes
from paramserver.settings import Settings
from ps_common.errors import PeerError
from ps_common.wire import checksum

SITS_OUT_MAX = 32  # stages; then the member may show whether it is fast again
TERM_BITS = 32  # a lease's number is the master's term, then a count that begins somewhere


class Leasing:
    """The leases of one stage after the other; times of the master's monotonic clock.

    term: which start of its master this is, so that numbers of different starts differ and grow.
    start: anything that differs from start to start, for a term that was never saved comes again.
    samples_of: the size of a unit. quota: on the units of a round that one worker makes.
    """

    def __init__(
        self,
        settings: Settings,
        term: int,
        start: str = "",
        samples_of: Callable[[Unit], int] = lambda unit: 1,
        quota: Quota | None = None,
    ) -> None:
        self.stage: Stage | None = None
        self.units_lost = 0  # contributed, and lost with an averaging server
        self.moved_at = -math.inf  # when there was a step of progress, on whichever unit
        self.times = UnitTimes(settings)
        self.quota = quota or Quota()
        self._samples_of = samples_of
        self._settings = settings
        first = checksum(start.encode()) >> (65 - TERM_BITS)  # in the lower half: there is room to count
        self.start = self._number = (term << TERM_BITS) + first
        self._stages = 0
        self._most_samples = 0  # of a unit of the stage
        self._others, self._counted_at = 0, (0, -math.inf)  # at work who need not sit out, and when that was
        self._holders: dict[tuple[str, int], set[bytes]] = {}  # (split, shard) -> who has its rows
        self._own: dict[tuple[str, bytes], set[int]] = {}  # (split, sender) -> whose rows it has

    def begin(self, stage: Stage, now: float) -> None:
        """A stage begins."""
        self._stages += 1
        self.stage, stage.number, stage.began_at = stage, self._stages, now
        self._most_samples = max(map(self._samples_of, stage.units.values()), default=0)
        self.quota.begin()

    @property
    def last_number(self) -> int:
        """The number of the last lease that was given."""
        return self._number

    @property
    def units_in_hand(self) -> int:
        return self.stage.leased if self.stage else 0

    def give(self, member: Member, members: Members, grant: int, in_order: bool, now: float) -> Lease | None:
        """Lease an idle member the unit that suits it best; None where it had better wait.

        in_order: there is no room for a contribution that comes before its turn, so the unit that is
        summed first goes first, wherever its data lies.
        """
        stage = self.stage
        if stage is None or (not in_order and self._sits_out(stage, member, members, now)):
            return None
        is_free = not in_order and not self._is_used_up(stage, member)
        own = self._own_open(stage, member) if is_free else None
        if own is None and is_free and not stage.failures:
            own = self._first_unheld(stage, members, now)
        if own is not None:
            return self._lease(stage, own, member, grant, now)
        at_work = _at_work(members)
        shards = [s for s in stage.open_shards if self._may_try(stage, s, member, members, at_work)]
        if in_order:
            shard = min(shards, default=None)
        else:
            untried = [s for s in shards if member.sender not in stage.failures.get(s, ())]
            shard = self._suitable(stage, untried or shards, member, members, at_work, now)
        return None if shard is None else self._lease(stage, shard, member, grant, now)

    def _sits_out(self, stage: Stage, member: Member, members: Members, now: float) -> bool:
        """Whether others are so much faster that they had better take what is left: it was outrun of late.

        Not where more is left than they can take soon, nor where they do not get on.
        """
        if stage.number >= member.sits_out_until:
            return False
        if self._counted_at != (stage.number, now):  # once for all who wait
            self._counted_at = (stage.number, now)
            self._others = sum(
                stage.number >= one.sits_out_until and (one.is_ready or one.lease > 0) for one in members
            )
        limit_s = self.times.limit_s(stage.kind, self._most_samples)
        return stage.open_count <= 2 * self._others and now < stage.began_at + 4 * limit_s

    def _own_open(self, stage: Stage, member: Member) -> int | None:
        """The first open shard whose rows the member has, unless somebody has failed at it."""
        own = self._own.get((_split_of(stage), member.sender), ())
        return min((s for s in own if stage.is_open(s) and s not in stage.failures), default=None)

    def _first_unheld(self, stage: Stage, members: Members, now: float) -> int | None:
        """The first open shard whose rows nobody has who gets on, found without a look at all the others."""
        split = _split_of(stage)
        for shard in stage.open_shards:
            holders = map(members.get, self._holders.get((split, shard), ()))
            if not any(self._gets_on(one, now) for one in holders):
                return shard
        return None

    def _gets_on(self, member: Member | None, now: float) -> bool:
        """Whether a member will come soon for units whose rows it has: that in its hand is not overdue."""
        lease = None if member is None else self.of(member)
        return now < self.overdue_at(lease) if lease is not None else member is not None and member.is_ready

    def may_try_next(self, member: Member, members: Members) -> bool:
        """Whether a member may take the open unit that is summed first."""
        stage = self.stage
        if stage is None:
            return False
        return self._may_try(stage, min(stage.open_shards), member, members, _at_work(members))

    def _may_try(
        self, stage: Stage, shard: int, member: Member, members: Members, at_work: set[bytes]
    ) -> bool:
        """Who has failed at a unit leaves it to those who have not, while there are any who may take it."""
        if not self.is_able(stage, member, shard):
            return False
        failed = stage.failures.get(shard, ())
        return member.sender not in failed or self._who_may(stage, shard, members, at_work).issubset(failed)

    def _who_may(self, stage: Stage, shard: int, members: Members, at_work: set[bytes]) -> set[bytes]:
        """Those at work who may take a unit, now or when they have made theirs."""
        if self.quota.units_max is None:
            return at_work
        found = ((sender, members.get(sender)) for sender in at_work)
        return {sender for sender, one in found if one is not None and self.is_able(stage, one, shard)}

    def is_able(self, stage: Stage, member: Member, shard: int) -> bool:
        """Whether a member may be given a unit at all, now or later in the stage.

        Where each may make so many and no more, others cannot relieve one that fails for ever: it stops.
        """
        if self.quota.units_max is None or stage.kind != "train":
            return True
        tries = list(stage.failures.get(shard, ())).count(member.sender)
        return tries < self._settings.attempts_max and self.quota.allows(member, shard)

    def _is_used_up(self, stage: Stage, member: Member) -> bool:
        return stage.kind == "train" and self.quota.is_used_up(member)

    def is_held_up(self, members: Members) -> bool:
        """Whether units are left that nobody here may take: all have made as many as they may."""
        stage = self.stage
        if stage is None or self.quota.units_max is None or stage.kind != "train" or not stage.has_open:
            return False
        return not any(self.is_able(stage, one, shard) for one in members for shard in stage.open_shards)

    def _suitable(
        self, stage: Stage, shards: Sequence[int], member: Member, members: Members, at_work: set[bytes],
        now: float,
    ) -> int | None:  # fmt: skip
        """The shard that moves the least data."""
        split = _split_of(stage)
        holders = {s: self._who_come(stage, s, members, at_work, now) for s in shards}
        mine = {s for s in shards if member.sender in self._holders.get((split, s), ())}
        # Who has no rows yet has come to help; another one waits for its own to be open again.
        busy = frozenset() if self._own.get((split, member.sender)) else {one.sender for one in stage.leases}
        return choose_shard(shards, mine, holders, busy)

    def _who_come(
        self, stage: Stage, shard: int, members: Members, at_work: set[bytes], now: float
    ) -> set[bytes]:
        """Who has a shard's rows and will come for it: not who has failed at it, or does not get on."""
        having = self._holders.get((_split_of(stage), shard), set())
        able = (having & self._who_may(stage, shard, members, at_work)).difference(
            stage.failures.get(shard, ())
        )
        return {sender for sender in able if self._gets_on(members.get(sender), now)}

    def _lease(self, stage: Stage, shard: int, member: Member, grant: int, now: float) -> Lease:
        self._number += 1
        deadline = now + self._settings.lease_timeout_s
        lease = Lease(self._number, stage.units[shard], member.sender, deadline, grant, now)
        stage.begin(lease)
        self.quota.take(member, shard)
        member.lease = member.last_lease = lease.number
        member.is_ready = False
        if stage.kind != "initialise":
            self._holders.setdefault((_split_of(stage), shard), set()).add(member.sender)
            self._own.setdefault((_split_of(stage), member.sender), set()).add(shard)
        return lease

    def of(self, member: Member) -> Lease | None:
        """The lease in a member's hand."""
        return self.stage.lease(member.lease) if self.stage and member.lease else None

    def current(self, member: Member, number: int) -> Lease | None:
        """The lease in a member's hand, if it has this number; another one has ended."""
        lease = self.of(member)
        return lease if lease is not None and lease.number == number else None

    def renew(self, lease: Lease, step: int, now: float) -> None:
        """The worker has come as far as `step`; progress moves the deadline, being alive does not."""
        if step > lease.step:
            lease.step, self.moved_at = step, now
            lease.deadline = now + self._settings.lease_timeout_s

    def rivals(self, lease: Lease) -> tuple[Lease, ...]:
        """The other leases of a lease's unit."""
        return self.stage.rivals(lease) if self.stage else ()

    def note_announced(self, lease: Lease, samples: int) -> int:
        """Something of a unit may have come from now on. Returns of how many samples it counts as.

        Those that were said first: the average may have begun with them. Where units are pure functions
        that makes no difference.
        """
        if self.stage is None:
            return samples
        self.stage.announced.add(lease.unit.shard)
        return self.stage.samples.setdefault(lease.unit.shard, samples)

    def finish(self, member: Member, lease: Lease, now: float) -> Stage:
        """The contribution is in. Returns the stage it belongs to."""
        if self.stage is None:
            raise PeerError(f"{lease.unit} ended with its stage")
        self.times.count(lease.unit.kind, self._samples_of(lease.unit), now - lease.given_at)
        self.stage.finish(lease, member.name)
        self.quota.give_back(member, lease.unit.shard, is_announced=True)
        member.lease, member.settled, member.is_ready = 0, lease.number, not lease.is_last
        member.units += 1
        member.outrun_in_a_row = 0
        return self.stage

    def release(self, member: Member, lease: Lease) -> None:
        """End a lease without a contribution: its unit is open again."""
        member.lease = 0
        if self.stage is not None:
            self.stage.reopen(lease)
            self.quota.give_back(member, lease.unit.shard, lease.is_announced)

    def reopen_done(self, stage: Stage) -> None:
        """What was contributed is lost with an averaging server: the round begins anew."""
        self.units_lost += stage.reopen_done()
        self.quota.begin_anew()

    def overdue_at(self, lease: Lease) -> float:
        """From when on somebody else may take a lease's unit, too."""
        return lease.given_at + self.times.limit_s(lease.unit.kind, self._samples_of(lease.unit))

    def raceable(self, blocked: Collection[Lease]) -> list[Lease]:
        """Leases of units nobody else has, the most overdue first, but for those that wait their turn."""
        stage = self.stage
        if stage is None or stage.kind == "initialise" or not self.times.has(stage.kind):
            return []
        waiting = {one.number for one in blocked}
        alone = [one for one in stage.leases if one.number not in waiting and not stage.rivals(one)]
        return sorted(alone, key=self.overdue_at)

    def race(
        self, lease: Lease, idle: Mapping[bytes, Member], members: Members, grant: int, now: float
    ) -> tuple[Member, Lease] | None:
        """Lease a unit to one of the `idle`, too: to one that has its rows, or the first that may try."""
        stage = self.stage
        if stage is None:
            return None
        shard = lease.unit.shard
        at_work = _at_work(members) if shard in stage.failures else set()
        having = idle.keys() & self._holders.get((_split_of(stage), shard), set())
        in_order = itertools.chain(sorted(map(idle.__getitem__, having), key=_by_join), idle.values())
        chosen = next((one for one in in_order if self._may_try(stage, shard, one, members, at_work)), None)
        return None if chosen is None else (chosen, self._lease(stage, shard, chosen, grant, now))

    def forgive(self, seconds: float) -> None:
        """Nobody was listened to for so long."""
        self.moved_at += seconds
        for lease in self.stage.leases if self.stage else ():
            lease.deadline += seconds

    def outrun(self, member: Member) -> None:
        """Somebody else was faster: the more often in a row, the longer the member sits out."""
        member.outrun += 1
        member.outrun_in_a_row += 1
        number = self.stage.number if self.stage else 0
        member.sits_out_until = number + min(2 ** (member.outrun_in_a_row - 1), SITS_OUT_MAX)

    def forget(self, member: Member) -> None:
        """A member is gone, and its rows with it."""
        for split in ("train", "test"):
            for shard in self._own.pop((split, member.sender), ()):
                self._holders[split, shard].discard(member.sender)

    @property
    def turn_is_open(self) -> bool:
        """Whether nobody works on the unit that is summed next."""
        stage = self.stage
        if stage is None or not stage.has_open:
            return False
        return min(stage.open_shards) < min((one.unit.shard for one in stage.leases), default=math.inf)

    def stuck(self, members: Members, blocked: Collection[Lease], now: float) -> list[tuple[Member, Lease]]:
        """Leases past their deadline, as many as there are members to take their units over.

        blocked: leases whose contributions wait for their turn. Their time does not run, and their workers
        can do something else.
        """
        for lease in blocked:
            lease.deadline = now + self._settings.lease_timeout_s
        free = len(members.idle) + len(blocked)
        expired = self.stage.expired(now)[:free] if self.stage else []
        holders = ((members.get(lease.sender), lease) for lease in expired)
        return [(member, lease) for member, lease in holders if member is not None]


def _by_join(member: Member) -> int:
    return member.number


def _at_work(members: Members) -> set[bytes]:
    return {one.sender for one in members if one.is_ready or one.lease}


def _split_of(stage: Stage) -> str:
    return "test" if stage.kind == "evaluate" else "train"
