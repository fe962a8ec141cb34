"""The worker's loop: the one place of this side that owns the socket, the clock, signals and the thread.

It turns frames into messages for the machine and the machine's effects into frames and work for the
computing thread. It decides nothing.
"""

import contextlib
import dataclasses
import math
import secrets
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import zmq

from ps_common import address
from ps_common import messages as m
from ps_common.arrays import Device
from ps_common.errors import PeerError
from ps_common.saying import say
from ps_common.shared_memory import SharedMemory
from ps_common.signals import WakePipe
from ps_common.wire import Buffer, decode, encode
from ps_worker.computing import Computing
from ps_worker.effects import Cancel, Compute, Effect, Exit, Note, Prepare, Send
from ps_worker.machine import Worker

MESSAGES_AT_ONCE = 64
QUEUE_MESSAGES = 256
FLUSH_MS = 1000  # for the last messages to leave
GIVE_UP_S = 1.0  # for a step whose outcome nobody will take


@dataclasses.dataclass(frozen=True)
class Working:
    """What a worker process was told. Times in seconds."""

    master: str
    device: Device
    job_target: str | None = None
    threads: int | None = None
    master_timeout_s: float = 120.0
    shutdown_timeout_s: float = 30.0
    leave_with: int | None = None  # the process that started this one: when it is gone
    is_quiet: bool = False


class Loop:
    """Works for one master until the run is over."""

    def __init__(self, join: m.Join, working: Working) -> None:
        self._working = working
        now = time.monotonic()
        self._memory = SharedMemory()
        self._machine = Worker(
            dataclasses.replace(join, place=self._memory.place),
            now,
            working.master_timeout_s,
            working.shutdown_timeout_s,
            log_path(),
            self._memory,
        )
        self._wake = WakePipe(working.leave_with)
        self._computing = Computing(
            working.device, working.job_target, working.threads, self._wake.wake, self._memory
        )
        self._context = zmq.Context(io_threads=1)
        self._socket = self._context.socket(zmq.DEALER)
        self._exit: Exit | None = None
        self._told = ""  # why memory is not shared
        self._asked_at: float | None = None  # to stop

    def run(self) -> Exit:
        """Work until the run is over; close everything, whatever happens."""
        try:
            self._connect()
            with self._wake.catching_signals():
                self._work()
        finally:
            self._close()
        if self._exit is None:
            raise AssertionError("the loop ended before the worker left")
        return self._exit

    def _work(self) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._wake.fileno(), zmq.POLLIN)
        while self._exit is None:
            wait_s = max(0.0, self._machine.next_deadline() - time.monotonic())
            ready = dict(poller.poll(math.ceil(min(wait_s, 1.0) * 1000)))
            if self._wake.fileno() in ready:
                self._wake.clear()
                for outcome in self._computing.take():
                    self._tell_why_not_shared()
                    self._perform(self._machine.done(outcome, time.monotonic()))
            if self._socket in ready:
                self._receive()
            now = time.monotonic()
            self._machine.step = self._computing.watch.step
            if now >= self._machine.next_deadline():
                self._perform(self._machine.tick(now))
            is_orphan = self._working.leave_with is not None and self._wake.is_orphan
            if (self._wake.signal is not None or is_orphan) and self._asked_at is None:
                self._asked_at = now
                self._note(Note("asked to stop: leaving after the unit in hand"))
                self._perform(self._machine.stop(now))

    def _tell_why_not_shared(self) -> None:
        """Say once why weights cannot lie in memory that a master on this machine sees."""
        if self._memory.why_not != self._told:
            self._told = self._memory.why_not
            self._note(Note(f"weights go over the network, not through memory: {self._told}"))

    def _receive(self) -> None:
        for _ in range(MESSAGES_AT_ONCE):
            try:
                frames = [frame.buffer for frame in self._socket.recv_multipart(zmq.NOBLOCK, copy=False)]
            except zmq.Again:
                return
            try:
                message = decode(frames)
            except PeerError as error:
                self._note(Note(f"dropped a message of the master: {error}"))
                continue
            self._perform(self._machine.handle(message, frames[1:], time.monotonic()))

    def _perform(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            _PERFORM[type(effect)](self, effect)

    def _send(self, effect: Send) -> None:
        frames: list[zmq.Frame | Buffer] = [encode(effect.message), *(part.data for part in effect.payloads)]
        with contextlib.suppress(zmq.Again):  # no connection now; what matters is said again until answered
            self._socket.send_multipart(frames, zmq.NOBLOCK, copy=False)

    def _begin(self, effect: Prepare | Compute) -> None:
        self._computing.begin(effect)

    def _cancel(self, effect: Cancel) -> None:
        self._computing.cancel()

    def _note(self, effect: Note) -> None:
        if not self._working.is_quiet:
            say(f"{self._machine.name}: {effect.text}")

    def _leave(self, effect: Exit) -> None:
        self._exit = effect

    def _connect(self) -> None:
        socket = self._socket
        # The sender's identity is this incarnation; drawn anew by every process. It must not begin with 0.
        socket.setsockopt(zmq.ROUTING_ID, b"w" + secrets.token_bytes(15))
        socket.setsockopt(zmq.IMMEDIATE, 1)  # queue nothing for a master that is not there
        socket.setsockopt(zmq.LINGER, FLUSH_MS)
        socket.setsockopt(zmq.SNDHWM, QUEUE_MESSAGES)
        socket.setsockopt(zmq.RCVHWM, QUEUE_MESSAGES)
        socket.setsockopt(zmq.MAXMSGSIZE, max(m.HEADER_BYTES, m.CHUNK_BYTES_MAX))
        socket.setsockopt(zmq.RECONNECT_IVL, 50)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
        socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
        socket.setsockopt(zmq.HEARTBEAT_IVL, 2000)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 10_000)
        host, _ = address.split(self._working.master) or ("", 0)
        socket.setsockopt(zmq.IPV6, address.needs_ipv6(host))
        socket.connect(self._working.master)

    def _close(self) -> None:
        """Leave nothing behind; a step that does not end is left to the end of the process."""
        spent_s = 0.0 if self._asked_at is None else time.monotonic() - self._asked_at
        is_wanted = self._exit is not None and self._exit.exit_code == 0
        patience_s = self._working.shutdown_timeout_s - spent_s if is_wanted else GIVE_UP_S
        self._computing.close(timeout_s=max(0.0, patience_s))
        self._socket.close()
        self._context.term()
        self._wake.close()
        self._memory.close()


_PERFORM: dict[type, Callable[..., None]] = {
    Send: Loop._send,
    Prepare: Loop._begin,
    Compute: Loop._begin,
    Cancel: Loop._cancel,
    Note: Loop._note,
    Exit: Loop._leave,
}


def libraries() -> str:
    """What bit-identity depends on."""
    import platform

    import numpy as np

    return f"numpy {np.__version__}, Python {platform.python_version()}, {platform.machine()}"


def log_path() -> str:
    """The file that standard error goes to, where it goes to one."""
    with contextlib.suppress(OSError):
        path = Path(f"/proc/self/fd/{sys.stderr.fileno()}").resolve()
        return str(path) if path.is_file() else ""
    return ""
