"""The master's loop: the one place of this side that owns the socket, the clock, files and signals.

It turns frames into messages for the machine and the machine's effects into frames, files and lines.
It decides nothing.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import threadpoolctl
import zmq

from paramserver.admission.door import Door
from paramserver.admission.limits import Limits
from paramserver.admission.roles import admit
from paramserver.askers import asker_of
from paramserver.effects import (
    Averaged,
    Cut,
    Effect,
    Finished,
    Note,
    Restart,
    Save,
    Send,
    SendRows,
    Snapshot,
    Tell,
    Unwatch,
    Watch,
)
from paramserver.ledger import Header, Ledger
from paramserver.log import LiveDisplay, Log
from paramserver.machine import Master
from paramserver.record import Record
from paramserver.saving import Writer
from paramserver.servers.called_servers import CalledServers
from paramserver.serving import Serving, insecure_text
from paramserver.settings import Settings
from paramserver.watched import Watched
from ps_common import descriptors, sockets
from ps_common import messages as m
from ps_common.arrays import HostArray
from ps_common.errors import BeyondRole, Impersonation, NotAuthorised, PeerError
from ps_common.files import write_whole
from ps_common.job import Description, Job
from ps_common.loop_job import LoopJob
from ps_common.shared_memory import SharedMemory
from ps_common.signals import ASK_TO_STOP, PREEMPTED, WakePipe
from ps_common.sockets import Socket
from ps_common.wire import checksum, decode, encode

MESSAGES_AT_ONCE = 64  # handled between two looks at the clock, so that traffic cannot starve time
STAY_S = 0.25  # between two looks at who is there, when the run is over
FLUSH_MS = 2000  # for the last messages to leave


class Loop:
    """Serves one run until it is over."""

    def __init__(
        self, job: Job | LoopJob, description: Description, settings: Settings, serving: Serving, log: Log,
        run: str, snapshot: Snapshot | None,
    ) -> None:  # fmt: skip
        self.record = Record()
        self.outcome: Finished | None = None
        self._asked_at: float | None = None  # to stop
        self._serving = serving
        self._log = log
        # Averaging servers of this machine share it, too, whatever the workers do.
        self._memory = SharedMemory(is_shared=settings.transport != "tcp" or serving.averagers > 1)
        self._sources = {"train": job.train, "test": job.test}
        self._wake = WakePipe(serving.leave_with)
        self._watched = Watched()
        self._context = zmq.Context(io_threads=1)
        limits = Limits.of_master(settings, descriptors.raise_limit())
        self._door = Door(self._context, serving.bind, FLUSH_MS, limits, serving.keys, self._wake.wake)
        settings = dataclasses.replace(settings, names_are_keys=serving.keys is not None)
        self._has_layout = False
        self.address = serving.address_at(self._door.address)
        self._servers = CalledServers(
            self._context, serving, self._door.address, self.address, self._door.key, log.kind, FLUSH_MS
        )
        self.master = Master(
            description, settings, run, time.monotonic(), snapshot, self._memory, self._servers.addresses
        )
        self._written: list[Note] = []
        self._writer: Writer | None = None
        if serving.checkpoint_folder is not None:
            ledger = self._ledger(serving.checkpoint_folder, snapshot) if settings.keeps_ledger else None
            self._writer = Writer(serving.checkpoint_folder, self._on_written, ledger)

    def run(self, conclude: Callable[[Finished], Finished] | None = None) -> Finished:
        """Serve until the run is over; close everything, whatever happens.

        conclude: called with how it has ended, and says how that went; the loop then stays until a signal.
        """
        display: LiveDisplay | None = None
        # Averaging is spread over threads of its own, and what BLAS does for it is short.
        with self._wake.catching_signals(is_last=True), threadpoolctl.threadpool_limits(1):
            try:
                self._tell_address()
                if self._serving.is_live:
                    display = LiveDisplay(self.master, self._log)
                    display.start()
                self._serve(display)
                if conclude is not None and self.outcome is not None:
                    self.outcome = conclude(self.outcome)
                    if self.outcome.exit_code == 0:
                        self._stay()
            finally:
                if display is not None:
                    display.stop()
                self._close()
        if self.outcome is None:
            raise AssertionError("the loop ended before the run")
        return self.outcome

    # -- the loop -------------------------------------------------------------------------------------

    def _serve(self, display: LiveDisplay | None) -> None:
        waiting = self._all_to_wait_for()
        while self.outcome is None:
            began = time.monotonic()
            wait_s = max(0.0, self.master.next_deadline() - began)
            ready = waiting.wait(min(wait_s, 1.0))
            if self._wake.fileno() in ready:
                self._wake.clear()
                self._look_after_keys()
            if self._door.socket in ready:
                self._receive()
            else:
                self._door.rest(began)
            for index, server in enumerate(self._servers):
                if server.socket in ready:
                    self._hear(index, server.socket)
            now = time.monotonic()
            for sender in self._watched.ended() if self._watched.fileno() in ready else ():
                self._perform(self.master.ended(sender, now))
            if now >= self.master.next_deadline():
                self._look_after_averagers(now)
                self._look_after_peers(now)
                self._perform(self.master.tick(now))
            if self._is_asked and self._asked_at is None:
                self._asked_at = now
                self._perform(self._leave(now))
            if self._wake.is_save_wanted:
                self._wake.is_save_wanted = False
                self._perform(self.master.save(now))
            if self._written:
                self._tell_written(now)
            if display is not None:
                display.refresh(now)

    def _all_to_wait_for(self) -> sockets.Waiting:
        waiting = sockets.Waiting()
        waiting.add(self._wake.fileno())
        waiting.add(self._watched.fileno())
        for socket in (self._door.socket, *(server.socket for server in self._servers)):
            waiting.add(socket)
        return waiting

    @property
    def _is_asked(self) -> bool:
        is_orphan = self._serving.leave_with is not None and self._wake.is_orphan
        return self._wake.signal is not None or is_orphan

    def _leave(self, now: float) -> Sequence[Effect]:
        if self._serving.is_preemptible and self._wake.signal != ASK_TO_STOP:
            return self.master.hand_over(now, PREEMPTED, "asked to leave; the next start goes on")
        return self.master.stop(now)

    def _stay(self) -> None:
        """The run is over: tell whoever still comes, until asked to leave."""
        self._take_note(Note("stay", "staying to tell who comes that the run is over, until a signal"))
        waiting = sockets.Waiting()
        for waited_for in (self._wake.fileno(), self._door.socket):
            waiting.add(waited_for)
        while not self._is_asked:
            began = time.monotonic()
            ready = waiting.wait(STAY_S)
            if self._wake.fileno() in ready:
                self._wake.clear()
                self._look_after_keys()
            if self._door.socket in ready:
                self._receive()
            else:
                self._door.rest(began)
            self._look_after_peers(time.monotonic())

    def _receive(self) -> None:
        """Take one message: to ask for more in vain takes longer than to look at everything again."""
        try:
            received = self._door.receive()
        except Impersonation as error:
            self._perform(self.master.accuse(error.key, error, time.monotonic()))
            return
        while self._door.complaints:
            self._perform(self.master.refuse(*self._door.complaints.pop()))
        if received is None:
            return
        sender, frames, peer = received
        self.record.traffic.received += sum(map(len, frames))
        try:
            message = decode(frames)
            if peer is not None:
                message = admit(peer, message)
        except BeyondRole as error:
            self._perform(self.master.accuse(error.key, error, time.monotonic()))
            return
        except PeerError as error:
            self._perform(self.master.refuse(sender, error))
            return
        self._door.has_spoken(sender)
        if type(message) is m.Join:
            message = self._proven(sender, message)
        by = asker_of(peer, self._serving.is_open, self._serving.keys is not None)
        self._perform(self.master.handle(sender, message, frames[1:], time.monotonic(), by))

    def _proven(self, sender: bytes, join: m.Join) -> m.Join:
        """A join as it may be believed: who is not the process that it says shares no memory."""
        if join.place != self._memory.home or self._door.is_process(sender, join.pid):
            return join
        return dataclasses.replace(join, place="")

    def _look_after_keys(self) -> None:
        for text in self._door.take_news():
            self._take_note(Note("key", text, urgent=True))
        for sender, peer in self._door.cut_revoked():
            self._perform(self.master.revoke(sender, peer.name, time.monotonic()))

    def _hear(self, index: int, server: Socket) -> None:
        for _ in range(MESSAGES_AT_ONCE):
            frames = sockets.receive(server)
            if frames is None:
                return
            try:
                message = decode(frames)
            except PeerError as error:
                self._perform(self.master.refuse(f"averaging server {index}".encode(), error))
                continue
            self._perform(self.master.hear(index, message, frames[1:], time.monotonic()))

    def _look_after_averagers(self, now: float) -> None:
        why_not = self._servers.why_not()
        if why_not:
            self._perform(self.master.stop(now, NotAuthorised.exit_code, why_not))
        for index, why in self._servers.ended():
            self._perform(self.master.lose(index, why, now))

    def _look_after_peers(self, now: float) -> None:
        for text in self._door.look(now):
            self._take_note(Note("shut", text, urgent=True))
        if not self._has_layout and self.master.progress.version >= 0:
            self._has_layout = True
            self._door.tighten(self.master.settings.chunk_bytes)

    # -- effects --------------------------------------------------------------------------------------

    def _perform(self, effects: Sequence[Effect]) -> None:
        """Do what the machine wants; what people read comes after what workers wait for."""
        for effect in sorted(effects, key=lambda effect: type(effect) is Note):
            _PERFORM[type(effect)](self, effect)

    def _send(self, effect: Send) -> None:
        for part in effect.payloads:
            self._memory.pin(part)
        self._send_frames(effect.to, effect.message, effect.payloads)

    def _send_frames(
        self, to: bytes, message: m.Message, payloads: Sequence[HostArray], is_rows: bool = False
    ) -> None:
        header = encode(message)
        # Whoever is gone, or far behind, asks again, or its silence is noticed.
        if self._door.send_parts(to, header, payloads, is_rows):
            self.record.traffic.sent += len(header) + sum(part.nbytes for part in payloads)

    def _tell(self, effect: Tell) -> None:
        for part in effect.payloads:
            self._memory.pin(part)
        self._servers.tell(effect.server, encode(effect.message), effect.payloads)

    def _restart(self, effect: Restart) -> None:
        self._servers.restart(effect.server)

    def _watch(self, effect: Watch) -> None:
        if not self._watched.add(effect.sender, effect.pid):
            self._perform(self.master.ended(effect.sender, time.monotonic()))

    def _unwatch(self, effect: Unwatch) -> None:
        self._watched.remove(effect.sender)

    def _cut(self, effect: Cut) -> None:
        self._door.cut(effect.sender)

    def _send_rows(self, effect: SendRows) -> None:
        """Answer a Fetch: the only place where the master reads data."""
        fetch = effect.fetch
        data, shards = self.master.job.split(fetch.split)
        source = self._sources[fetch.split]
        rows = data.block_rows(self.master.settings.chunk_bytes)
        size = shards.size(fetch.shard)
        for block in fetch.blocks:
            if not self._door.unread.may_take(effect.to, None):
                return  # before anything is read
            if source is None or block * rows >= size:
                self._perform(
                    self.master.refuse(effect.to, PeerError(f"there is no block {block} of {fetch.split}"))
                )
                return
            arrays = source.read(shards.rows_between(fetch.shard, block * rows, (block + 1) * rows))
            payloads = [array.reshape(-1).view("uint8") for array in arrays]
            number = checksum(*(payload.data for payload in payloads))
            self._send_frames(effect.to, m.Rows(fetch.split, fetch.shard, block, number), payloads, True)

    def _ledger(self, folder: Path, snapshot: Snapshot | None) -> Ledger:
        """Where this start of the master accounts for what it averages."""
        master = self.master
        header = Header(
            run=master.run,
            term=master.term,
            job_digest=master.job.digest,
            chunk_bytes=master.settings.chunk_bytes,
            servers=max(1, len(master.exchange.servers)),
            continues=snapshot.ledger if snapshot is not None else None,
        )
        return Ledger(folder, header)

    def _account(self, effect: Averaged) -> None:
        if self._writer is not None:
            self._writer.add(effect)

    def _save(self, effect: Save) -> None:
        if self._writer is None:
            self._perform(self.master.saved(time.monotonic()))
        else:
            snapshot = dataclasses.replace(
                effect.snapshot,
                vector=effect.snapshot.vector[:],
                seconds=self.master.trained_s(time.monotonic()),
            )
            self._memory.pin(snapshot.vector)
            self._writer.put(snapshot)

    def _on_written(self, path: Path | None, error: Exception | None) -> None:
        """Called in the writer's thread."""
        if path is not None:
            self._written.append(Note("checkpoint", "", {"path": str(path)}))
        else:
            self._written.append(
                Note("checkpoint", f"a checkpoint could not be written: {error}", {}, urgent=True)
            )
        self._wake.wake()

    def _tell_written(self, now: float) -> None:
        while self._written:
            self._take_note(self._written.pop(0))
        if self._writer is not None and self._writer.is_idle:
            self._perform(self.master.saved(now))

    def _take_note(self, note: Note) -> None:
        self.record.take(note)
        self._log.show(note)

    def _finish(self, effect: Finished) -> None:
        self.outcome = effect

    # -- the socket -----------------------------------------------------------------------------------

    def _tell_address(self) -> None:
        if self._serving.is_open:
            self._take_note(Note("insecure", insecure_text(self._door.address), urgent=True))
        path = self._serving.address_file
        if path is not None:  # before it is said: who has read that may look there
            write_whole(path, self.address)
        self._take_note(Note("listening", f"listening: start workers with --master {self.address}"))

    def _close(self) -> None:
        spent_s = 0.0 if self._asked_at is None else time.monotonic() - self._asked_at
        timeout_s = max(1.0, self.master.settings.shutdown_timeout_s - spent_s)
        if self._writer is not None and not self._writer.close(timeout_s):
            self._take_note(
                Note("checkpoint", f"the last checkpoint was not written in {timeout_s:.0f} s", urgent=True)
            )
        for note in self._written:
            self._take_note(note)
        self._door.close()
        self._servers.close()
        self._context.term()
        self._servers.end()
        self._memory.close()
        self._watched.close()
        self._wake.close()
        if self._serving.address_file is not None:
            with contextlib.suppress(OSError):
                self._serving.address_file.unlink()


_PERFORM: dict[type, Callable[..., None]] = {
    Send: Loop._send,
    Tell: Loop._tell,
    Restart: Loop._restart,
    Watch: Loop._watch,
    Unwatch: Loop._unwatch,
    Cut: Loop._cut,
    SendRows: Loop._send_rows,
    Averaged: Loop._account,
    Save: Loop._save,
    Note: Loop._take_note,
    Finished: Loop._finish,
}
