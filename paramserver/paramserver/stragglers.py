"""What is done about units that take too long: somebody else takes them, too, or the round does without them.

The part of the master's machine between `judging.py`, on which it builds, and `fleet.py`. How long is too
long `racing.py` knows. A unit whose worker makes no progress at all is taken away.
"""

import math

from paramserver.gate import samples_of
from paramserver.judging import Judging
from paramserver.leases import Lease, Stage
from paramserver.members import Member

LOOK_AGAIN_S = 0.25  # at units that nobody could race


class Stragglers(Judging):
    """Work whose units are not waited for longer than they need."""

    @property
    def overdue_at(self) -> float:
        """When a unit will have taken so long that something is to be done about it."""
        stage = self.leasing.stage
        return math.inf if stage is None or self.is_over else stage.overdue_at

    def _look_after_the_slow(self, now: float) -> None:
        """Let time pass: nothing is left to give, and units that are out have taken too long."""
        stage = self.leasing.stage
        if stage is None or now < stage.overdue_at:
            return
        if not (stage.has_open or self.is_ending or self.is_waiting) and self.exchange.is_ready:
            self._close_without(stage, now)
            if self._may_race and self.leasing.stage is stage:
                self._race(stage, now)
        stage.overdue_at = max(self._next_overdue_at(), now + LOOK_AGAIN_S)

    def _look_out(self, stage: Stage) -> None:
        if stage.overdue_at == math.inf and not stage.has_open:
            stage.overdue_at = self._next_overdue_at()

    def _next_overdue_at(self) -> float:
        """When the next unit will have taken too long; never where nothing could be done about it."""
        can_race = self._may_race and self.members.idle
        if not can_race and self.job.plan.quorum == 1:
            return math.inf
        return min(map(self.leasing.overdue_at, self.leasing.raceable(self._blocked())), default=math.inf)

    @property
    def _may_race(self) -> bool:
        """Whether a unit gives the same whoever computes it."""
        return self.job.plan.optimizer_state != "local"

    def _race(self, stage: Stage, now: float) -> None:
        """Who has nothing to do takes the slowest units, too."""
        idle = {one.sender: one for one in self.members.ready() if self._has_place_for(one)}
        for lease in self.leasing.raceable(self._blocked()):
            if not idle or now < self.leasing.overdue_at(lease):
                break
            raced = self.leasing.race(lease, idle, self.members, self._free_grant(), now)
            if raced is not None:
                del idle[raced[0].sender]
                self._place(*raced)
                self._send_lease(*raced)
                self._name_the_slow(lease, raced[0], now)

    def _close_without(self, stage: Stage, now: float) -> None:
        """Close a round without the last units, if the plan's quorum is in and they take too long."""
        quorum = self.job.plan.quorum
        if quorum == 1 or stage.kind != "train":
            return
        here = len(stage.sums) + sum(lease.is_announced for lease in stage.leases)
        late = [one for one in self.leasing.raceable(()) if now >= self.leasing.overdue_at(one)]
        late = [one for one in late if one.unit.shard not in stage.announced]
        if not late or here < math.ceil(quorum * (len(stage.units) + len(stage.left_out))):
            return
        for lease in late:
            member = self.members.get(lease.sender)
            if member is not None:
                self._outrun_by(member, lease, "the round was closed without it")
                stage.leave_out(lease, member.name)
                what = f"{lease.unit} of {member.name}, which comes later"
                text = f"round {stage.version} is closed without {what}"
                self._outbox.note("left-out", text, worker=member.name, unit=str(lease.unit))
        self.exchange.leave_out(lease.unit.shard for lease in late)
        if stage.is_done:
            self._close_stage(stage, now)
            self._assign(now)

    def _name_the_slow(self, lease: Lease, spare: Member, now: float) -> None:
        """Say who is slow: not the first time, which may be chance, but the second, the fourth, ..."""
        member, unit = self.members.get(lease.sender), lease.unit
        if member is None:
            raise AssertionError(f"{unit} is leased to nobody who is here")
        member.raced += 1
        if member.raced > 1 and member.raced & (member.raced - 1) == 0:
            usual_s = self.leasing.times.median_s(unit.kind, samples_of(unit, self.job))
            took = f"{now - lease.given_at:.3g} s at {unit}, where {usual_s:.3g} s are usual"
            text = f"{member.name} ({member.join.host}) is slow: {took}; {spare.name} computes it, too"
            self._outbox.note("slow", text, worker=member.name, unit=str(unit), times=member.raced)

    def _revoke_stuck(self, now: float) -> None:
        for member, lease in self.leasing.stuck(self.members, self._blocked(), now):
            why = f"no progress for {self.settings.lease_timeout_s:g} s"
            text = f"{lease.unit} is taken from {member.name}: {why}"
            self._outbox.note("release", text, worker=member.name, urgent=True)
            self._release(member, lease)
