"""The master, as a state machine: messages, time and signals in, effects out.

It decides who is a member, when to wait, when to save and when the run is over; `fleet.py`, on which it
builds, decides about averaging servers, and `work.py` about units, rounds and weights. None must know
sockets, files, clocks or what a model computes; the same object runs behind a ROUTER socket and in a
simulated network.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

from paramserver.effects import Effect, Finished, Save, SendRows, Snapshot
from paramserver.fleet import Fleet
from paramserver.members import Member, refusal_of
from paramserver.pacing import Saving, Waiting
from paramserver.progress import Progress
from paramserver.served import Served
from paramserver.settings import Settings
from paramserver.work import Payloads
from ps_common import messages as m
from ps_common.errors import PeerError, TimedOut
from ps_common.job import Description
from ps_common.memory import Heap, Memory

TICK_S = 0.25  # how fine deadlines are kept; a fraction of the shortest promise


class Master(Fleet):
    """The master of one run.

    job: what to run. settings: how. run: its name. snapshot: where to go on from, None for a new run.
    memory: where vectors lie, and who else can see them. servers: addresses of those who average; none: the
    master does.
    """

    def __init__(
        self,
        job: Description,
        settings: Settings,
        run: str,
        now: float,
        snapshot: Snapshot | None = None,
        memory: Memory | None = None,
        servers: Sequence[str] = (),
    ) -> None:
        term = snapshot.term + 1 if snapshot else 1
        super().__init__(job, settings, run, term, memory or Heap(), servers, now)
        self.started_at: float | None = None  # when the first unit of this term was leased
        self.seconds_before = 0.0  # trained in earlier terms
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
            self._look_after_servers(now)
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
            pull_window=self.settings.pull_window,
            servers=self.exchange.servers,
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

    def _on_fetch(self, member: Member, message: m.Fetch, payloads: Payloads, now: float) -> None:
        _, shards = self.job.split(message.split)
        if message.shard >= shards.count:
            raise PeerError(f"there is no {message.split} shard {message.shard}")
        self._outbox.put(SendRows(member.sender, message))

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

    def _on_leave(self, member: Member, message: m.Leave, payloads: Payloads, now: float) -> None:
        self._outbox.note("leave", f"{member.name} left: {message.reason}", worker=member.name)
        self._drop(member)
        self._stop_if_drained(now)
        self._finish_if_alone(now)

    def _drop(self, member: Member) -> None:
        """A member is gone."""
        self._reset(member)
        if member.lent:
            self._left_lent[member.sender] = member.lent
        self.leasing.forget(member)
        self.members.remove(member)

    # -- waiting, saving, ending ----------------------------------------------------------------------

    @property
    def is_over(self) -> bool:
        return self._stop is not None

    @property
    def is_ending(self) -> bool:
        return self.is_over or self._wish is not None

    def _may_begin(self, now: float) -> bool:
        if self.started_at is not None:
            return True
        if len(self.members.idle) < self.settings.workers_min:
            return False
        self.started_at = now
        self._saving.start(now)
        here = f"{len(self.members)} of {self.settings.workers_min} workers here"
        self._outbox.note("start", f"{here}; {self._position()}")
        return True

    def _wait(self, now: float) -> None:
        """Wait for workers before the start, or when all are gone; say so, and give up after a while."""
        wanted = self.settings.workers_min if self.started_at is None else 1
        text = self._waiting.look(len(self.members), wanted, now)
        if text:
            self._outbox.note("waiting", text)
        if self._waiting.is_over(now):
            self._end(now, TimedOut.exit_code, self._waiting.last_words(len(self.members), wanted))

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
        vector = snapshot.vector
        if self.memory.place:  # where the processes of this machine can see it
            vector = self.memory.allocate(vector.nbytes)
            vector[...] = snapshot.vector
        self.exchange.begin(snapshot.layout, snapshot.version, vector)
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
        # Who is blocked now stays it; servers that are averaging soon have done so.
        is_drained = len(self._blocked()) == self.leasing.units_in_hand and not self._is_closing
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
        if isinstance(self.exchange, Served):
            self.exchange.stop(self._stop.reason)
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
