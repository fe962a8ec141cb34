"""The master, as a state machine: messages, time and signals in, effects out.

It decides who is a member, when to wait, when to save and when the run is over; `orders.py`, on which it
builds, decides about orders, `fleet.py` about averaging servers, `stragglers.py` about units that take too
long, `judging.py` about workers that are wrong, and `work.py` about units, rounds and weights. None must know
sockets, files, clocks or what a model computes; the same object runs behind a ROUTER socket and in a
simulated network.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

from paramserver.askers import STRANGER, Asker
from paramserver.effects import Effect, Finished, Save, SendRows, Snapshot, Unwatch, Watch
from paramserver.farewell import Farewell
from paramserver.members import LAST_WORDS_S, Member, refusal_of
from paramserver.orders import Orders
from paramserver.pacing import Saving, Waiting
from paramserver.progress import Progress
from paramserver.servers.served import Served
from paramserver.settings import Settings
from paramserver.work import Payloads
from ps_common import messages as m
from ps_common.errors import PeerError, TimedOut
from ps_common.job import Description
from ps_common.memory import Heap, Memory

TICK_S = 0.25  # how fine deadlines are kept; a fraction of the shortest promise
OVERSLEPT_S = 1.0  # a turn that took so long, or a process that was stopped
NAMED_MAX = 8  # workers that are named one by one


class Master(Orders):
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
        self._next_tick = self.leasing.moved_at = now
        self._wish: m.Stop | None = None  # asked to stop: no more leases, and this when the units are in
        self._stop: m.Stop | None = None  # the run is over
        self._is_saved = False  # what it came to is on disk, so everyone may go home
        self._stop_deadline = math.inf
        self._is_finished = False
        self._farewell = Farewell(settings.linger_s, settings.workers_at_start or 0)
        self._back_by = -math.inf  # until then workers of the term before may say that they are still there
        if snapshot:
            self._back_by = now + settings.liveness_timeout_s
            self._resume(snapshot)

    # -- inputs ---------------------------------------------------------------------------------------

    def handle(
        self, sender: bytes, message: m.Message, payloads: Payloads, now: float, by: Asker = STRANGER
    ) -> list[Effect]:
        """Take one message. A peer's mistake is refused with a note, and changes nothing.

        by: who sent it, of whom only orders and questions make use.
        """
        self._now = now
        member = self.members.get(sender)
        if member is not None:
            member.seen_at = now
        try:
            if isinstance(message, m.Look | m.Order):
                self._attend(sender, message, by, now)
            elif sender in self._sent_home and not isinstance(message, m.Leave):
                self._outbox.send(sender, self._sent_home[sender])
            elif self._stop is not None and not isinstance(message, m.Leave):
                self._answer_at_the_end(sender, message, self._stop)
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

    def accuse(self, key: str, error: PeerError, now: float) -> list[Effect]:
        """The owner of a key has sent something as somebody else, or what its role may not send."""
        self._accuse(key, error, now)
        return self._outbox.take()

    def revoke(self, sender: bytes, key: str, now: float) -> list[Effect]:
        """The key of a sender lets nobody in any more. A new one of that name begins without strikes."""
        self.quarantine.forget(key)
        member = self.members.get(sender)
        if member is not None:
            text = f"{member.name} is out: its key {key} was revoked"
            self._outbox.note("revoked", text, worker=member.name, urgent=True)
            self._drop(member)
            self._stop_if_drained(now)
            self._assign(now)
        return self._outbox.take()

    def tick(self, now: float) -> list[Effect]:
        """Let time pass: find the silent and the stuck, give up waiting, save what is due."""
        self._now = now
        overslept = now - self._next_tick
        if overslept >= OVERSLEPT_S:  # what was not heard meanwhile was no silence of others
            self.members.forgive(overslept, now)
            self.leasing.forgive(overslept)
            self._waiting.forgive(overslept)
        self._next_tick = now + TICK_S
        for member, why in self.members.lost(now, self.settings.liveness_timeout_s):
            self._outbox.note("loss", f"{member.name} is lost: {why}", worker=member.name, urgent=True)
            if member.ended_at is None:
                self._farewell.fell_silent(member.sender)
            self._drop(member)
        self._cut_off(now)
        if self._stop is None:
            self._revoke_stuck(now)
            self._look_after_servers(now)
            self._assign(now)
            self._wait(now)
            self._give_up_if_stuck(now)
            self._look_after_the_slow(now)
            self._save_if_due(now)
            self._stop_if_drained(now)
        elif not self._is_saved and now >= self._stop_deadline - self.settings.shutdown_timeout_s / 4:
            text = "the last checkpoint takes too long: ending without it"
            self._outbox.note("checkpoint", text, urgent=True)
            self._send_home(now, self._stop)
        self._finish_if_alone(now)
        return self._outbox.take()

    def ended(self, sender: bytes, now: float) -> list[Effect]:
        """The process of a worker has ended. What it has sent before is still to be heard."""
        member = self.members.get(sender)
        if member is not None:
            member.ended_at = now
            self._next_tick = min(self._next_tick, now + LAST_WORDS_S)
        return self._outbox.take()

    def saved(self, now: float) -> list[Effect]:
        """All that was to be saved is on disk, or cannot be."""
        if self._stop is not None and not self._is_saved:
            self._send_home(now, self._stop)
        return self._outbox.take()

    def next_deadline(self) -> float:
        """When `tick` wants to be called, unless a message comes first."""
        return math.inf if self._is_finished else min(self._next_tick, self.overdue_at)

    def stop(self, now: float, exit_code: int = 0, reason: str = "asked to stop") -> list[Effect]:
        """Lease nothing more; when the units in hand are in, save and send everyone home."""
        self._begin_to_stop(now, exit_code, reason)
        return self._outbox.take()

    def hand_over(self, now: float, exit_code: int, reason: str) -> list[Effect]:
        """End at once, to be started again: save, and say nothing to workers, who wait for the next start.

        Units in hand are made again then. A run that is over ends as it would have.
        """
        if self._stop is None:
            self._save(now)
            self._outbox.put(Finished(exit_code, reason))
        else:
            self._outbox.put(Finished(self._stop.exit_code, self._stop.reason))
        self._is_finished = True
        return self._outbox.take()

    def save(self, now: float) -> list[Effect]:
        """Somebody wants a checkpoint now."""
        if self._stop is None:
            where = f"writing round {self.progress.version}"
            if not self.settings.keeps_ledger:  # where there is a folder for checkpoints, there is one in it
                where = "the master was started without --checkpoint"
            elif not self._save(now):
                where = "there are no weights yet"
            self._outbox.note("checkpoint", f"asked for a checkpoint: {where}", urgent=True)
        return self._outbox.take()

    def status(self, now: float) -> dict[str, Any]:
        found = super().status(now)
        if self._is_finished and self._stop is not None:  # a master that stays is asked how it ended
            found |= {"state": "over", "reason": self._stop.reason, "exit_code": self._stop.exit_code}
        return found

    # -- messages, in the order of the protocol -------------------------------------------------------

    def _on_join(self, sender: bytes, join: m.Join, now: float) -> None:
        member = self.members.get(sender)
        why_out = self.quarantine.why_out(join.name if self.settings.names_are_keys else sender)
        if member is None and why_out:
            self._turn_away(sender, why_out, now)
            return
        if member is None:
            refusal = refusal_of(join, self.job.code, len(self.members), self.settings, self.memory.place)
            if refusal is not None:
                self._outbox.send(sender, refusal)
                text = f"refused {join.name} of {join.host}: {refusal.reason}"
                self._outbox.note("refusal", text, urgent=True)
                return
            key = join.name if self.settings.names_are_keys else ""
            member = self.members.add(sender, join, now, key)
            self._farewell.came(sender)
            member.lent = self._left_lent.pop(sender, {})
            text = f"{member.name} joined from {join.host} (pid {join.pid}, {join.device})"
            self._outbox.note("join", text, worker=member.name)
            if join.place == self.memory.home != "":
                self._outbox.put(Watch(sender, join.pid))
        elif member.last_lease > member.joined_lease:
            self._reset(member)  # it has begun anew
        member.stretch = self._stretch
        member.last_lease = member.joined_lease = self.leasing.last_number
        welcome = m.Welcome(
            worker=member.name,
            run=self.run,
            term=self.term,
            job=self.job.to_plain(),
            heartbeat_interval_s=self._alive.heartbeat_interval_s,
            retry_s=self.settings.retry_s,
            pid=self.memory.pid,
            lease=member.last_lease,
            start=self.leasing.start,
            chunk_bytes=self.settings.chunk_bytes,
            window=self.settings.window,
            pull_window=self.settings.pull_window,
            servers=self.exchange.servers,
            layout=self._own_layout,
        )
        self._outbox.send(sender, welcome)

    @property
    def _own_layout(self) -> m.Plain:
        """The layout of the weights, for workers that bring their own arrays to hold against it."""
        layout = self.canonical.layout
        is_wanted = self.job.own_loop is not None and self.progress.version >= 0
        return layout.to_plain() if is_wanted and layout is not None else None

    def _on_ready(self, member: Member, message: m.Ready, payloads: Payloads, now: float) -> None:
        lease = self.leasing.of(member)
        if lease is not None:
            member.version = message.version
            self._send_lease(member, lease)  # it was lost on its way
        elif message.lease >= member.last_lease:
            if not member.is_ready:  # as opposed to saying so again
                self.leasing.moved_at = now
            member.version, member.ahead, member.is_ready = message.version, -1, True
        elif member.settled != member.last_lease:  # it never had a lease that has ended since
            text = f"{member.name} has not got its last lease, as when its connection broke: it joins again"
            self._outbox.note("loss", text, worker=member.name)
            self._drop(member)
            self._outbox.send(member.sender, m.Rejoin())

    def _on_fetch(self, member: Member, message: m.Fetch, payloads: Payloads, now: float) -> None:
        self._require_few(message.blocks)
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
        member.stretch = self._stretch
        self._outbox.send(member.sender, self._alive)

    @property
    def _stretch(self) -> float:
        return self.members.stretch(self.settings.heartbeat_interval_s)

    @property
    def _alive(self) -> m.Alive:
        return m.Alive(self.term, self._stretch * self.settings.heartbeat_interval_s)

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
        self._outbox.put(Unwatch(member.sender))

    # -- waiting, saving, ending ----------------------------------------------------------------------

    @property
    def is_over(self) -> bool:
        return self._stop is not None

    @property
    def is_ending(self) -> bool:
        return self.is_over or self._wish is not None

    def trained_s(self, now: float) -> float:
        return self.seconds_before + (now - self.started_at if self.started_at is not None else 0.0)

    @property
    def workers_wanted(self) -> int:
        at_start = self.settings.workers_at_start if self.started_at is None else None
        return at_start or self.settings.workers_min

    @property
    def is_waiting(self) -> bool:
        return len(self.members) < self.workers_wanted

    def _may_begin(self, now: float) -> bool:
        if self.started_at is not None:
            return not self.is_waiting
        if len(self.members.idle) < self.workers_wanted:
            return False
        here = f"{len(self.members)} of {self.workers_wanted} workers here"
        self.started_at = now
        self._saving.start(now)
        self._outbox.note("start", f"{here}; {self._position()}")
        return True

    def _wait(self, now: float) -> None:
        """Wait for workers where there are too few; say so, and give up after a while."""
        here, wanted = len(self.members), self.workers_wanted
        is_held_up = self.leasing.is_held_up(self.members)
        if is_held_up:
            wanted = max(wanted, here + 1)
        text = self._waiting.look(here, wanted, now)
        if text and is_held_up:
            most = self.leasing.quota.units_max
            text += f"; each of those has made its part of this round ({most}), and something is left"
        if text:
            self._outbox.note("waiting", text)
        if self._waiting.is_over(now):
            self._end(now, TimedOut.exit_code, self._waiting.last_words(here, wanted))

    def _give_up_if_stuck(self, now: float) -> None:
        """Enough workers are here, and alive, and nothing moves: somebody hangs whom nobody can relieve."""
        if self.is_waiting or self.is_ending:
            self.leasing.moved_at = now
        elif now >= self.leasing.moved_at + self.settings.stall_timeout_s:
            doing = [self._doing(member) for member in itertools.islice(self.members, NAMED_MAX)]
            more = len(self.members) - len(doing)
            doing += [f"and {more} more"] if more else []
            text = f"no progress for {self.settings.stall_timeout_s:g} s: {'; '.join(doing)}"
            self._end(now, TimedOut.exit_code, text)

    def _doing(self, member: Member) -> str:
        """What a member is at, for a person who looks for the one that hangs."""
        lease, who = self.leasing.of(member), f"{member.name} ({member.join.host}, pid {member.join.pid})"
        if lease is not None:
            return f"{who} has {lease.unit}, at step {lease.step}"
        return f"{who} {'waits for a unit' if member.is_ready else 'has not said that it is ready'}"

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
            done=list(progress.done),
        )

    def _resume(self, snapshot: Snapshot) -> None:
        sums = {name: list(values) for name, values in snapshot.sums.items()}
        history = [dict(entry) for entry in snapshot.history]
        self.progress = Progress(snapshot.version, snapshot.samples, sums, history, list(snapshot.done))
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

    def _begin_to_stop(self, now: float, exit_code: int, reason: str) -> None:
        if self._wish is None and self._stop is None:
            self._wish = m.Stop(exit_code, reason)
            self._stop_deadline = now + self.settings.shutdown_timeout_s / 2
            in_hand = self.leasing.units_in_hand
            self._outbox.note(
                "stop", f"stopping ({reason}): waiting for {in_hand} units in hand", urgent=True
            )
            self._stop_if_drained(now)

    def _save_if_due(self, now: float) -> None:
        if self._saving.is_due(self.progress.version, now):
            self._save(now)

    def _save(self, now: float) -> bool:
        """Save, if there is anything to save yet."""
        snapshot = self.snapshot()
        if snapshot is not None:
            self._saving.saved(snapshot.version, now)
            self._outbox.put(Save(snapshot))
        return snapshot is not None

    def _stop_if_drained(self, now: float) -> None:
        """Asked to stop: the run ends when the units in hand are in, or have taken too long."""
        if self._wish is None:
            return
        # Who is blocked now stays it; servers that are averaging soon have done so.
        is_drained = len(self._blocked()) == self.leasing.units_in_hand and not self._is_closing
        if is_drained or now >= self._stop_deadline:
            self._end(now, self._wish.exit_code, self._wish.reason)

    def _end(self, now: float, exit_code: int, reason: str) -> None:
        """The run is over: save, and send everyone home once that is safe.

        Not before: a master that is killed in between finds its workers still there when it comes back.
        """
        if self._stop is not None:
            return
        version = -1 if self.job.own_loop is None else self.progress.version
        self._stop = m.Stop(exit_code, reason[:1000], version)
        self._stop_deadline = now + self.settings.shutdown_timeout_s / 2
        if not self._save(now):
            self._send_home(now, self._stop)

    def _answer_at_the_end(self, sender: bytes, message: m.Message, stop: m.Stop) -> None:
        """Whatever it is, it comes too late."""
        if isinstance(message, m.Pull) and self.job.own_loop is not None:
            self.exchange.pull(sender, message.version, message.chunks)
        elif self._is_saved:
            self._farewell.came(sender)
            self._outbox.send(sender, stop)
        elif isinstance(message, m.Heartbeat):
            self._outbox.send(sender, self._alive)

    def _send_home(self, now: float, stop: m.Stop) -> None:
        self._is_saved = True
        self._farewell.begin(now, is_wanted=self._wish is not None)
        for member in self.members:
            self._outbox.send(member.sender, stop)
        self._finish_if_alone(now)

    def _finish_if_alone(self, now: float) -> None:
        is_alone = not len(self.members) and now >= self._back_by and self._farewell.is_ended(now)
        is_alone = is_alone or now >= self._stop_deadline
        if self._stop is not None and self._is_saved and is_alone and not self._is_finished:
            self._is_finished = True
            if isinstance(self.exchange, Served):  # not before: somebody may still pull the last weights
                self.exchange.stop(self._stop.reason)
            self._tell_lookers(self._stop.exit_code, self._stop.reason, now)
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
