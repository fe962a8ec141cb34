"""The master, as a state machine: messages, time and signals in, effects out.

It decides who is a member, what a message changes, when a round is closed, when to save and when the
run is over. It must not know sockets, files, clocks or what a model computes; the same object runs behind
a ROUTER socket and in a simulated network.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

from paramserver.canonical import Canonical
from paramserver.effects import Effect, Finished, Outbox, Save, SendRows, Snapshot
from paramserver.gate import check_push, samples_of
from paramserver.leases import Lease, Stage
from paramserver.leasing import Leasing
from paramserver.lending import borrow, free_slot, has_free_slot, mirrors
from paramserver.members import Member, Members, failure_report, refusal_of
from paramserver.pacing import Saving, Waiting
from paramserver.progress import Progress, epoch_text
from paramserver.rounds import Round
from paramserver.settings import Settings
from ps_common import messages as m
from ps_common.errors import PeerError
from ps_common.job import Description
from ps_common.layout import Layout
from ps_common.memory import Heap, Memory
from ps_common.messages import NOT_SHARED
from ps_common.wire import checksum

TICK_S = 0.25  # how fine deadlines are kept; a fraction of the shortest promise
Payloads = Sequence[memoryview]


class Master:
    """The master of one run.

    job: what to run. settings: how. run: its name. snapshot: where to go on from, None for a new run.
    memory: where vectors lie, and who else can see them.
    """

    def __init__(
        self,
        job: Description,
        settings: Settings,
        run: str,
        now: float,
        snapshot: Snapshot | None = None,
        memory: Memory | None = None,
    ) -> None:
        self.job = job
        self.settings = settings
        self.run = run
        self.term = snapshot.term + 1 if snapshot else 1
        self.members = Members()
        self.progress = Progress()
        self.memory: Memory = memory or Heap()
        self.canonical = Canonical(settings, self.memory)
        self.leasing = Leasing(settings, self.term, f"{run} {now}")
        self.started_at: float | None = None  # when the first unit of this term was leased
        self.seconds_before = 0.0  # trained in earlier terms
        self._outbox = Outbox()
        self._round: Round | None = None
        self._awaited: dict[int, dict[bytes, None]] = {}  # open chunk -> who has asked for it, in order
        self._left_lent: dict[bytes, dict[int, int]] = {}  # slot -> shard, of workers lost in this round
        self._waiting = Waiting(settings, now)
        self._saving = Saving(settings, now)
        self._next_tick = now
        self._wish: m.Stop | None = None  # asked to stop: no more leases, and this when the units are in
        self._stop: m.Stop | None = None  # the run is over
        self._stop_deadline = math.inf
        self._is_finished = False
        self._back_by = -math.inf  # until then workers of the term before may say that they are still there
        if snapshot:
            self._back_by = now + settings.liveness_timeout_s
            self._resume(snapshot)

    # -- inputs ---------------------------------------------------------------------------------------

    def handle(self, sender: bytes, message: m.Message, payloads: Payloads, now: float) -> list[Effect]:
        """Take one message. A peer's mistake is refused with a note, and changes nothing."""
        member = self.members.get(sender)
        if member is not None:
            member.seen_at = now
        try:
            if self._stop is not None and not isinstance(message, m.Leave):
                self._outbox.send(sender, self._stop)  # whatever it is, it comes too late
            elif isinstance(message, m.Join):
                self._on_join(sender, message, now)
            elif member is not None:
                self._handler(message)(self, member, message, payloads, now)
            elif not isinstance(message, m.Leave):
                self._outbox.send(sender, m.Rejoin())
        except PeerError as error:
            self._reject(sender, error)
        self._assign(now)
        return self._outbox.take()

    def refuse(self, sender: bytes, error: PeerError) -> list[Effect]:
        """Something came from a peer that is no message, or asks for what does not exist."""
        self._reject(sender, error)
        return self._outbox.take()

    def tick(self, now: float) -> list[Effect]:
        """Let time pass: find the silent and the stuck, give up waiting, save what is due."""
        self._next_tick = now + TICK_S
        for member in self.members.silent_since(now - self.settings.liveness_timeout_s):
            text = f"{member.name} is lost: not heard of for {now - member.seen_at:.1f} s"
            self._outbox.note("loss", text, worker=member.name, urgent=True)
            self._drop(member)
        if self._stop is None:
            self._revoke_stuck(now)
            self._assign(now)
            self._wait(now)
            self._save_if_due(now)
            self._stop_if_drained(now)
        self._finish_if_alone(now)
        return self._outbox.take()

    def next_deadline(self) -> float:
        """When `tick` wants to be called, unless a message comes first."""
        return math.inf if self._is_finished else self._next_tick

    def stop(self, now: float, exit_code: int = 0, reason: str = "asked to stop") -> list[Effect]:
        """Lease nothing more; when the units in hand are in, save and send everyone home."""
        if self._wish is None and self._stop is None:
            self._wish = m.Stop(exit_code, reason)
            self._stop_deadline = now + self.settings.shutdown_timeout_s / 2
            in_hand = self.leasing.units_in_hand
            self._outbox.note(
                "stop", f"stopping ({reason}): waiting for {in_hand} units in hand", urgent=True
            )
            self._stop_if_drained(now)
        return self._outbox.take()

    # -- messages, in the order of the protocol -------------------------------------------------------

    def _on_join(self, sender: bytes, join: m.Join, now: float) -> None:
        member = self.members.get(sender)
        if member is None:
            refusal = refusal_of(join, self.job.code, len(self.members), self.settings, self.memory.place)
            if refusal is not None:
                self._outbox.send(sender, refusal)
                text = f"refused {join.name} of {join.host}: {refusal.reason}"
                self._outbox.note("refusal", text, urgent=True)
                return
            member = self.members.add(sender, join, now)
            member.lent = self._left_lent.pop(sender, {})
            text = f"{member.name} joined from {join.host} (pid {join.pid}, {join.device})"
            self._outbox.note("join", text, worker=member.name)
        elif member.last_lease > member.joined_lease:
            self._reset(member)  # it has begun anew
        member.last_lease = member.joined_lease = self.leasing.last_number
        welcome = m.Welcome(
            worker=member.name,
            run=self.run,
            term=self.term,
            job=self.job.to_plain(),
            heartbeat_interval_s=self.settings.heartbeat_interval_s,
            retry_s=self.settings.retry_s,
            pid=self.memory.pid,
            lease=member.last_lease,
            start=self.leasing.start,
            chunk_bytes=self.settings.chunk_bytes,
            window=self.settings.window,
        )
        self._outbox.send(sender, welcome)

    def _on_ready(self, member: Member, message: m.Ready, payloads: Payloads, now: float) -> None:
        lease = self.leasing.of(member)
        if lease is not None:
            member.version = message.version
            self._send_lease(member, lease)  # it was lost on its way
        elif message.lease >= member.last_lease:
            member.version, member.ahead, member.is_ready = message.version, -1, True
        elif member.settled != member.last_lease:  # it never had a lease that has ended since
            self._drop(member)
            self._outbox.send(member.sender, m.Rejoin())

    def _on_pull(self, member: Member, message: m.Pull, payloads: Payloads, now: float) -> None:
        lease = self.leasing.of(member)
        if message.version == self.progress.version:
            self._send_weights(member, message.chunks)
        elif self._round is not None and message.version == self.progress.version + 1:
            member.version, member.ahead = -1, message.version
            self._send_ahead(self._round, member.sender, message.chunks)
        elif lease is not None:  # it asks for a version gone by; its lease says what is wanted
            self._send_lease(member, lease)

    def _on_fetch(self, member: Member, message: m.Fetch, payloads: Payloads, now: float) -> None:
        _, shards = self.job.split(message.split)
        if message.shard >= shards.count:
            raise PeerError(f"there is no {message.split} shard {message.shard}")
        self._outbox.put(SendRows(member.sender, message))

    def _on_push(self, member: Member, message: m.Push, payloads: Payloads, now: float) -> None:
        lease = self.leasing.current(member, message.lease)
        if lease is None:
            self._settle(member, message.lease)
            return
        if lease.is_announced:  # something on its way was lost
            self._grant_again(member, lease)
            return
        try:
            sums = check_push(message, lease.unit, self.job)
            if lease.unit.kind == "initialise":
                self._round = self.canonical.propose(Layout.from_plain(message.layout))
        except PeerError as error:  # the same would come again: the unit has failed here
            self._reject(member.sender, error)
            self._outbox.send(member.sender, m.Accepted(lease.number, False, str(error)[:1000]))
            failed = m.Failed(lease.number, f"its contribution was refused: {error}", "", "", error.exit_code)
            self._count_failure(member, lease, failed, now)
            return
        self.leasing.renew(lease, lease.step + 1, now)
        lease.is_announced, lease.is_last, lease.sums = True, message.is_last, sums
        member.count_times(message)
        if self._round is not None:
            self._take_in(self._round, member, lease, message.descriptor)
        self._advance(member, lease, now)

    def _take_in(self, round_: Round, member: Member, lease: Lease, descriptor: int) -> None:
        """A contribution is ready: borrow it where it lies, or let it come in chunks."""
        why_not = "it shares none"
        if descriptor != NOT_SHARED and self._shares_memory_with(member):
            try:
                why_not = borrow(round_, member, lease, descriptor, self.memory, self.canonical.nbytes)
            except PeerError as error:  # its chunks may be right all the same
                why_not = str(error)
            if why_not:
                text = f"weights of {member.name} come over the network, not through memory: {why_not}"
                self._outbox.note("transport", text, worker=member.name, urgent=True)
        if why_not:
            round_.announce(lease.unit.shard, range(lease.grant))

    def _grant_again(self, member: Member, lease: Lease) -> None:
        chunks = self._round.granted(lease.unit.shard) if self._round else ()
        if chunks:
            self._outbox.send(member.sender, m.Grant(lease.number, chunks, self._is_last_call))

    def _send_grants(self) -> None:
        for shard, chunks in self._round.grants().items() if self._round else ():
            holder = self.leasing.of_shard(shard)
            self._outbox.send(holder.sender, m.Grant(holder.number, chunks, self._is_last_call))

    @property
    def _is_last_call(self) -> bool:
        """Whether who pushes now has nothing else to do in this round."""
        stage = self.leasing.stage
        return stage is not None and stage.kind == "train" and not stage.has_open

    def _on_chunk(self, member: Member, message: m.Chunk, payloads: Payloads, now: float) -> None:
        lease = self.leasing.current(member, message.lease)
        if lease is None or not lease.is_announced or self._round is None:
            return  # of a lease that has ended
        if checksum(payloads[0]) != message.checksum:
            raise PeerError(f"chunk {message.index} of {lease.unit} has a wrong checksum")
        self.leasing.renew(lease, lease.step + 1, now)
        if self._round.deliver(lease.unit.shard, message.index, payloads[0]):
            for sender in self._awaited.pop(message.index, ()):
                self._send_ahead(self._round, sender, (message.index,))
        self._advance(member, lease, now)

    def _on_heartbeat(self, member: Member, message: m.Heartbeat, payloads: Payloads, now: float) -> None:
        lease = self.leasing.current(member, message.lease)
        if lease is not None:
            self.leasing.renew(lease, message.step, now)
        elif message.lease:
            self._settle(member, message.lease)
        self._outbox.send(member.sender, m.Alive(self.term))

    def _on_failed(self, member: Member, message: m.Failed, payloads: Payloads, now: float) -> None:
        lease = self.leasing.current(member, message.lease)
        self._outbox.send(member.sender, m.Accepted(message.lease, False, "the failure is noted"))
        if lease is not None:
            self._count_failure(member, lease, message, now)

    def _count_failure(self, member: Member, lease: Lease, failed: m.Failed, now: float) -> None:
        """A unit has failed on a member: others may do better, and if not, the run ends."""
        unit, failures = lease.unit, self.leasing.failures_of(lease)
        failures.append(member.sender)
        self._release(member, lease)
        host, attempts = member.join.host, len(failures)
        text = f"{unit} failed on {member.name} ({host}), attempt {attempts}: {failed.error}"
        fields = {"worker": member.name, "host": host, "unit": str(unit), "error": failed.error}
        self._outbox.note("failure", text, urgent=True, **fields, traceback=failed.traceback, log=failed.log)
        is_hopeless = all(one.sender in failures for one in self.members)
        if attempts >= self.settings.attempts_max or is_hopeless:
            report = failure_report(member, str(unit), failed, attempts)
            self._outbox.note("report", report, urgent=True)
            self._end(now, failed.exit_code or 1, f"{unit} failed: {failed.error}")

    def _on_leave(self, member: Member, message: m.Leave, payloads: Payloads, now: float) -> None:
        self._outbox.note("leave", f"{member.name} left: {message.reason}", worker=member.name)
        self._drop(member)
        self._stop_if_drained(now)
        self._finish_if_alone(now)

    # -- units and rounds -----------------------------------------------------------------------------

    def _assign(self, now: float) -> None:
        """Give every idle worker a unit, as far as there are units and the run may go on."""
        if self._stop is not None or self._wish is not None:
            return
        stage = self.leasing.stage or self._begin_stage(now)
        if stage is None:
            return
        for member in self.members.ready() if stage.has_open else ():
            if not stage.has_open:
                return
            if self._has_place_for(member):
                in_order = not self._has_room(self.canonical.nbytes) and self.leasing.turn_is_open
                lease = self.leasing.give(member, self.members, self._free_grant(), in_order, now)
                if lease is not None:
                    self._place(member, lease)
                    self._send_lease(member, lease)
        if not self._has_room(self.settings.chunk_bytes) and self.leasing.turn_is_open:
            self._unblock(now)

    def _has_room(self, nbytes: int) -> bool:
        """Whether so much of a contribution may come before its turn."""
        return self._round is None or self._round.free_bytes >= nbytes

    def _has_place_for(self, member: Member) -> bool:
        """Whether a member can compute another unit: in a vector that is free, or that may be copied.

        That is always so where nobody works on the unit that is summed next: it ends the waiting.
        """
        is_free = has_free_slot(self._round, member)
        return is_free or self._has_room(self.canonical.nbytes) or self.leasing.turn_is_open

    def _unblock(self, now: float) -> None:
        """Give the unit that all wait for to one of those who wait; its own will be computed again."""
        for lease in sorted(self._blocked(), key=lambda lease: lease.unit.shard, reverse=True):
            member = self.members.get(lease.sender)
            if member is not None and self.leasing.may_try_next(member, self.members):
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
        stage, round_ = self.leasing.stage, self._round
        if stage is None or round_ is None or self._has_room(self.settings.chunk_bytes):
            return []
        return [lease for lease in stage.leases if round_.is_blocked(lease.unit.shard)]

    def _begin_stage(self, now: float) -> Stage | None:
        """Begin the stage that comes next; None where the run is over or workers are awaited."""
        stage = self.progress.next_stage(self.job)
        if stage is None:
            self._end(now, 0, "finished")
            return None
        if self.started_at is None:
            if len(self.members.idle) < self.settings.workers_min:
                return None
            self.started_at = now
            self._saving.start(now)
            here = f"{len(self.members)} of {self.settings.workers_min} workers here"
            self._outbox.note("start", f"{here}; {self._position()}")
        self.leasing.stage = stage
        if stage.kind == "train":
            samples = [self.job.schedule.samples(stage.round, shard) for shard in stage.units]
            self._round = self.canonical.new_round(tuple(stage.units), samples)
        return stage

    def _place(self, member: Member, lease: Lease) -> None:
        """Choose the vector of the worker that a unit is computed in."""
        lease.slot = free_slot(self._round, member)
        lease.is_here = member.here == (lease.slot, self.progress.version)
        if self._shares_memory_with(member):
            lease.descriptor = self.canonical.descriptor
        if lease.unit.kind != "evaluate":  # which leaves the weights as they are
            member.here = None

    def _shares_memory_with(self, member: Member) -> bool:
        return self.memory.place == member.join.place != ""

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
        )
        self._outbox.send(member.sender, message)
        if lease.is_pulled and version not in (-1, member.version, member.ahead):
            # the first chunks go along, to save a round trip
            self._send_weights(member, range(min(self.settings.window, self.canonical.chunks)))

    def _send_weights(self, member: Member, chunks: Sequence[int]) -> None:
        for index in chunks:
            part, number = self.canonical.chunk(index)
            self._outbox.send(member.sender, m.Weights(self.progress.version, index, number), part)

    def _send_ahead(self, round_: Round, to: bytes, chunks: Sequence[int]) -> None:
        """Send chunks of the next version as far as they are closed; the others follow when they are."""
        for index in chunks:
            found = self.canonical.next_chunk(round_, index)
            if found is None:
                self._awaited.setdefault(index, {})[to] = None
            else:
                part, number = found
                self._outbox.send(to, m.Weights(self.progress.version + 1, index, number), part)

    def _free_grant(self) -> int:
        """Chunks that may come unasked, if those of all units in hand may be held besides what is."""
        chunks = min(self.settings.window, self.canonical.chunks)
        nbytes = min(chunks * self.settings.chunk_bytes, self.canonical.nbytes)
        return chunks if self._has_room(nbytes * (self.leasing.units_in_hand + 1)) else 0

    def _advance(self, member: Member, lease: Lease, now: float) -> None:
        """A unit has come forward: ask for its next chunks, or settle it; the last one closes the stage."""
        self._send_grants()
        if self._round is not None and not self._round.is_delivered(lease.unit.shard):
            return
        if lease.unit.kind == "train":
            member.samples += samples_of(lease.unit, self.job)
        if lease.is_pulled:
            member.version = self.progress.version
        if lease.unit.kind == "evaluate":
            member.here = (lease.slot, self.progress.version)
        stage = self.leasing.finish(member, lease)
        if stage.is_done:
            self._close_stage(stage, now)
        self._assign(now)
        if not member.lease:  # otherwise the next lease tells it
            self._outbox.send(member.sender, m.Accepted(lease.number, True, ""))
        self._stop_if_drained(now)

    def _close_stage(self, stage: Stage, now: float) -> None:
        if self._round is not None:
            self.canonical.adopt(self._round, mirrors(self.members, stage.opens))
            self._left_lent.clear()
            for index, senders in self._awaited.items():
                for sender in senders:
                    self._send_ahead(self._round, sender, (index,))
            self._awaited.clear()
            self._round = None
        entry = self.progress.close(stage, self.job)
        self.leasing.stage = None
        if entry is not None:
            self._outbox.note("epoch", epoch_text(entry, self.job.plan.epochs), **entry)
        self._save_if_due(now)
        if self.progress.next_stage(self.job) is None:
            self._end(now, 0, "finished")

    def _settle(self, member: Member, number: int) -> None:
        """Tell a worker what became of a lease that is not, or no longer, its own."""
        counted = number == member.settled
        self._outbox.send(
            member.sender, m.Accepted(number, counted, "" if counted else "the lease has ended")
        )

    def _release(self, member: Member, lease: Lease) -> None:
        """End a lease without a contribution; what came of it stays, and its unit is open again."""
        if lease.unit.kind == "initialise":  # its layout was only proposed: the next one proposes its own
            self._round = None
            self.canonical.forget_proposal()
        elif self._round is not None:
            self._round.withdraw(lease.unit.shard)
        self.leasing.release(member, lease)
        self._send_grants()  # what was granted to it, others may send

    def _revoke_stuck(self, now: float) -> None:
        for member, lease in self.leasing.stuck(self.members, self._blocked(), now):
            why = f"no progress for {self.settings.lease_timeout_s:g} s"
            text = f"{lease.unit} is taken from {member.name}: {why}"
            self._outbox.note("release", text, worker=member.name, urgent=True)
            self._release(member, lease)

    def _reset(self, member: Member) -> None:
        """A member has nothing in hand any more: its unit is open again."""
        lease = self.leasing.of(member)
        if lease is not None:
            self._outbox.note("release", f"{lease.unit} of {member.name} is open again", worker=member.name)
            self._release(member, lease)
        member.is_ready, member.here = False, None

    def _drop(self, member: Member) -> None:
        """A member is gone."""
        self._reset(member)
        if member.lent:
            self._left_lent[member.sender] = member.lent
        self.leasing.forget(member)
        self.members.remove(member)

    def _reject(self, sender: bytes, error: PeerError) -> None:
        """A peer sent something wrong: say so, count it, go on."""
        member = self.members.get(sender)
        name = member.name if member else f"unknown peer {sender.hex()[:16]}"
        if member:
            member.rejections += 1
        text = f"refused a message of {name}: {error}"
        self._outbox.note("rejection", text, worker=name, reason=str(error), urgent=True)

    # -- waiting, saving, ending ----------------------------------------------------------------------

    def _wait(self, now: float) -> None:
        """Wait for workers before the start, or when all are gone; say so, and give up after a while."""
        wanted = self.settings.workers_min if self.started_at is None else 1
        text = self._waiting.look(len(self.members), wanted, now)
        if text:
            self._outbox.note("waiting", text)
        if self._waiting.is_over(now):
            self._end(now, 75, self._waiting.last_words(len(self.members), wanted))

    def snapshot(self) -> Snapshot | None:
        """The run as it stands at the last closed version; None before the weights are initialised."""
        layout, vector, progress = self.canonical.layout, self.canonical.vector, self.progress
        if layout is None or vector is None:
            return None
        return Snapshot(
            layout=layout,
            vector=vector,
            version=progress.version,
            run=self.run,
            term=self.term,
            job=self.job.to_plain(),
            job_digest=self.job.digest,
            samples=progress.samples,
            sums={name: list(values) for name, values in progress.sums.items()},
            history=[dict(entry) for entry in progress.history],
            seconds=self.seconds_before,
        )

    def _resume(self, snapshot: Snapshot) -> None:
        sums = {name: list(values) for name, values in snapshot.sums.items()}
        history = [dict(entry) for entry in snapshot.history]
        self.progress = Progress(snapshot.version, snapshot.samples, sums, history)
        self.seconds_before = snapshot.seconds
        self._saving.saved(snapshot.version, self._saving.saved_at)
        self.canonical.agree(snapshot.layout, snapshot.vector)
        self._outbox.put(
            Save(dataclasses.replace(snapshot, term=self.term))
        )  # the next start has the next term

    def _position(self) -> str:
        if self.progress.version <= 0:
            return "starting"
        return f"going on at round {self.progress.version} of {self.job.schedule.rounds}"

    def _save_if_due(self, now: float) -> None:
        if self._saving.is_due(self.progress.version, now):
            self._save(now)

    def _save(self, now: float) -> None:
        snapshot = self.snapshot()
        if snapshot is not None:
            self._saving.saved(snapshot.version, now)
            self._outbox.put(Save(snapshot))

    def _stop_if_drained(self, now: float) -> None:
        """Asked to stop: the run ends when the units in hand are in, or have taken too long."""
        if self._wish is None:
            return
        is_drained = len(self._blocked()) == self.leasing.units_in_hand  # who is blocked now stays it
        if is_drained or now >= self._stop_deadline:
            self._end(now, self._wish.exit_code, self._wish.reason)

    def _end(self, now: float, exit_code: int, reason: str) -> None:
        """The run is over: save, and send everyone home."""
        if self._stop is not None:
            return
        self._save(now)
        self._stop = m.Stop(exit_code, reason[:1000])
        self._stop_deadline = now + self.settings.shutdown_timeout_s / 2
        for member in self.members:
            self._outbox.send(member.sender, self._stop)
        self._finish_if_alone(now)

    def _finish_if_alone(self, now: float) -> None:
        is_alone = (not len(self.members) and now >= self._back_by) or now >= self._stop_deadline
        if self._stop is not None and is_alone and not self._is_finished:
            self._is_finished = True
            self._outbox.put(Finished(self._stop.exit_code, self._stop.reason))

    @staticmethod
    def _handler(message: m.Message) -> Callable[..., None]:
        handler = _HANDLERS.get(type(message))
        if handler is None:
            raise PeerError(f"{type(message).__name__} is not a worker's to send")
        return handler


_HANDLERS: dict[type[m.Message], Callable[..., None]] = {
    m.Ready: Master._on_ready,
    m.Pull: Master._on_pull,
    m.Fetch: Master._on_fetch,
    m.Push: Master._on_push,
    m.Chunk: Master._on_chunk,
    m.Heartbeat: Master._on_heartbeat,
    m.Failed: Master._on_failed,
    m.Leave: Master._on_leave,
}
