"""The master, as a state machine: messages, time and signals in, effects out.

It decides who is a member, who works on what, which bytes may come, when a round is closed, when to
save and when the run is over. It must not know sockets, files, clocks or what a model computes; the same
object runs behind a ROUTER socket and in a simulated network.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from paramserver.effects import Effect, Finished, Note, Save, Send, SendRows, Snapshot
from paramserver.leases import Lease, Stage, choose_shard
from paramserver.members import Member, Members
from paramserver.progress import Progress
from paramserver.rounds import Round, Vectors
from paramserver.settings import Settings
from ps_common import messages as m
from ps_common.arrays import HostArray
from ps_common.errors import PeerError
from ps_common.job import Description
from ps_common.layout import ChunkSpan, Layout
from ps_common.wire import checksum

TICK_S = 0.25  # how fine deadlines are kept; a quarter of the shortest promise
SUMS_MAX = 64  # metrics of a unit
TERM_BITS = 32  # a lease number is the master's term, then a count


class Master:
    """The master of one run.

    job: what to run. settings: how. run: its name. term: which start of its master this is.
    snapshot: where to go on from, None for a new run. is_free: whether nobody reads a vector any more.
    """

    def __init__(
        self,
        job: Description,
        settings: Settings,
        run: str,
        now: float,
        snapshot: Snapshot | None = None,
        is_free: Callable[[HostArray], bool] = lambda vector: True,
    ) -> None:
        self.job = job
        self.settings = settings
        self.run = run
        self.term = snapshot.term + 1 if snapshot else 1
        self.members = Members()
        self.progress = Progress()
        self.layout: Layout | None = None
        self.stage: Stage | None = None
        self.is_stopping = False
        self.started_at = now  # of training in this term; moves until the first unit is leased
        self.seconds_before = 0.0
        self._effects: list[Effect] = []
        self._is_free = is_free
        self._vectors: Vectors | None = None
        self._vector: HostArray | None = None  # the canonical weights
        self._spans: tuple[ChunkSpan, ...] = ()
        self._checksums: dict[int, int] = {}  # of the canonical weights' chunks, made when first sent
        self._round: Round | None = None
        self._holders: dict[tuple[str, int], set[bytes]] = {}  # (split, shard) -> who has its rows
        self._leases_given = 0
        self._has_started = False
        self._waiting_since: float | None = now  # None: there are workers enough
        self._here_shown = -1  # members at the last "waiting" note
        self._saved_at = now
        self._saved_version = -1
        self._next_tick = now
        self._stop: m.Stop | None = None
        self._stop_deadline = math.inf
        self._is_finished = False
        if snapshot:
            self._resume(snapshot)

    # -- inputs ---------------------------------------------------------------------------------------

    def handle(
        self, sender: bytes, message: m.Message, payloads: Sequence[memoryview], now: float
    ) -> list[Effect]:
        """Take one message. A peer's mistake is refused with a note, and changes nothing."""
        member = self.members.get(sender)
        try:
            if isinstance(message, m.Join):
                self._on_join(sender, message, now)
            elif member is None:
                if not isinstance(message, m.Leave):
                    self._send(sender, self._stop or m.Rejoin())
            else:
                member.seen_at = now
                handler = _HANDLERS.get(type(message))
                if handler is None:
                    raise PeerError(f"{type(message).__name__} is not a worker's to send")
                handler(self, member, message, payloads, now)
        except PeerError as error:
            self.reject(sender, error)
        self._assign(now)
        return self._take_effects()

    def reject(self, sender: bytes, error: PeerError) -> None:
        """A peer sent something wrong: say so, count it, go on."""
        member = self.members.get(sender)
        name = member.name if member else f"unknown peer {sender.hex()[:16]}"
        if member:
            member.rejections += 1
        self._note(
            "rejection", f"refused a message of {name}: {error}", worker=name, reason=str(error), urgent=True
        )

    def refuse_frames(self, sender: bytes, error: PeerError) -> list[Effect]:
        """Frames came that are no message."""
        self.reject(sender, error)
        return self._take_effects()

    def tick(self, now: float) -> list[Effect]:
        """Let time pass: find the silent and the stuck, give up waiting, save what is due."""
        self._next_tick = now + TICK_S
        for member in self.members.silent_since(now - self.settings.liveness_timeout_s):
            silence = f"not heard of for {now - member.seen_at:.1f} s"
            self._note("loss", f"{member.name} is lost: {silence}", worker=member.name, urgent=True)
            self._drop(member)
        if self._stop is not None:
            self._finish_if_alone(now)
            return self._take_effects()
        self._revoke_expired(now)
        self._assign(now)
        self._wait(now)
        self._save_if_due(now)
        if self.is_stopping:
            self._end_if_drained(now)
        return self._take_effects()

    def next_deadline(self) -> float:
        """When `tick` wants to be called, unless a message comes first."""
        return math.inf if self._is_finished else self._next_tick

    def stop(self, now: float, exit_code: int = 0, reason: str = "asked to stop") -> list[Effect]:
        """Lease nothing more; when the units in hand are done, save and send everyone home."""
        if not self.is_stopping and self._stop is None:
            self.is_stopping = True
            self._stop_deadline = now + self.settings.shutdown_timeout_s / 2
            self._note(
                "stop", f"stopping ({reason}): waiting for {self._units_in_hand()} units in hand", urgent=True
            )
            self._stop_reason = (exit_code, reason)
            self._end_if_drained(now)
        return self._take_effects()

    # -- messages, in the order of the protocol -------------------------------------------------------

    def _on_join(self, sender: bytes, join: m.Join, now: float) -> None:
        member = self.members.get(sender)
        if member is None:
            refusal = self._refusal(join)
            if refusal is not None:
                self._note("refusal", f"refused {join.name} of {join.host}: {refusal.reason}", urgent=True)
                self._send(sender, refusal)
                return
            member = self.members.add(sender, join, now)
            self._note(
                "join",
                f"{member.name} joined from {join.host} (pid {join.pid}, {join.device})",
                worker=member.name,
            )
        member.seen_at = now
        settings = self.settings
        self._send(
            sender,
            m.Welcome(
                worker=member.name,
                run=self.run,
                term=self.term,
                job=self.job.to_plain(),
                heartbeat_interval_s=settings.heartbeat_interval_s,
                retry_s=settings.retry_s,
                chunk_bytes=settings.chunk_bytes,
                window=settings.window,
            ),
        )

    def _refusal(self, join: m.Join) -> m.Refused | m.Stop | None:
        if join.protocol != m.PROTOCOL:
            return m.Refused(
                76,
                f"the master speaks protocol {m.PROTOCOL}, the worker {join.protocol}; "
                "install the same version of paramserver on both",
            )
        if join.job_code and join.job_code != self.job.code:
            return m.Refused(
                76,
                f"the worker was given another job: its file has SHA-256 {join.job_code[:12]}, the master's "
                f"{self.job.code[:12]}; start both from the same job file, or the worker without --job",
            )
        if self._stop is not None:
            return self._stop
        most = self.settings.workers_max
        if most is not None and len(self.members) >= most:
            return m.Refused(
                75, f"the run takes at most {most} workers and has them; try again when one has left"
            )
        return None

    def _on_ready(self, member: Member, message: m.Ready, payloads: Sequence[memoryview], now: float) -> None:
        if self._stop is not None:
            self._send(member.sender, self._stop)
            return
        member.version = message.version
        lease = self._lease_of(member)
        if lease is not None:
            self._send_lease(member, lease)  # it was lost on its way
        member.is_ready = lease is None

    def _on_pull(self, member: Member, message: m.Pull, payloads: Sequence[memoryview], now: float) -> None:
        if message.version != self.progress.version or self._vector is None:
            self._settle_stale(member)
            return
        self._send_weights(member, message.chunks)

    def _on_fetch(self, member: Member, message: m.Fetch, payloads: Sequence[memoryview], now: float) -> None:
        _, shards = self.job.split(message.split)
        if message.shard >= shards.count:
            raise PeerError(f"there is no {message.split} shard {message.shard}")
        self._effects.append(SendRows(member.sender, message))

    def _on_push(self, member: Member, message: m.Push, payloads: Sequence[memoryview], now: float) -> None:
        lease = self._lease_of(member)
        if lease is None or lease.number != message.lease:
            self._settle(member, message.lease)
            return
        sums = _checked_sums(message.sums)
        self._check_samples(lease, message.samples)
        self._renew(lease, lease.step + 1, now)
        stage = self._stage_of(lease)
        if stage.kind == "initialise" and self.layout is None:
            self._agree(Layout.from_plain(message.layout))
        shard = lease.unit.shard
        if self._round is not None:
            self._round.announce(shard, range(0 if lease.is_announced else lease.grant))
        if not lease.is_announced:
            lease.is_announced = True
            lease.sums = sums
            member.compute_s += message.compute_s
            member.wait_s += message.wait_s
            member.transfer_s += message.transfer_s
        self._advance(member, lease, now)

    def _on_chunk(self, member: Member, message: m.Chunk, payloads: Sequence[memoryview], now: float) -> None:
        lease = self._lease_of(member)
        if lease is None or lease.number != message.lease or not lease.is_announced or self._round is None:
            return  # of a lease that is settled or fenced
        if checksum(payloads[0]) != message.checksum:
            raise PeerError(f"chunk {message.index} of {lease.unit} has a wrong checksum")
        self._renew(lease, lease.step + 1, now)
        self._round.deliver(lease.unit.shard, message.index, payloads[0])
        self._advance(member, lease, now)

    def _on_heartbeat(
        self, member: Member, message: m.Heartbeat, payloads: Sequence[memoryview], now: float
    ) -> None:
        if self._stop is not None:
            self._send(member.sender, self._stop)
            return
        lease = self._lease_of(member)
        if message.lease and (lease is None or lease.number != message.lease):
            self._settle(member, message.lease)
        elif lease is not None and message.lease == lease.number:
            self._renew(lease, message.step, now)
        self._send(member.sender, m.Alive(self.term))

    def _on_failed(
        self, member: Member, message: m.Failed, payloads: Sequence[memoryview], now: float
    ) -> None:
        lease = self._lease_of(member)
        self._send(member.sender, m.Accepted(message.lease, False, "the failure is noted"))
        if lease is None or lease.number != message.lease:
            return
        stage, unit = self._stage_of(lease), lease.unit
        failures = stage.failures.setdefault(unit.shard, [])
        failures.append(member.sender)
        self._release(member, lease)
        self._note(
            "failure",
            f"{unit} failed on {member.name} ({member.join.host}), attempt {len(failures)}: {message.error}",
            worker=member.name,
            host=member.join.host,
            unit=str(unit),
            error=message.error,
            traceback=message.traceback,
            log=message.log,
            urgent=True,
        )
        if len(failures) >= min(self.settings.attempts_max, max(1, len(self.members))):
            self._report_failure(member, unit, message, len(failures))
            self._end(now, message.exit_code or 1, f"{unit} failed: {message.error}")

    def _on_leave(self, member: Member, message: m.Leave, payloads: Sequence[memoryview], now: float) -> None:
        self._note("leave", f"{member.name} left: {message.reason}", worker=member.name)
        self._drop(member)
        self._finish_if_alone(now)

    # -- leases ---------------------------------------------------------------------------------------

    def _assign(self, now: float) -> None:
        """Give every idle worker a unit, as far as there are units and the run may go on."""
        if self._stop is not None or self.is_stopping:
            return
        if self.stage is None and not self._begin_stage(now):
            return
        stage = self.stage
        if stage is None or not stage.open_shards:
            return
        for member in self.members:
            if member.is_ready and stage.open_shards:
                self._give(member, stage, now)

    def _give(self, member: Member, stage: Stage, now: float) -> None:
        split = "test" if stage.kind == "evaluate" else "train"
        alive = {s.sender for s in self.members if s.is_ready or s.lease}
        holders = {s: self._holders.get((split, s), set()) & alive for s in stage.open_shards}
        mine = {s for s, senders in holders.items() if member.sender in senders}
        failed = {s for s, senders in stage.failures.items() if member.sender in senders}
        shard = choose_shard(stage.open_shards, mine, holders, failed)
        if shard is None:
            return
        self._leases_given += 1
        number = (self.term << TERM_BITS) + self._leases_given
        deadline = now + self.settings.lease_timeout_s
        lease = Lease(number, stage.units[shard], member.sender, now, deadline, self._free_grant())
        stage.begin(lease)
        member.lease, member.is_ready = number, False
        if stage.kind != "initialise":
            self._holders.setdefault((split, shard), set()).add(member.sender)
        self._send_lease(member, lease)

    def _send_lease(self, member: Member, lease: Lease) -> None:
        unit = lease.unit
        version = -1 if unit.kind == "initialise" else self.progress.version
        digest = self.layout.digest if self.layout else ""
        self._send(
            member.sender,
            m.Lease(lease.number, unit.kind, unit.round, unit.shard, version, digest, lease.grant),
        )
        if version not in (-1, member.version):  # the first chunks go along, to save a round trip
            self._send_weights(member, range(min(self.settings.window, len(self._spans))))

    def _free_grant(self) -> int:
        """Chunks that may come unasked, if all members' together stay within what may be held."""
        chunks = min(self.settings.window, len(self._spans))
        nbytes = min(chunks * self.settings.chunk_bytes, self.layout.nbytes if self.layout else 0)
        return chunks if nbytes * len(self.members) <= self.settings.held_bytes else 0

    def _renew(self, lease: Lease, step: int, now: float) -> None:
        if step > lease.step:
            lease.step = step
            lease.deadline = now + self.settings.lease_timeout_s

    def _revoke_expired(self, now: float) -> None:
        """Take units from workers that make no progress, if there is somebody idle to take them."""
        if self.stage is None:
            return
        idle = sum(member.is_ready for member in self.members)
        for lease in self.stage.expired(now)[:idle]:
            member = self.members.get(lease.sender)
            if member is None:
                continue
            stuck = f"no progress for {self.settings.lease_timeout_s:g} s"
            self._note(
                "release",
                f"{lease.unit} is taken from {member.name}: {stuck}",
                worker=member.name,
                urgent=True,
            )
            self._release(member, lease)
            member.is_ready = False  # it is busy until it says Ready

    def _release(self, member: Member, lease: Lease) -> None:
        """End a lease without a contribution; its unit is open again."""
        member.lease = 0
        if self._round is not None:
            self._round.withdraw(lease.unit.shard)
        self._stage_of(lease).reopen(lease)

    def _drop(self, member: Member) -> None:
        """A member is gone: its unit is open again, and its rows are with it."""
        lease = self._lease_of(member)
        if lease is not None:
            self._note("release", f"{lease.unit} of {member.name} is open again", worker=member.name)
            self._release(member, lease)
        for senders in self._holders.values():
            senders.discard(member.sender)
        self.members.remove(member)

    def _settle(self, member: Member, number: int) -> None:
        """Tell a worker what became of a lease that is not, or no longer, its own."""
        counted = number == member.settled
        self._send(member.sender, m.Accepted(number, counted, "" if counted else "the lease has ended"))

    def _settle_stale(self, member: Member) -> None:
        """A worker pulls a version that is gone; if it has a lease, that says what to do."""
        lease = self._lease_of(member)
        if lease is not None:
            self._send_lease(member, lease)

    def _lease_of(self, member: Member) -> Lease | None:
        return self.stage.lease(member.lease) if self.stage is not None and member.lease else None

    def _stage_of(self, lease: Lease) -> Stage:
        if self.stage is None:
            raise AssertionError(f"{lease.unit} is leased, but there is no stage")
        return self.stage

    # -- rounds ---------------------------------------------------------------------------------------

    def _begin_stage(self, now: float) -> bool:
        """Begin the stage that comes next, if enough workers are here."""
        stage = self.progress.next_stage(self.job)
        if stage is None:
            self._end(now, 0, "finished")
            return False
        if not self._has_started:
            if sum(member.is_ready for member in self.members) < self.settings.workers_min:
                return False
            self._has_started = True
            self.started_at = now
            self._note(
                "start",
                f"{len(self.members)} of {self.settings.workers_min} workers here; {self._position()}",
            )
        self.stage = stage
        self._round = self._round_of(stage)
        return True

    def _round_of(self, stage: Stage) -> Round | None:
        if stage.kind != "train" or self._vectors is None:
            return None
        shards = tuple(stage.units)
        samples = [self.job.schedule.samples(stage.round, shard) for shard in shards]
        return self._new_round(shards, samples, self._vectors)

    def _new_round(self, shards: tuple[int, ...], samples: list[int], vectors: Vectors) -> Round:
        settings = self.settings
        budget = max(settings.held_bytes, self.layout.nbytes if self.layout else 0)
        return Round(shards, samples, self._spans, vectors.take(), settings.window, budget)

    def _agree(self, layout: Layout) -> None:
        """The layout is known: from the unit "initialise", or from a checkpoint."""
        self.layout = layout
        self._spans = layout.chunks(self.settings.chunk_bytes)
        self._vectors = Vectors(layout.nbytes, self._is_free)
        if self.progress.version < 0:
            self._round = self._new_round((0,), [1], self._vectors)

    def _advance(self, member: Member, lease: Lease, now: float) -> None:
        """A unit has come forward: ask for its next chunks, or settle it; the last one closes the stage."""
        if self._round is not None:
            for shard, chunks in self._round.grants().items():
                holder = next(one for one in self._stage_of(lease).leases if one.unit.shard == shard)
                self._send(holder.sender, m.Grant(holder.number, chunks))
            if not self._round.is_delivered(lease.unit.shard):
                return
        stage = self._stage_of(lease)
        stage.finish(lease, lease.sums)
        member.lease, member.settled, member.is_ready = 0, lease.number, True
        member.units += 1
        if lease.unit.kind == "train":
            member.samples += self.job.schedule.samples(lease.unit.round, lease.unit.shard)
        if stage.is_done:
            self._close_stage(stage, now)
        self._assign(now)
        if not member.lease:  # otherwise the next lease tells it
            self._send(member.sender, m.Accepted(lease.number, True, ""))
        if self.is_stopping:
            self._end_if_drained(now)

    def _close_stage(self, stage: Stage, now: float) -> None:
        if self._round is not None and self._vectors is not None:
            if self._vector is not None:
                self._vectors.retire(self._vector)
            self._vector, self._round = self._round.out, None
            self._checksums.clear()
        entry = self.progress.close(stage, self.job)
        self.stage = None
        self._note("round", "", kind=stage.kind, round=stage.round)
        if entry is not None:
            self._note("epoch", _epoch_text(entry, self.job.plan.epochs), **entry)
        self._save_if_due(now)
        if self.progress.next_stage(self.job) is None:
            self._end(now, 0, "finished")

    def _send_weights(self, member: Member, chunks: Sequence[int]) -> None:
        vector = self._vector
        if vector is None:
            return
        for index in chunks:
            if index >= len(self._spans):
                raise PeerError(f"there is no chunk {index}; the model has {len(self._spans)}")
            span = self._spans[index]
            part = vector[span.start : span.stop]
            if index not in self._checksums:
                self._checksums[index] = checksum(part.data)
            self._send(
                member.sender, m.Weights(self.progress.version, index, self._checksums[index]), (part,)
            )

    def _check_samples(self, lease: Lease, samples: int) -> None:
        unit = lease.unit
        if unit.kind == "train":
            expected = self.job.schedule.samples(unit.round, unit.shard)
        elif unit.kind == "evaluate" and self.job.test_shards is not None:
            expected = self.job.test_shards.size(unit.shard)
        else:
            expected = 0
        if samples != expected:
            raise PeerError(f"{unit} has {expected} samples, the contribution says {samples}")

    # -- waiting, saving, ending ----------------------------------------------------------------------

    def _wait(self, now: float) -> None:
        """Wait for workers before the start, or when all are gone; say so, and give up after a while."""
        here = len(self.members)
        wanted = 1 if self._has_started else self.settings.workers_min
        if here >= wanted:
            self._waiting_since = None
            return
        if self._waiting_since is None:
            self._waiting_since, self._here_shown = now, -1
        if here != self._here_shown:
            self._here_shown = here
            self._note("waiting", f"waiting for workers: {here} of {wanted} workers here")
        if now - self._waiting_since >= self.settings.wait_timeout_s:
            waited = f"{self.settings.wait_timeout_s:g} s"
            self._end(
                now, 75, f"{here} of {wanted} workers were here after {waited}; start more and try again"
            )

    def snapshot(self) -> Snapshot | None:
        """The run as it stands at the last closed version; None before the weights are initialised."""
        if self.layout is None or self._vector is None:
            return None
        progress = self.progress
        return Snapshot(
            layout=self.layout,
            vector=self._vector,
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
        self.progress = Progress(
            snapshot.version,
            snapshot.samples,
            {name: list(values) for name, values in snapshot.sums.items()},
            [dict(entry) for entry in snapshot.history],
        )
        self.seconds_before = snapshot.seconds
        self._saved_version = snapshot.version
        self._vector = snapshot.vector
        self._agree(snapshot.layout)

    def _save_if_due(self, now: float) -> None:
        settings, version = self.settings, self.progress.version
        rounds_due = (
            settings.checkpoint_every_rounds is not None
            and version - self._saved_version >= settings.checkpoint_every_rounds
        )
        time_due = (
            settings.checkpoint_every_s is not None and now - self._saved_at >= settings.checkpoint_every_s
        )
        if (rounds_due or time_due) and version > self._saved_version:
            self._save(now)

    def _save(self, now: float) -> None:
        snapshot = self.snapshot()
        if snapshot is not None:
            self._saved_at, self._saved_version = now, snapshot.version
            self._effects.append(Save(snapshot))

    def _end_if_drained(self, now: float) -> None:
        if self._stop is None and (self._units_in_hand() == 0 or now >= self._stop_deadline):
            self._end(now, *self._stop_reason)

    def _end(self, now: float, exit_code: int, reason: str) -> None:
        """The run is over: save, and send everyone home."""
        if self._stop is not None:
            return
        self._save(now)
        self._stop = m.Stop(exit_code, reason[:1000])
        self._stop_deadline = now + self.settings.shutdown_timeout_s / 2
        for member in self.members:
            self._send(member.sender, self._stop)
        self._finish_if_alone(now)

    def _finish_if_alone(self, now: float) -> None:
        if (
            self._stop is not None
            and not self._is_finished
            and (not len(self.members) or now >= self._stop_deadline)
        ):
            self._is_finished = True
            self._effects.append(Finished(self._stop.exit_code, self._stop.reason))

    def _report_failure(self, member: Member, unit: object, message: m.Failed, attempts: int) -> None:
        text = (
            f"{unit} failed {attempts} times and ends the run\n"
            f"  worker: {member.name} on {member.join.host} (pid {member.join.pid}, {member.join.device})\n"
            f"  log: {message.log or 'the standard error of that worker'}\n"
            f"  exit code: {message.exit_code}\n{message.traceback.rstrip()}"
        )
        self._note("report", text, urgent=True)

    # -- small things ---------------------------------------------------------------------------------

    def _units_in_hand(self) -> int:
        return len(self.stage.leases) if self.stage else 0

    def _position(self) -> str:
        if self.progress.version <= 0:
            return "starting"
        return f"going on at round {self.progress.version} of {self.job.schedule.rounds}"

    def _send(self, to: bytes, message: m.Message, payloads: Sequence[HostArray] = ()) -> None:
        self._effects.append(Send(to, message, payloads))

    def _note(self, event: str, text: str, urgent: bool = False, **fields: Any) -> None:
        self._effects.append(Note(event, text, fields, urgent))

    def _take_effects(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects


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


def _checked_sums(sums: Any) -> dict[str, list[float]]:
    """Metric sums of a contribution: a few short lists of finite numbers by name. Raises `PeerError`."""
    if not isinstance(sums, dict) or len(sums) > SUMS_MAX:
        raise PeerError(f"metric sums are a dict of at most {SUMS_MAX} entries")
    for name, values in sums.items():
        if not (isinstance(name, str) and isinstance(values, list) and len(values) == 2):
            raise PeerError("metric sums are pairs of numbers by name")
        if not all(type(value) is float and math.isfinite(value) for value in values) or values[1] <= 0:
            raise PeerError(f"the metric sums of {name} are not two finite numbers, the second positive")
    return sums


def _epoch_text(entry: dict[str, Any], epochs: int) -> str:
    values = "  ".join(f"{name} {value:.4f}" for name, value in entry.items() if isinstance(value, float))
    return f"epoch {entry['epoch']} of {epochs}: {values}"
