"""The loop of an averaging server: its socket, clock and signals. It decides nothing."""

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

import threadpoolctl
import zmq

from paramserver.admission.door import Door
from paramserver.admission.limits import Limits
from paramserver.admission.roles import admit
from paramserver.effects import Effect, Note, Send
from paramserver.log import Log
from paramserver.servers.averager import Averager
from paramserver.serving import insecure_text, is_open
from ps_common import address, descriptors, sockets
from ps_common import messages as m
from ps_common.errors import Impersonation, PeerError
from ps_common.files import write_whole
from ps_common.shared_memory import SharedMemory
from ps_common.signals import WakePipe, die_with
from ps_common.wire import decode, encode

FLUSH_MS = 1000  # for the last messages to leave


class AveragerLoop:
    """Serves whichever master comes, until asked to stop.

    bind: address to listen on; port 0 takes any. address_file: holds the address.
    keys: folder of the keys of those who may come in; None: anyone may.
    leave_with: the master that started this one, to die with. Only with it memory is shared: it can see to
    it that a server it took for lost writes nothing any more.
    """

    def __init__(
        self, bind: str, address_file: Path | None, keys: Path | None, leave_with: int | None, log: Log
    ) -> None:
        self._log, self._master = log, leave_with
        if leave_with is not None:
            die_with(leave_with)
        self._memory = SharedMemory(is_shared=leave_with is not None)
        self._machine = Averager(time.monotonic(), self._memory)
        self._wake = WakePipe()
        self._context = zmq.Context(io_threads=1)
        self._files = descriptors.raise_limit()
        limits = Limits.of_averaging_server(self._files)
        self._door = Door(self._context, bind, FLUSH_MS, limits, keys, self._wake.wake)
        if leave_with is None and is_open(bind, keys):  # or else the master says it
            self._log.show(Note("insecure", insecure_text(self._door.address), urgent=True))
        if address_file is not None:  # before it is said: who has read that may look there
            write_whole(address_file, self._door.address)
        self._log.show(Note("listening", f"averaging at {address.reachable(self._door.address)}"))

    def run(self) -> None:
        """Serve; close everything, whatever happens."""
        try:
            with self._wake.catching_signals(), threadpoolctl.threadpool_limits(1):
                self._serve()
        finally:
            self._door.close()
            self._context.term()
            self._memory.close()
            self._wake.close()

    def _serve(self) -> None:
        waiting = sockets.Waiting()
        waiting.add(self._door.socket)
        waiting.add(self._wake.fileno())
        while self._wake.signal is None:
            began = time.monotonic()
            wait_s = max(0.0, self._machine.next_deadline() - began)
            ready = waiting.wait(min(wait_s, 1.0))
            if self._wake.fileno() in ready:
                self._wake.clear()
                self._look_after_keys()
            if self._door.socket in ready:
                self._receive()
            else:
                self._door.rest(began)
            now = time.monotonic()
            for text in self._door.look(now):
                self._log.show(Note("shut", text, urgent=True))
            if now >= self._machine.next_deadline():
                self._perform(self._machine.tick(now))

    def _receive(self) -> None:
        try:
            received = self._door.receive()
        except Impersonation as error:
            self._perform(self._machine.refuse(error.key.encode(), error))
            return
        while self._door.complaints:
            self._perform(self._machine.refuse(*self._door.complaints.pop()))
        if received is None:
            return
        sender, frames, peer = received
        self._machine.bytes_received += sum(map(len, frames))
        try:
            message = decode(frames)
            if peer is not None:
                message = admit(peer, message)
        except PeerError as error:
            self._perform(self._machine.refuse(sender, error))
            return
        self._door.has_spoken(sender)
        if type(message) is m.Serve:
            message = self._proven(sender, message)
        self._perform(self._machine.handle(sender, message, frames[1:], time.monotonic()))

    def _proven(self, sender: bytes, serve: m.Serve) -> m.Serve:
        """What a master may be believed: memory is shared with the one that started this process alone."""
        if serve.pid == self._master and self._door.is_process(sender, serve.pid):
            return serve
        return dataclasses.replace(serve, place="")

    def _look_after_keys(self) -> None:
        for text in self._door.take_news():
            self._log.show(Note("key", text, urgent=True))
        for _, peer in self._door.cut_revoked():
            self._log.show(Note("key", f"the key {peer.name} was revoked: its connection is closed"))

    def _perform(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                self._send(effect)
            elif isinstance(effect, Note):
                self._log.show(effect)

    def _send(self, effect: Send) -> None:
        for part in effect.payloads:
            self._memory.pin(part)
        header = encode(effect.message)
        if self._door.send_parts(effect.to, header, effect.payloads):
            self._machine.bytes_sent += len(header) + sum(part.nbytes for part in effect.payloads)
