"""The master's loop: the one place of this side that owns the socket, the clock, files and signals.

It turns frames into messages for the machine and the machine's effects into frames, files and lines.
It decides nothing.
"""

import contextlib
import dataclasses
import math
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import zmq

from paramserver import checkpoint
from paramserver.effects import Effect, Finished, Note, Save, Send, SendRows, Snapshot
from paramserver.log import LiveDisplay, Log
from paramserver.machine import Master
from paramserver.record import Record
from paramserver.serving import Serving
from paramserver.settings import Settings
from ps_common import address
from ps_common import messages as m
from ps_common.arrays import HostArray
from ps_common.errors import PeerError, UsageError
from ps_common.job import Description, Job
from ps_common.shared_memory import SharedMemory
from ps_common.signals import WakePipe
from ps_common.wire import Buffer, checksum, decode, encode

MESSAGES_AT_ONCE = 64  # handled between two looks at the clock, so that traffic cannot starve time
QUEUE_MESSAGES = 256  # a peer's queue; a reader this far behind is asked again later
FLUSH_MS = 2000  # for the last messages to leave


class Loop:
    """Serves one run until it is over."""

    def __init__(
        self, job: Job, description: Description, settings: Settings, serving: Serving, log: Log,
        run: str, snapshot: Snapshot | None,
    ) -> None:  # fmt: skip
        self.record = Record()
        self.outcome: Finished | None = None
        self._asked_at: float | None = None  # to stop
        self._serving = serving
        self._log = log
        self._memory = SharedMemory(is_shared=settings.transport != "tcp")
        self._sources = {"train": job.train, "test": job.test}
        self.master = Master(
            description, settings, run, time.monotonic(), snapshot=snapshot, memory=self._memory
        )
        self._wake = WakePipe(serving.leave_with)
        self._context = zmq.Context(io_threads=1)
        self._socket = self._context.socket(zmq.ROUTER)
        self._written: list[Note] = []
        self._writer: checkpoint.Writer | None = None
        if serving.checkpoint_folder is not None:
            self._writer = checkpoint.Writer(serving.checkpoint_folder, self._on_written)
        self.address = ""

    def run(self) -> Finished:
        """Serve until the run is over; close everything, whatever happens."""
        display: LiveDisplay | None = None
        with self._wake.catching_signals():
            try:
                bound = self._bind()
                self.address = self._serving.advertise or address.reachable(bound)
                self._tell_address(bound)
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
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._wake.fileno(), zmq.POLLIN)
        while self.outcome is None:
            wait_s = max(0.0, self.master.next_deadline() - time.monotonic())
            ready = dict(poller.poll(math.ceil(min(wait_s, 1.0) * 1000)))
            if self._wake.fileno() in ready:
                self._wake.clear()
            if self._socket in ready:
                self._receive()
            now = time.monotonic()
            if now >= self.master.next_deadline():
                self._perform(self.master.tick(now))
            is_orphan = self._serving.leave_with is not None and self._wake.is_orphan
            if (self._wake.signal is not None or is_orphan) and self._asked_at is None:
                self._asked_at = now
                self._perform(self.master.stop(now))
            while self._written:
                self._take_note(self._written.pop(0))
            if display is not None:
                display.refresh(now)

    def _receive(self) -> None:
        for _ in range(MESSAGES_AT_ONCE):
            try:
                sender, *frames = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            self._take(sender.bytes, [frame.buffer for frame in frames])

    def _take(self, sender: bytes, frames: Sequence[memoryview]) -> None:
        self.record.traffic.received += sum(map(len, frames))
        try:
            message = decode(frames)
        except PeerError as error:
            self._perform(self.master.refuse(sender, error))
            return
        self._perform(self.master.handle(sender, message, frames[1:], time.monotonic()))

    # -- effects --------------------------------------------------------------------------------------

    def _perform(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            _PERFORM[type(effect)](self, effect)

    def _send(self, effect: Send) -> None:
        for part in effect.payloads:
            self._memory.pin(part)
        self._send_frames(effect.to, effect.message, effect.payloads)

    def _send_frames(self, to: bytes, message: m.Message, payloads: Sequence[HostArray]) -> None:
        header = encode(message)
        try:
            frames: list[zmq.Frame | Buffer] = [to, header, *(part.data for part in payloads)]
            self._socket.send_multipart(frames, zmq.NOBLOCK, copy=False)
        except zmq.ZMQError as error:
            if error.errno in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                return  # gone, or far behind: it asks again, or its silence is noticed
            raise
        self.record.traffic.sent += len(header) + sum(part.nbytes for part in payloads)

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

    def _save(self, effect: Save) -> None:
        if self._writer is not None:
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

    def _take_note(self, note: Note) -> None:
        self.record.take(note)
        self._log.show(note)

    def _finish(self, effect: Finished) -> None:
        self.outcome = effect

    # -- the socket -----------------------------------------------------------------------------------

    def _bind(self) -> str:
        """Bind, and return the address with its real port."""
        bind = self._serving.bind
        socket = self._socket
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        socket.setsockopt(zmq.LINGER, FLUSH_MS)
        socket.setsockopt(zmq.SNDHWM, QUEUE_MESSAGES)
        socket.setsockopt(zmq.RCVHWM, QUEUE_MESSAGES)
        socket.setsockopt(zmq.MAXMSGSIZE, max(m.HEADER_BYTES, m.CHUNK_BYTES_MAX))
        socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
        socket.setsockopt(zmq.HEARTBEAT_IVL, 2000)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 10_000)
        socket.setsockopt(zmq.IPV6, address.needs_ipv6(self._serving.host))
        try:
            socket.bind(bind)
        except zmq.ZMQError as error:
            reason = (
                "is in use; stop what uses it or choose another port"
                if error.errno == zmq.EADDRINUSE
                else error
            )
            raise UsageError(f"cannot bind {bind}: the address {reason}") from error
        return socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def _tell_address(self, bound: str) -> None:
        if self._serving.is_open:
            text = (
                f"INSECURE: {bound} is open to anyone who can reach it; use it only on a network of your own"
            )
            self._take_note(Note("insecure", text, urgent=True))
        self._take_note(Note("listening", f"listening: start workers with --master {self.address}"))
        path = self._serving.address_file
        if path is not None:
            temporary = path.with_name(f".{path.name}.{os.getpid()}")
            temporary.write_text(self.address)
            temporary.replace(path)

    def _close(self) -> None:
        spent_s = 0.0 if self._asked_at is None else time.monotonic() - self._asked_at
        timeout_s = max(1.0, self.master.settings.shutdown_timeout_s - spent_s)
        if self._writer is not None and not self._writer.close(timeout_s):
            self._take_note(
                Note("checkpoint", f"the last checkpoint was not written in {timeout_s:.0f} s", urgent=True)
            )
        for note in self._written:
            self._take_note(note)
        self._socket.close()
        self._context.term()
        self._memory.close()
        self._wake.close()
        if self._serving.address_file is not None:
            with contextlib.suppress(OSError):
                self._serving.address_file.unlink()


_PERFORM: dict[type, Callable[..., None]] = {
    Send: Loop._send,
    SendRows: Loop._send_rows,
    Save: Loop._save,
    Note: Loop._take_note,
    Finished: Loop._finish,
}
