"""The worker's loop: the one place of this side that owns the socket, the clock, signals and the thread.

It turns frames into messages for the machine and the machine's effects into frames and work for the
computing thread. It decides nothing.
"""

import contextlib
import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import zmq

from ps_common import address, probing, reaching, sockets
from ps_common import messages as m
from ps_common.arrays import Device
from ps_common.caller import Caller
from ps_common.errors import PeerError, ProtocolMismatch
from ps_common.keys import Bundle, draw_identity
from ps_common.memory import Memory
from ps_common.saying import say
from ps_common.shared_memory import SharedMemory
from ps_common.signals import WakePipe
from ps_common.sockets import Socket
from ps_common.wire import decode, encode
from ps_worker.computing import Computing
from ps_worker.device_copies import close_memory, memory_for
from ps_worker.effects import (
    Cancel,
    Compute,
    Connect,
    Effect,
    Exit,
    Last,
    Note,
    Outcome,
    Prepare,
    Probe,
    Send,
)
from ps_worker.machine import Worker
from ps_worker.replica import Watch

FLUSH_MS = 1000  # for the last messages to leave
LOOK_S = 0.2  # between two looks whether this worker is let in
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
    key: Bundle | None = None  # where the run has keys
    stopped_code: int = 0  # to exit with, when asked to stop before the run is over


class Side(Protocol):
    """Who computes: a thread of its own (`Computing`), or that of a user with a loop of their own."""

    watch: Watch

    def begin(self, task: Prepare | Compute) -> None: ...
    def cancel(self) -> None: ...
    def take(self) -> list[Outcome]: ...
    def close(self, timeout_s: float) -> bool: ...


class Loop:
    """Works for one master until the run is over.

    make_side: who computes, given what to call when an outcome is ready, and where vectors lie; None: a
    thread that computes what the job says. takes_last: whether to leave with what the run has come to.
    """

    def __init__(
        self,
        join: m.Join,
        working: Working,
        make_side: Callable[[Callable[[], None], Memory], Side] | None = None,
        takes_last: bool = False,
    ) -> None:
        self.last: Last | None = None
        self._working = working
        now = time.monotonic()
        working.device.use()  # by this thread, too: it hands on to the device what comes
        self._shared = SharedMemory()
        self._memory = memory_for(working.device, self._shared, self._tell_not_pinned)
        self._machine = Worker(
            dataclasses.replace(join, place=self._memory.place),
            now,
            working.master_timeout_s,
            working.shutdown_timeout_s,
            log_path(),
            self._memory,
            takes_last,
            working.stopped_code,
        )
        self._wake = WakePipe(working.leave_with)
        make_side = make_side or self._make_computing
        self._computing = make_side(self._wake.wake, self._memory)
        self._context = zmq.Context(io_threads=1)
        # The sender's identity is this incarnation, for the master and for averaging servers.
        self._identity = draw_identity(b"w", working.key)
        self._master = self._call(working.master, "the master")
        self._servers: list[Caller] = []
        self._looked_at = now
        self._waiting = sockets.Waiting()
        self._exit: Exit | None = None
        self._probe: probing.Probe | None = None  # of the master's address, where nobody answers
        self._told = ""  # why memory is not shared
        self._asked_at: float | None = None  # to stop
        self._gives_up = False  # asked so by another thread, which computes nothing more

    def _make_computing(self, wake: Callable[[], None], memory: Memory) -> Side:
        working = self._working
        return Computing(working.device, working.job_target, working.threads, wake, memory)

    def _call(self, url: str, who: str) -> Caller:
        return Caller(self._context, url, FLUSH_MS, self._identity, self._working.key, who)

    def give_up(self) -> None:
        """Leave soon, without the unit in hand. May be called from any thread."""
        self._gives_up = True
        self._wake.wake()

    def run(self, catches_signals: bool = True) -> Exit:
        """Work until the run is over; close everything, whatever happens. Only a main thread gets signals."""
        try:
            with self._wake.catching_signals(is_last=True) if catches_signals else contextlib.nullcontext():
                self._work()
        finally:
            self._close()
        if self._exit is None:
            raise AssertionError("the loop ended before the worker left")
        return self._exit

    def _work(self) -> None:
        self._waiting.add(self._master.socket)
        self._waiting.add(self._wake.fileno())
        while self._exit is None:
            wait_s = max(0.0, self._machine.next_deadline() - time.monotonic())
            # The computing thread has this process to itself while it computes.
            ready = self._waiting.wait(min(wait_s, 1.0), may_stay_awake=not self._machine.is_busy)
            if self._wake.fileno() in ready:
                self._wake.clear()
                for outcome in self._computing.take():
                    self._tell_why_not_shared()
                    self._perform(self._machine.done(outcome, time.monotonic()))
            for index, server in enumerate(self._servers):
                if server.socket in ready:
                    self._receive(server.socket, index)
            if self._master.socket in ready:
                self._receive(self._master.socket)
            now = time.monotonic()
            if now >= self._looked_at + LOOK_S:
                self._look_whether_let_in(now)
            self._machine.step = self._computing.watch.step
            if now >= self._machine.next_deadline():
                self._perform(self._machine.tick(now))
            is_orphan = self._working.leave_with is not None and self._wake.is_orphan
            is_asked = self._wake.signal is not None or is_orphan
            if (is_asked or self._gives_up) and self._asked_at is None and self._exit is None:
                self._asked_at = now
                if is_asked:
                    self._note(Note("asked to stop: leaving after the unit in hand"))
                self._perform(self._machine.stop(now, self._gives_up))

    def _look_whether_let_in(self, now: float) -> None:
        self._looked_at = now
        for server in (self._master, *self._servers):
            why_not = server.why_not()
            if why_not and self._exit is None:
                self._perform(self._machine.shut_out(why_not))
        found = self._probe.take() if self._probe is not None else None
        if found is not None and self._exit is None:
            self._perform(self._machine.probed(reaching.why_unreachable(found)))

    def _begin_probe(self, effect: Probe) -> None:
        """Only one at a time."""
        if self._probe is None or self._probe.is_over:
            host, port = address.split(self._working.master) or ("", 0)
            self._probe = probing.Probe(host, port)

    def _tell_why_not_shared(self) -> None:
        """Say once why weights cannot lie in memory that a master on this machine sees."""
        if self._shared.why_not != self._told:
            self._told = self._shared.why_not
            self._note(Note(f"weights go over the network, not through memory: {self._told}"))

    def _tell_not_pinned(self, why_not: str) -> None:
        self._note(Note(f"weights are copied to the GPU from memory that is not pinned: {why_not}"))

    def _receive(self, socket: Socket, server: int | None = None) -> None:
        """Take one message: to ask for more in vain takes longer than to look at everything again."""
        frames = None if socket.closed else sockets.receive(socket)
        if frames is None:
            return
        try:
            message = decode(frames)
        except PeerError as error:
            who = "the master" if server is None else f"averaging server {server}"
            self._note(Note(f"dropped a message of {who}: {error}"))
            return
        now = time.monotonic()
        if server is None:
            self._perform(self._machine.handle(message, frames[1:], now))
        else:
            self._perform(self._machine.hear(server, message, frames[1:], now))

    def _perform(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            _PERFORM[type(effect)](self, effect)

    def _send(self, effect: Send) -> None:
        socket = (self._master if effect.server is None else self._servers[effect.server]).socket
        # Where there is no connection now: what matters is said again until it is answered.
        sockets.send(socket, [encode(effect.message), *(part.data for part in effect.payloads)])

    def _connect(self, effect: Connect) -> None:
        """Connections of their own for what is said from now on; what is under way in others is void."""
        for server in self._servers:
            self._waiting.remove(server.socket)
            server.close()
        self._servers = []
        for url in effect.servers:
            if address.split(url) is None:  # whatever ZeroMQ may make of it, a file of this machine perhaps
                reason = f"the master names an averaging server at {url!r}; it must be tcp://host:port"
                self._exit = Exit(ProtocolMismatch.exit_code, reason)
                return
        self._servers = [self._call(url, "the averaging server") for url in effect.servers]
        for server in self._servers:
            self._waiting.add(server.socket)

    def _begin(self, effect: Prepare | Compute) -> None:
        self._computing.begin(effect)

    def _cancel(self, effect: Cancel) -> None:
        self._computing.cancel()

    def _keep_last(self, effect: Last) -> None:
        self.last = effect

    def _note(self, effect: Note) -> None:
        if not self._working.is_quiet:
            say(f"{self._machine.name}: {effect.text}")

    def _leave(self, effect: Exit) -> None:
        self._exit = effect

    def _close(self) -> None:
        """Leave nothing behind; a step that does not end is left to the end of the process."""
        spent_s = 0.0 if self._asked_at is None else time.monotonic() - self._asked_at
        is_wanted = self._exit is not None and self._exit.exit_code in (0, self._working.stopped_code)
        patience_s = self._working.shutdown_timeout_s - spent_s if is_wanted else GIVE_UP_S
        if self._probe is not None:
            self._probe.close()
        has_ended = self._computing.close(timeout_s=max(0.0, patience_s))
        for server in (self._master, *self._servers):
            server.close()
        self._context.term()
        self._wake.close()
        if has_ended:
            close_memory(self._memory, self._working.device)
        self._shared.close()


_PERFORM: dict[type, Callable[..., None]] = {
    Send: Loop._send,
    Connect: Loop._connect,
    Prepare: Loop._begin,
    Compute: Loop._begin,
    Cancel: Loop._cancel,
    Last: Loop._keep_last,
    Note: Loop._note,
    Probe: Loop._begin_probe,
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
