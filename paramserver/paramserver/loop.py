"""The master's loop: the one place of this side that owns the socket, the clock, files and signals.

It turns frames into messages for the machine and the machine's effects into frames, files and lines.
It decides nothing.
"""

import contextlib
import dataclasses
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import zmq

from paramserver.averagers import Averagers
from paramserver.effects import (
    Averaged,
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
from paramserver.serving import Serving
from paramserver.settings import Settings
from paramserver.watched import Watched
from ps_common import address, sockets
from ps_common import messages as m
from ps_common.arrays import HostArray
from ps_common.errors import PeerError
from ps_common.files import write_whole
from ps_common.job import Description, Job
from ps_common.loop_job import LoopJob
from ps_common.shared_memory import SharedMemory
from ps_common.signals import WakePipe
from ps_common.sockets import Socket
from ps_common.wire import checksum, decode, encode

MESSAGES_AT_ONCE = 64  # handled between two looks at the clock, so that traffic cannot starve time
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
        self._socket, self._bound = sockets.router(self._context, serving.bind, FLUSH_MS)
        self.address = serving.advertise or address.reachable(self._bound)
        self._averagers: Averagers | None = None
        self._servers: list[Socket] = []
        addresses = self._connect(serving)
        self.master = Master(description, settings, run, time.monotonic(), snapshot, self._memory, addresses)
        self._written: list[Note] = []
        self._writer: Writer | None = None
        if serving.checkpoint_folder is not None:
            ledger = self._ledger(serving.checkpoint_folder, snapshot) if settings.keeps_ledger else None
            self._writer = Writer(serving.checkpoint_folder, self._on_written, ledger)

    def run(self) -> Finished:
        """Serve until the run is over; close everything, whatever happens."""
        display: LiveDisplay | None = None
        with self._wake.catching_signals():
            try:
                self._tell_address()
                if self._serving.is_live:
                    display = LiveDisplay(self.master, self._log)
                    display.start()
                self._serve(display)
            finally:
                if display is not None:
                    display.stop()
                self._close()
        if self.outcome is None:
            raise AssertionError("the loop ended before the run")
        return self.outcome

    # -- the loop -------------------------------------------------------------------------------------

    def _serve(self, display: LiveDisplay | None) -> None:
        waiting = sockets.Waiting()
        waiting.add(self._wake.fileno())
        waiting.add(self._watched.fileno())
        for socket in (self._socket, *self._servers):
            waiting.add(socket)
        while self.outcome is None:
            wait_s = max(0.0, self.master.next_deadline() - time.monotonic())
            ready = waiting.wait(min(wait_s, 1.0))
            if self._wake.fileno() in ready:
                self._wake.clear()
            if self._socket in ready:
                self._receive()
            for index, server in enumerate(self._servers):
                if server in ready:
                    self._hear(index, server)
            now = time.monotonic()
            for sender in self._watched.ended() if self._watched.fileno() in ready else ():
                self._perform(self.master.ended(sender, now))
            if now >= self.master.next_deadline():
                self._look_after_averagers(now)
                self._perform(self.master.tick(now))
            is_orphan = self._serving.leave_with is not None and self._wake.is_orphan
            if (self._wake.signal is not None or is_orphan) and self._asked_at is None:
                self._asked_at = now
                self._perform(self.master.stop(now))
            if self._written:
                self._tell_written(now)
            if display is not None:
                display.refresh(now)

    def _receive(self) -> None:
        """Take one message: to ask for more in vain takes longer than to look at everything again."""
        received = sockets.receive(self._socket)
        if received is not None:
            sender, *frames = received
            self._take(bytes(sender), frames)

    def _take(self, sender: bytes, frames: Sequence[memoryview]) -> None:
        self.record.traffic.received += sum(map(len, frames))
        try:
            message = decode(frames)
        except PeerError as error:
            self._perform(self.master.refuse(sender, error))
            return
        self._perform(self.master.handle(sender, message, frames[1:], time.monotonic()))

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
        for index, why in self._averagers.ended() if self._averagers is not None else ():
            self._perform(self.master.lose(index, why, now))

    # -- effects --------------------------------------------------------------------------------------

    def _perform(self, effects: Sequence[Effect]) -> None:
        """Do what the machine wants; what people read comes after what workers wait for."""
        for effect in sorted(effects, key=lambda effect: type(effect) is Note):
            _PERFORM[type(effect)](self, effect)

    def _send(self, effect: Send) -> None:
        for part in effect.payloads:
            self._memory.pin(part)
        self._send_frames(effect.to, effect.message, effect.payloads)

    def _send_frames(self, to: bytes, message: m.Message, payloads: Sequence[HostArray]) -> None:
        header = encode(message)
        # Whoever is gone, or far behind, asks again, or its silence is noticed.
        if sockets.send(self._socket, [to, header, *(part.data for part in payloads)]):
            self.record.traffic.sent += len(header) + sum(part.nbytes for part in payloads)

    def _tell(self, effect: Tell) -> None:
        for part in effect.payloads:
            self._memory.pin(part)
        parts = (part.data for part in effect.payloads)
        sockets.send(self._servers[effect.server], [encode(effect.message), *parts])

    def _restart(self, effect: Restart) -> None:
        if self._averagers is not None:
            self._averagers.restart(effect.server)

    def _watch(self, effect: Watch) -> None:
        if not self._watched.add(effect.sender, effect.pid):
            self._perform(self.master.ended(effect.sender, time.monotonic()))

    def _unwatch(self, effect: Unwatch) -> None:
        self._watched.remove(effect.sender)

    def _send_rows(self, effect: SendRows) -> None:
        """Answer a Fetch: the only place where the master reads data."""
        fetch = effect.fetch
        data, shards = self.master.job.split(fetch.split)
        source = self._sources[fetch.split]
        rows = data.block_rows(self.master.settings.chunk_bytes)
        size = shards.size(fetch.shard)
        for block in fetch.blocks:
            if source is None or block * rows >= size:
                self._perform(
                    self.master.refuse(effect.to, PeerError(f"there is no block {block} of {fetch.split}"))
                )
                return
            arrays = source.read(shards.rows_between(fetch.shard, block * rows, (block + 1) * rows))
            payloads = [array.reshape(-1).view("uint8") for array in arrays]
            number = checksum(*(payload.data for payload in payloads))
            self._send_frames(effect.to, m.Rows(fetch.split, fetch.shard, block, number), payloads)

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
                effect.snapshot, vector=effect.snapshot.vector[:], seconds=self._train_seconds()
            )
            self._memory.pin(snapshot.vector)
            self._writer.put(snapshot)

    def _train_seconds(self) -> float:
        return self.master.seconds_before + time.monotonic() - (self.master.started_at or time.monotonic())

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

    def _connect(self, serving: Serving) -> tuple[str, ...]:
        """Connect to the averaging servers, if there are any; where workers find them."""
        addresses = own = serving.servers
        if serving.averagers > 1:
            bind_host, _ = address.split(self._bound) or ("", 0)
            host, _ = address.split(self.address) or ("", 0)
            self._averagers = Averagers(serving.averagers, bind_host, host, self._log.kind)
            self._averagers.start()
            addresses, own = self._averagers.addresses, self._averagers.own_addresses
        identity = b"m" + secrets.token_bytes(15)
        self._servers = [sockets.dealer(self._context, url, FLUSH_MS, identity) for url in own]
        return addresses

    def _tell_address(self) -> None:
        if self._serving.is_open:
            open_to = f"{self._bound} is open to anyone who can reach it"
            text = f"INSECURE: {open_to}; use it only on a network of your own"
            self._take_note(Note("insecure", text, urgent=True))
        self._take_note(Note("listening", f"listening: start workers with --master {self.address}"))
        path = self._serving.address_file
        if path is not None:
            write_whole(path, self.address)

    def _close(self) -> None:
        spent_s = 0.0 if self._asked_at is None else time.monotonic() - self._asked_at
        timeout_s = max(1.0, self.master.settings.shutdown_timeout_s - spent_s)
        if self._writer is not None and not self._writer.close(timeout_s):
            self._take_note(
                Note("checkpoint", f"the last checkpoint was not written in {timeout_s:.0f} s", urgent=True)
            )
        for note in self._written:
            self._take_note(note)
        for socket in (self._socket, *self._servers):
            socket.close()
        self._context.term()
        if self._averagers is not None:
            self._averagers.close()
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
    SendRows: Loop._send_rows,
    Averaged: Loop._account,
    Save: Loop._save,
    Note: Loop._take_note,
    Finished: Loop._finish,
}
