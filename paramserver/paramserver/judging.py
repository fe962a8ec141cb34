"""What is done about what is wrong: who is told, whose strike it is, who is out, and when a unit is hopeless.

The part of the master's machine between `work.py`, on which it builds, and `stragglers.py`. What is wrong the
gate knows, and whoever takes in messages and chunks; who has how many strikes `quarantine.py`.
"""

import abc

from paramserver import tolerance
from paramserver.accounting import refused
from paramserver.effects import Contribution, Cut
from paramserver.leases import Lease, Refusal, Stage, Unit
from paramserver.members import Member, failure_report
from paramserver.quarantine import STRANGERS, is_noted
from paramserver.work import Work
from ps_common import messages as m
from ps_common.errors import DataError, NotAuthorised, NotFinite, Outlier, PeerError

CUT_AFTER_S = 1.0  # a worker that is sent away hears why before its connection is closed
DIVERGES = (
    "training diverges: lower the learning rate, clip the gradients, or look for huge numbers in the data"
)
DIFFERS = "this shard may differ from the others: give --reject-outliers a larger FACTOR, or leave it out"


class Judging(Work):
    """Work whose workers may be wrong."""

    @abc.abstractmethod
    def _drop(self, member: Member) -> None:
        """A member is gone."""

    # -- contributions --------------------------------------------------------------------------------

    def _refuse(self, member: Member, lease: Lease, error: PeerError, now: float) -> None:
        """A contribution is wrong: nothing more of it counts, and its unit is somebody else's.

        It may be the fault of the job, which every worker computes alike. So it is no strike before another
        worker's contribution to the unit is averaged.
        """
        unit, stage = lease.unit, self._stage
        self._outbox.send(member.sender, m.Accepted(lease.number, False, str(error)[:1000]))
        if lease.is_announced and unit.kind != "initialise" and not self.exchange.take_back(unit.shard):
            stage.samples.pop(unit.shard, None)
        self._release(member, lease)
        self._note_refused(unit, (member.name, member.sender), lease.samples, error, now)

    def _refuse_wrong(self, now: float) -> None:
        """Refuse contributions that were found to be wrong when they were summed."""
        for shard, error in self.exchange.take_wrong().items():
            lease = self._stage.lease_of_shard(shard)
            member = self.members.get(lease.sender) if lease is not None else None
            if lease is not None and lease.is_announced and member is not None:
                self._refuse(member, lease, error, now)
            elif shard in self._stage.sums:
                self._refuse_settled(shard, error, now)
            else:  # of a worker that is gone
                self.exchange.take_back(shard)

    def _refuse_settled(self, shard: int, error: PeerError, now: float) -> None:
        """The same of a contribution that is in: its unit is open again."""
        stage = self._stage
        unit, samples = stage.units[shard], stage.samples[shard]
        self._is_closing = False
        for one in self.members:
            one.here = None  # what was to be mirrored
            if not self.exchange.servers:  # which may read on for a moment
                one.lent = {slot: lent for slot, lent in one.lent.items() if lent != shard}
        who = stage.reopen_settled(shard)
        member = self.members.find(who[1])
        if member is not None:
            member.units -= 1
            member.samples -= samples if unit.kind == "train" else 0
        if unit.kind == "initialise":
            self.exchange.drop()
        elif not self.exchange.take_back(shard):
            stage.samples.pop(shard, None)
        self._note_refused(unit, who, samples, error, now)

    def _note_refused(
        self, unit: Unit, who: tuple[str, bytes], samples: int, error: PeerError, now: float
    ) -> None:
        """Tell, count and remember that a contribution was refused, whoever brought it may be gone."""
        stage, (name, sender) = self._stage, who
        peer = self.members.peer_of(sender)
        is_again = {one.peer for one in stage.refusals.get(unit.shard, ())} == {peer}
        self._reject(sender, error, is_strike=is_again)  # who does no better must not go on for ever
        if unit.kind == "train" and self.settings.keeps_ledger:
            verdict = refused(error)
            self._refused.append(
                Contribution(unit.round, unit.shard, name, sender.hex(), samples, "", verdict)
            )
        refusal = Refusal(sender, peer, name, error)
        stage.refusals.setdefault(unit.shard, []).append(refusal)
        failed = m.Failed(0, f"its contribution was refused: {error}", "", "", error.exit_code)
        self._note_failure(stage, unit, sender, name, failed)
        member = self.members.get(sender)
        if member is not None and self._is_hopeless(stage, unit.shard):
            self._give_up_unit(stage, unit, member, failed, now)

    @property
    def _stage(self) -> Stage:
        if self.leasing.stage is None:
            raise AssertionError("a contribution of no stage")
        return self.leasing.stage

    def _on_failed(self, member: Member, message: m.Failed, payloads: object, now: float) -> None:
        lease, stage = self.leasing.current(member, message.lease), self.leasing.stage
        self._outbox.send(member.sender, m.Accepted(message.lease, False, "the failure is noted"))
        if lease is None or stage is None:
            return
        unit = lease.unit
        raised = stage.raised.setdefault(unit.shard, set())
        raised.add(member.peer)
        self._release(member, lease)
        self._note_failure(stage, unit, member.sender, member.name, message)
        enough = 2 if message.exit_code == DataError.exit_code else self.settings.attempts_max
        if len(raised) >= enough or self._is_hopeless(stage, unit.shard):
            self._end_of_unit(stage, unit, member, message, now)

    def _note_failure(self, stage: Stage, unit: Unit, sender: bytes, name: str, failed: m.Failed) -> None:
        """A unit has failed on a worker: others may do better."""
        failures = stage.failures.setdefault(unit.shard, [])
        failures.append(sender)
        member = self.members.get(sender)
        host = member.join.host if member is not None else "gone"
        text = f"{unit} failed on {name} ({host}), attempt {len(failures)}: {failed.error}"
        fields = {"worker": name, "host": host, "unit": str(unit), "error": failed.error}
        self._outbox.note("failure", text, urgent=True, **fields, traceback=failed.traceback, log=failed.log)

    def _is_hopeless(self, stage: Stage, shard: int) -> bool:
        """Whether everybody who is here and may take it has failed at a unit.

        Where that may be the few who are expected to be wrong, it is no reason to give up.
        """
        failures = stage.failures.get(shard, ())
        able = [one for one in self.members if self.leasing.is_able(stage, one, shard)]
        if not all(one.sender in failures for one in able):
            return False
        failed = {self.members.peer_of(sender) for senders in stage.failures.values() for sender in senders}
        return len(failed) > tolerance.faulty_workers(self.job, self.settings)

    def _give_up_unit(self, stage: Stage, unit: Unit, member: Member, failed: m.Failed, now: float) -> None:
        """Whoever is here has failed at a unit, and the last one's contribution was refused."""
        refusals = stage.refusals[unit.shard]
        liars = [one for one in self.members if self.quarantine.strikes(one.peer, now)]
        if len(liars) == len(self.members):  # shown to be wrong before: they say nothing about the job
            self._strike(member, refusals[-1].error, now)
            return
        who = ", ".join(dict.fromkeys(one.worker for one in refusals))
        if any(isinstance(one.error, Outlier) for one in refusals):
            failed = m.Failed(0, f"every contribution is an outlier (of {who}): {DIFFERS}", "", "", 1)
        elif any(isinstance(one.error, NotFinite) for one in refusals):
            failed = m.Failed(0, f"no contribution is finite (of {who}): {DIVERGES}", "", "", 1)
        self._end_of_unit(stage, unit, member, failed, now)

    def _end_of_unit(self, stage: Stage, unit: Unit, member: Member, failed: m.Failed, now: float) -> None:
        """A unit fails whoever computes it, and ends the run."""
        report = failure_report(member, str(unit), failed, len(stage.failures[unit.shard]))
        self._outbox.note("report", report, urgent=True)
        self._end(now, failed.exit_code or 1, f"{unit} failed: {failed.error}")

    def _judge(self, stage: Stage, now: float) -> None:
        """All contributions of a stage were right: who has brought wrong ones to it was wrong.

        Unless more were wrong than right: then it may be the weights that they began with, which somebody
        has made so that nobody else can train on them.
        """
        wrong = {refusal.peer for refusals in stage.refusals.values() for refusal in refusals}
        right = {self.members.peer_of(sender) for _, sender in stage.done_by.values()}
        if len(wrong) > len(right):
            return
        for refusals in stage.refusals.values():
            for refusal in refusals:
                member = self.members.get(refusal.sender)
                if member is not None:
                    self._strike(member, refusal.error, now)
                else:
                    self.quarantine.strike(refusal.peer, str(refusal.error), now)

    # -- strikes --------------------------------------------------------------------------------------

    def _reject(self, sender: bytes, error: PeerError, is_strike: bool = True) -> None:
        """A peer sent something wrong: say so, count it, go on."""
        member = self.members.get(sender)
        name = member.name if member else f"unknown peer {sender.hex()[:16]}"
        count = self.quarantine.count(error.kind, member.name if member else STRANGERS)
        if is_noted(count):
            text = f"refused a message of {name}: {error}"
            fields = {"worker": name, "kind": error.kind, "reason": str(error), "times": count}
            self._outbox.note("rejection", text, urgent=True, **fields)
        if member is None:
            return
        member.rejections += 1
        if error.is_strike and is_strike:
            self._strike(member, error, self._now)
        else:
            self._tell_rejected(member, error, self._now)

    def _strike(self, member: Member, error: PeerError, now: float) -> None:
        """A member was wrong, and it was its own fault: the last strike is one too many."""
        is_out = self.quarantine.strike(member.peer, str(error), now)
        self._tell_rejected(member, error, now)
        if is_out:
            self._expel(member, now)

    def _accuse(self, key: str, error: PeerError, now: float) -> None:
        """Something wrong came with a key, under an identity that says nothing about who sent it."""
        count = self.quarantine.count(error.kind, key)
        if is_noted(count):
            fields = {"worker": key, "kind": error.kind, "reason": str(error), "times": count}
            self._outbox.note("rejection", f"refused a message of {key}: {error}", urgent=True, **fields)
        member = next((one for one in self.members if one.key == key), None)
        if member is not None:
            self._strike(member, error, now)
        else:
            self.quarantine.strike(key, str(error), now)

    def _tell_rejected(self, member: Member, error: PeerError, now: float) -> None:
        strikes = self.quarantine.strikes(member.peer, now)
        rejected = m.Rejected(error.kind, str(error)[:1000], strikes, self.settings.strikes_max)
        self._outbox.send(member.sender, rejected)

    def _expel(self, member: Member, now: float) -> None:
        """A member is out, and all others of its key: its units go to others, and the run goes on."""
        why = self.quarantine.why_out(member.peer)
        for one in [one for one in self.members if one.peer == member.peer]:
            text = f"{one.name} of {one.join.host} is quarantined after {why}"
            self._outbox.note("quarantine", text, urgent=True, worker=one.name, reason=why)
            self._drop(one)
            self._turn_away(one.sender, why, now)
        self._stop_if_drained(now)

    def _turn_away(self, sender: bytes, why: str, now: float) -> None:
        """Tell a peer that it is out, and cut it off when it has heard that."""
        reason = f"this worker is quarantined after {why}"
        self._outbox.send(sender, m.Refused(NotAuthorised.exit_code, reason[:1000]))
        self._cut_at.setdefault(sender, now + CUT_AFTER_S)

    def _cut_off(self, now: float) -> None:
        """Let time pass: close the connections of those who have heard that they are out."""
        for sender in [sender for sender, at in self._cut_at.items() if now >= at]:
            del self._cut_at[sender]
            self._outbox.put(Cut(sender))
