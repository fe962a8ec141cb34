"""The work of a run: which units are leased, how contributions become rounds, and how weights get about.

The half of the master's machine that knows stages, leases, rounds and weights. Who is a member, when the
run waits, saves and ends is the other half's (`machine.py`), which builds on this one.
"""

import abc
from collections.abc import Sequence

from paramserver import tolerance
from paramserver.accounting import AVERAGED, LEFT_OUT
from paramserver.averaging.canonical import Canonical
from paramserver.averaging.chunks import Chunks, Comer
from paramserver.effects import Averaged, Contribution, Outbox
from paramserver.exchange import Exchange
from paramserver.gate import check_push, samples_of
from paramserver.leases import Lease, Stage, Unit
from paramserver.leasing import Leasing
from paramserver.lending import borrow, free_slot, has_free_slot, let_go, mirrors
from paramserver.members import Member, Members
from paramserver.progress import Progress, epoch_text
from paramserver.quarantine import Quarantine
from paramserver.quota import Quota
from paramserver.said import Said
from paramserver.servers.served import Served
from paramserver.settings import Settings
from ps_common import messages as m
from ps_common.errors import NotFinite, Outlier, PeerError, UsageError, WrongChunk
from ps_common.job import Description
from ps_common.layout import Layout
from ps_common.memory import Memory
from ps_common.messages import NOT_SHARED

Payloads = Sequence[memoryview]


class Work(abc.ABC):
    """Units, rounds and weights of one run.

    run: its name. term: which start of its master this is. servers: addresses of those who average for the
    master; none: it averages itself.
    """

    def __init__(
        self, job: Description, settings: Settings, run: str, term: int, memory: Memory,
        servers: Sequence[str], now: float,
    ) -> None:  # fmt: skip
        self.run = run
        self.term = term
        self.job = job
        self.settings = settings
        self.memory = memory
        self.members = Members()
        self.progress = Progress()
        self.canonical = Canonical(settings, memory, rule=job.plan.rule)
        quota = Quota(tolerance.units_max(job, settings))
        self.leasing = Leasing(settings, term, f"{run} {now}", lambda unit: samples_of(unit, job), quota)
        self._outbox = Outbox()
        self.exchange: Exchange = Chunks(self.canonical, self._outbox)
        if servers:
            start = self.leasing.start
            given = (self.canonical, self._outbox, settings, memory, run, start, now, job.plan.rule)
            self.exchange = Served(servers, *given)
        self._is_closing = False  # every contribution of the stage is in, and servers are averaging
        self._left_lent: dict[bytes, dict[int, int]] = {}  # slot -> shard, of workers lost in this round
        self._refused: list[Contribution] = []  # in this round
        self._samples = Said()
        self.quarantine = Quarantine(settings.strikes_max)
        self._cut_at: dict[bytes, float] = {}  # those who are out -> when their connections are closed
        self._now = now  # as it was told last
        self._is_rule_told = not job.plan.rule.faulty

    # -- what the other half decides ------------------------------------------------------------------

    @property
    @abc.abstractmethod
    def is_ending(self) -> bool:
        """Whether no more units are leased."""

    @property
    @abc.abstractmethod
    def is_over(self) -> bool:
        """Whether everyone is being sent home."""

    @property
    @abc.abstractmethod
    def is_waiting(self) -> bool:
        """Whether so few workers are here that nothing is leased."""

    @abc.abstractmethod
    def _look_out(self, stage: Stage) -> None:
        """Units of a stage have been given: see to it that those that take too long are looked at."""

    @abc.abstractmethod
    def _may_begin(self, now: float) -> bool:
        """Whether enough workers are here to begin a stage."""

    @abc.abstractmethod
    def _refuse(self, member: Member, lease: Lease, error: PeerError, now: float) -> None:
        """A contribution is wrong: nothing more of it counts, and its unit is somebody else's."""

    @abc.abstractmethod
    def _refuse_wrong(self, now: float) -> None:
        """Refuse contributions that were found to be wrong when they were summed."""

    @abc.abstractmethod
    def _judge(self, stage: Stage, now: float) -> None:
        """All contributions of a stage were right: who has brought wrong ones to it was wrong."""

    @abc.abstractmethod
    def _save_if_due(self, now: float) -> None: ...

    @abc.abstractmethod
    def _stop_if_drained(self, now: float) -> None: ...

    @abc.abstractmethod
    def _end(self, now: float, exit_code: int, reason: str) -> None: ...

    # -- contributions and weights --------------------------------------------------------------------

    def _require_few(self, asked: Sequence[int]) -> None:
        """Raise `WrongChunk` for a request that no worker makes: each answer takes the master's time."""
        most = max(self.settings.window, self.settings.pull_window)
        if len(asked) > most:
            raise WrongChunk(f"a worker asks for at most {most} pieces at once, not for {len(asked)}")

    def _on_pull(self, member: Member, message: m.Pull, payloads: Payloads, now: float) -> None:
        self._require_few(message.chunks)
        lease, is_next = self.leasing.of(member), message.version == self.exchange.version + 1
        if self.exchange.pull(member.sender, message.version, message.chunks):
            if is_next:
                member.version, member.ahead = -1, message.version
        elif lease is not None:  # it asks for a version gone by; its lease says what is wanted
            self._send_lease(member, lease)

    def _on_push(self, member: Member, message: m.Push, payloads: Payloads, now: float) -> None:
        lease = self.leasing.current(member, message.lease)
        if lease is None:
            self._settle(member, message.lease)
            return
        if lease.is_announced:  # something on its way was lost, unless it waits for its turn
            if not self.exchange.is_blocked(lease.unit.shard):
                self.exchange.repeat(lease.unit.shard, self._is_last_call)
            return
        try:
            sums = check_push(message, lease.unit, self.job)
            if lease.unit.kind == "train" and self.job.has_open_samples:
                self._check_usual(member, lease.unit, message.samples)
            if lease.unit.kind == "initialise":
                self.exchange.propose(Layout.from_plain(message.layout))
        except PeerError as error:  # the same would come again: the unit has failed here
            lease.samples = message.samples
            self._refuse(member, lease, error, now)
            return
        self._outrun(lease)
        self.leasing.renew(lease, lease.step + 1, now)
        lease.is_announced, lease.is_last, lease.sums = True, message.is_last, sums
        lease.samples = self.leasing.note_announced(lease, message.samples)
        lease.offered = message.descriptor
        member.count_times(message)
        self._take_in(member, lease)
        self._advance(member, lease, now)

    def _check_usual(self, member: Member, unit: Unit, samples: int) -> None:
        """Name who says far more samples than others; raise `Outlier` where such are refused."""
        times = self._samples.times_usual(member.peer, samples)
        if times <= self.settings.outlier_factor:
            return
        text = f"{unit} of {member.name} says {samples} samples, {times:.3g} times as many as is usual"
        if self.settings.rejects_outliers:
            raise Outlier(text)
        self._outbox.note("outlier", text, urgent=True, worker=member.name, unit=str(unit))

    def _take_in(self, member: Member, lease: Lease) -> None:
        """A contribution is ready: borrow it where it lies, or let it come in chunks."""
        if self.exchange.round is None or not self.exchange.is_ready:
            return  # there are no weights to come, or they come when the servers are there
        why_not = "it shares none"
        if lease.offered != NOT_SHARED and self._shares_memory_with(member):
            try:
                why_not = borrow(
                    self.exchange, member, lease, self.memory, self.canonical.nbytes, self._said(lease)
                )
            except PeerError as error:  # its chunks may be right all the same
                why_not = str(error)
            if why_not:
                self._note_transport(member, why_not)
        member.transport = "tcp" if why_not else "shm"
        if why_not:
            self._let_come(lease)

    def _let_come(self, lease: Lease) -> None:
        """A contribution comes in chunks."""
        comer = Comer(lease.number, lease.sender, self._is_last_call, self._said(lease))
        self.exchange.announce(lease.unit.shard, comer, range(lease.grant))

    def _said(self, lease: Lease) -> int:
        """The samples of a contribution, where they were not known before; else 0."""
        return lease.samples if self.job.has_open_samples else 0

    def _note_transport(self, member: Member, why_not: str) -> None:
        text = f"weights of {member.name} come over the network, not through memory: {why_not}"
        self._outbox.note("transport", text, worker=member.name, urgent=True)

    @property
    def _is_last_call(self) -> bool:
        """Whether who pushes now has nothing else to do in this round."""
        stage = self.leasing.stage
        return stage is not None and stage.kind == "train" and not stage.has_open

    def _on_chunk(self, member: Member, message: m.Chunk, payloads: Payloads, now: float) -> None:
        lease = self.leasing.current(member, message.lease)
        if lease is None or not lease.is_announced:
            return  # of a lease that has ended
        try:
            self.exchange.take(lease.unit.shard, message, payloads[0])
        except (NotFinite, Outlier) as error:  # of the contribution, as opposed to the message
            self._refuse(member, lease, error, now)
            return
        self.leasing.renew(lease, lease.step + 1, now)
        self._advance(member, lease, now)

    # -- units and rounds -----------------------------------------------------------------------------

    def _assign(self, now: float) -> None:
        """Give every idle worker a unit, as far as there are units and the run may go on."""
        self._refuse_wrong(now)
        if self.is_ending or not self.exchange.is_ready:
            return
        stage = self.leasing.stage or self._begin_stage(now)
        if stage is None or self.is_waiting:
            return
        for member in self.members.ready() if stage.has_open else ():
            if not stage.has_open:
                return
            if self._has_place_for(member):
                in_order = not self._has_room(self.canonical.nbytes) and self.leasing.turn_is_open
                lease = self.leasing.give(member, self.members, self._free_grant(), in_order, now)
                if lease is not None:
                    lease.is_only = stage.kind == "train" and stage.open_count <= len(self.members.idle)
                    self._place(member, lease)
                    self._send_lease(member, lease)
        if not self._has_room(self.settings.chunk_bytes) and self.leasing.turn_is_open:
            self._unblock(now)
        self._look_out(stage)

    def _has_room(self, nbytes: int) -> bool:
        """Whether so much of a contribution may come before its turn."""
        free_bytes = self.exchange.free_bytes
        return free_bytes is None or free_bytes >= nbytes

    def _has_place_for(self, member: Member) -> bool:
        """Whether a member can compute another unit: in a vector that is free, or that may be copied.

        That is always so where nobody works on the unit that is summed next: it ends the waiting.
        """
        if has_free_slot(self.exchange, member):
            return True
        may_copy = self._has_room(self.canonical.nbytes) or self.leasing.turn_is_open
        return may_copy and self.exchange.may_keep(member.lent[0])

    def _unblock(self, now: float) -> None:
        """Give the unit that all wait for to one of those who wait; its own will be computed again."""
        for lease in sorted(self._blocked(), key=lambda lease: lease.unit.shard, reverse=True):
            member = self.members.get(lease.sender)
            if (
                member is not None
                and self.leasing.may_try_next(member, self.members)
                and self._has_place_for(member)
            ):
                self._release(member, lease)
                instead = self.leasing.give(member, self.members, 0, True, now)
                if instead is not None:
                    self._place(member, instead)
                    text = (
                        f"{lease.unit} of {member.name} makes way for {instead.unit}, which is summed first"
                    )
                    self._outbox.note("release", text, worker=member.name)
                    self._send_lease(member, instead)
                return

    def _blocked(self) -> list[Lease]:
        """Leases whose contributions are ready, and must wait for those that are summed before them."""
        stage = self.leasing.stage
        if stage is None or self._has_room(self.settings.chunk_bytes):
            return []
        return [lease for lease in stage.leases if self.exchange.is_blocked(lease.unit.shard)]

    def _outrun(self, lease: Lease) -> None:
        """A contribution is here: who else computes the same need not go on."""
        for rival in self.leasing.rivals(lease):
            member = self.members.get(rival.sender)
            if member is not None:
                self._outrun_by(member, rival, "another worker was faster")

    def _outrun_by(self, member: Member, lease: Lease, why: str) -> None:
        """A unit is wanted of a member no more."""
        self.leasing.outrun(member)
        self._release(member, lease)
        self._outbox.send(lease.sender, m.Accepted(lease.number, False, why))

    def _begin_stage(self, now: float) -> Stage | None:
        """Begin the stage that comes next; None where the run is over or workers are awaited."""
        stage = self.progress.next_stage(self.job)
        if stage is None or self._is_far_enough:
            self._end_here(now)
            return None
        if not self._may_begin(now):
            return None
        if stage.kind == "train" and not self._has_memory(now):
            return None
        self.leasing.begin(stage, now)
        if stage.kind == "train":
            samples = [samples_of(unit, self.job) for unit in stage.units.values()]
            self.exchange.open(tuple(stage.units), samples)
        return stage

    def _has_memory(self, now: float) -> bool:
        """Whether a robust rule has room for all of a round; once, it says what that is."""
        if not self._is_rule_told:
            self._is_rule_told = True
            self._outbox.note("rule", tolerance.told(self.job, self.settings, self.canonical.nbytes))
            why_not = tolerance.check_memory(self.job, self.settings, self.canonical.nbytes)
            is_here = self.exchange.is_shared  # as opposed to averaging servers on other machines
            if why_not and is_here:
                self._end(now, UsageError.exit_code, why_not)
        return not self.is_over

    def _place(self, member: Member, lease: Lease) -> None:
        """Choose the vector of the worker that a unit is computed in."""
        lease.slot = free_slot(self.exchange, member)
        lease.is_here = member.here == (lease.slot, self.progress.version)
        if self._shares_memory_with(member):
            lease.descriptor = self.canonical.descriptor
            lease.grant = 0  # its weights are expected to stay where they are
        if lease.unit.kind != "evaluate":  # which leaves the weights as they are
            member.here = None

    def _shares_memory_with(self, member: Member) -> bool:
        is_wanted = self.settings.transport != "tcp" and self.exchange.is_shared
        return is_wanted and self.memory.place == member.join.place != ""

    def _send_lease(self, member: Member, lease: Lease) -> None:
        unit, layout = lease.unit, self.canonical.layout
        version = -1 if unit.kind == "initialise" else self.progress.version
        message = m.Lease(
            lease=lease.number,
            kind=unit.kind,
            round=unit.round,
            shard=unit.shard,
            version=version,
            layout_digest=layout.digest if layout else "",
            grant=lease.grant,
            start=self.leasing.start,
            slot=lease.slot,
            is_here=lease.is_here,
            descriptor=lease.descriptor,
            is_only=lease.is_only,
        )
        self._outbox.send(member.sender, message)
        if lease.is_pulled and version not in (-1, member.version, member.ahead):
            # the first chunks go along, to save a round trip
            self.exchange.send_weights(member.sender, range(min(self.settings.window, self.canonical.chunks)))

    def _free_grant(self) -> int:
        """Chunks that may come unasked, if those of all units in hand may be held besides what is."""
        if self.exchange.servers:
            return 0  # nobody there knows of them
        chunks = min(self.settings.window, self.canonical.chunks)
        nbytes = min(chunks * self.settings.chunk_bytes, self.canonical.nbytes)
        return chunks if self._has_room(nbytes * (self.leasing.units_in_hand + 1)) else 0

    def _advance(self, member: Member, lease: Lease, now: float) -> None:
        """A unit has come forward: ask for its next chunks, or settle it; the last one closes the stage."""
        self.exchange.send_grants(self._is_last_call)
        if not self.exchange.is_delivered(lease.unit.shard):
            return
        if lease.unit.kind == "train":
            member.samples += lease.samples
        if lease.is_pulled:  # what is expected to be of no more use is gone
            member.version = -1 if lease.is_only else self.progress.version
        if lease.unit.kind == "evaluate":
            member.here = (lease.slot, self.progress.version)
        self._outrun(lease)
        stage = self.leasing.finish(member, lease, now)
        if stage.is_done:
            self._close_stage(stage, now)
        self._assign(now)
        if not member.lease:  # otherwise the next lease tells it
            self._outbox.send(member.sender, m.Accepted(lease.number, True, ""))
        self._stop_if_drained(now)

    def _close_stage(self, stage: Stage, now: float) -> None:
        """Every contribution of a stage is in: average the rest, and go on when that is done."""
        if self.exchange.round is not None:
            # Servers write mirrors only once: where something was wrong, that may have been already.
            self.exchange.finish(mirrors(self.members, None if stage.refusals else stage.opens))
        self._is_closing = True
        self._refuse_wrong(now)
        self._settle_stage(stage, now)

    def _settle_stage(self, stage: Stage, now: float) -> None:
        """What the stage brings about is the version, if everybody is done with it."""
        if not self._is_closing or (self.exchange.round is not None and not self.exchange.is_finished):
            return
        self._is_closing = False
        if stage.kind == "train" and self.settings.keeps_ledger:
            self._account(stage)
        if stage.kind == "train":
            self._note_outliers(stage)
        self.exchange.adopt()
        let_go(self.members)
        self._left_lent.clear()
        entry = self.progress.close(stage, self.job)
        self.leasing.stage = None
        if entry is not None:
            self._outbox.note("epoch", epoch_text(entry, self.job.plan.epochs), **entry)
        self._judge(stage, now)
        self._save_if_due(now)
        if self.progress.next_stage(self.job) is None or self._is_far_enough:
            self._end_here(now)

    @property
    def _is_far_enough(self) -> bool:
        until = self.settings.until_round
        return until is not None and self.progress.version >= until

    def _end_here(self, now: float) -> None:
        is_finished = self.progress.next_stage(self.job) is None
        self._end(now, 0, "finished" if is_finished else f"stopped after round {self.progress.version}")

    def _account(self, stage: Stage) -> None:
        """Say for the ledger what a round was made of."""
        units = []
        for (shard, unit), digest in zip(stage.units.items(), self.exchange.digests(), strict=True):
            worker, sender = stage.done_by[shard]
            samples = stage.samples[shard]
            units.append(Contribution(unit.round, shard, worker, sender.hex(), samples, digest, AVERAGED))
        for unit, worker, sender in stage.left_out.values():
            samples = samples_of(unit, self.job)
            units.append(Contribution(unit.round, unit.shard, worker, sender.hex(), samples, "", LEFT_OUT))
        self._outbox.put(Averaged(stage.opens, (*units, *self._refused)))
        self._refused.clear()

    def _note_outliers(self, stage: Stage) -> None:
        """Name who has moved the weights unusually far."""
        for shard in self.exchange.outliers():
            worker, _ = stage.done_by[shard]
            times = f"more than {self.settings.outlier_factor:g} times as far as is usual"
            text = f"{stage.units[shard]} of {worker} moves the weights {times}"
            self._outbox.note("outlier", text, urgent=True, worker=worker, unit=str(stage.units[shard]))

    def _settle(self, member: Member, number: int) -> None:
        """Tell a worker what became of a lease that is not, or no longer, its own."""
        counted = number == member.settled
        self._outbox.send(
            member.sender, m.Accepted(number, counted, "" if counted else "the lease has ended")
        )

    def _release(self, member: Member, lease: Lease) -> None:
        """End a lease without a contribution; what came of it stays, and its unit is open again."""
        if lease.unit.kind == "initialise":  # its layout was only proposed: the next one proposes its own
            self.exchange.drop()
        elif lease.is_announced:
            self._leave_unfinished(lease)
        self.leasing.release(member, lease)
        self.exchange.send_grants(self._is_last_call)  # what was granted to it, others may send

    def _leave_unfinished(self, lease: Lease) -> None:
        """What came of a contribution is of use to who brings the rest, unless it is blamed for it all."""
        shard, stage = lease.unit.shard, self.leasing.stage
        leave = self.exchange.take_back if self.settings.rejects_outliers else self.exchange.withdraw
        if not leave(shard) and stage is not None:
            stage.samples.pop(shard, None)

    def _reset(self, member: Member) -> None:
        """A member has nothing in hand any more: its unit is open again."""
        lease = self.leasing.of(member)
        if lease is not None:
            self._outbox.note("release", f"{lease.unit} of {member.name} is open again", worker=member.name)
            self._release(member, lease)
        member.is_ready, member.here = False, None
