"""Who gets which unit, and when it is taken away again: the leases of the stage in progress."""

from paramserver.leases import Lease, Stage, choose_shard
from paramserver.members import Member, Members
from paramserver.settings import Settings
from ps_common.errors import PeerError

TERM_BITS = 32  # a lease's number is the master's term, then a count


class Leasing:
    """The leases of one stage after the other; times of the master's monotonic clock.

    term: which start of its master this is, so that numbers of different starts differ and grow.
    """

    def __init__(self, settings: Settings, term: int) -> None:
        self.stage: Stage | None = None
        self._settings = settings
        self._number = term << TERM_BITS
        self._holders: dict[tuple[str, int], set[bytes]] = {}  # (split, shard) -> who has its rows

    @property
    def units_in_hand(self) -> int:
        return len(self.stage.leases) if self.stage else 0

    def give(self, member: Member, members: Members, grant: int, now: float) -> Lease | None:
        """Lease an idle member the unit that suits it best; None where it had better wait."""
        stage = self.stage
        if stage is None:
            return None
        split = "test" if stage.kind == "evaluate" else "train"
        at_work = {one.sender for one in members if one.is_ready or one.lease}
        holders = {s: self._holders.get((split, s), set()) & at_work for s in stage.open_shards}
        mine = {s for s, senders in holders.items() if member.sender in senders}
        failed = {s for s, senders in stage.failures.items() if member.sender in senders}
        shard = choose_shard(stage.open_shards, mine, holders, failed)
        if shard is None:
            return None
        self._number += 1
        deadline = now + self._settings.lease_timeout_s
        lease = Lease(self._number, stage.units[shard], member.sender, now, deadline, grant)
        stage.begin(lease)
        member.lease, member.is_ready = lease.number, False
        if stage.kind != "initialise":
            self._holders.setdefault((split, shard), set()).add(member.sender)
        return lease

    def of(self, member: Member) -> Lease | None:
        """The lease in a member's hand."""
        return self.stage.lease(member.lease) if self.stage and member.lease else None

    def current(self, member: Member, number: int) -> Lease | None:
        """The lease in a member's hand, if it has this number; another one has ended."""
        lease = self.of(member)
        return lease if lease is not None and lease.number == number else None

    def of_shard(self, shard: int) -> Lease:
        """The lease of a shard that is leased."""
        lease = self.stage.lease_of_shard(shard) if self.stage else None
        if lease is None:
            raise AssertionError(f"shard {shard} is not leased")
        return lease

    def renew(self, lease: Lease, step: int, now: float) -> None:
        """The worker has come as far as `step`; progress moves the deadline, being alive does not."""
        if step > lease.step:
            lease.step = step
            lease.deadline = now + self._settings.lease_timeout_s

    def finish(self, member: Member, lease: Lease) -> Stage:
        """The contribution is in. Returns the stage it belongs to."""
        if self.stage is None:
            raise PeerError(f"{lease.unit} ended with its stage")
        self.stage.finish(lease)
        member.lease, member.settled, member.is_ready = 0, lease.number, True
        member.units += 1
        return self.stage

    def release(self, member: Member, lease: Lease) -> None:
        """End a lease without a contribution: its unit is open again."""
        member.lease = 0
        if self.stage is not None:
            self.stage.reopen(lease)

    def forget(self, member: Member) -> None:
        """A member is gone, and its rows with it."""
        for senders in self._holders.values():
            senders.discard(member.sender)

    def stuck(self, members: Members, now: float) -> list[tuple[Member, Lease]]:
        """Leases past their deadline, as many as there are idle members to take their units over."""
        idle = sum(member.is_ready for member in members)
        expired = self.stage.expired(now)[:idle] if self.stage else []
        holders = ((members.get(lease.sender), lease) for lease in expired)
        return [(member, lease) for member, lease in holders if member is not None]
