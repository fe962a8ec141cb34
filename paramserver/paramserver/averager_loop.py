"""The loop of an averaging server: its socket, clock and signals. It decides nothing."""

import time
from collections.abc import Sequence
from pathlib import Path

import zmq

from paramserver.averager import Averager
from paramserver.effects import Effect, Note, Send
from paramserver.log import Log
from ps_common import address, sockets
from ps_common.errors import PeerError
from ps_common.files import write_whole
from ps_common.shared_memory import SharedMemory
from ps_common.signals import WakePipe, die_with
from ps_common.wire import decode, encode

FLUSH_MS = 1000  # for the last messages to leave


class AveragerLoop:
    """Serves whichever master comes, until asked to stop.

    bind: address to listen on; port 0 takes any. address_file: holds the address.
    leave_with: the master that started this one, to die with. Only with it memory is shared: it can see to
    it that a server it took for lost writes nothing any more.
    """

    def __init__(self, bind: str, address_file: Path | None, leave_with: int | None, log: Log) -> None:
        self._log = log
        if leave_with is not None:
            die_with(leave_with)
        self._memory = SharedMemory(is_shared=leave_with is not None)
        self._machine = Averager(time.monotonic(), self._memory)
        self._wake = WakePipe()
        self._context = zmq.Context(io_threads=1)
        self._socket, bound = sockets.router(self._context, bind, FLUSH_MS)
        self._log.show(Note("listening", f"averaging at {address.reachable(bound)}"))
        if address_file is not None:
            write_whole(address_file, bound)

    def run(self) -> None:
        """Serve; close everything, whatever happens."""
        try:
            with self._wake.catching_signals():
                self._serve()
        finally:
            self._socket.close()
            self._context.term()
            self._memory.close()
            self._wake.close()

    def _serve(self) -> None:
        waiting = sockets.Waiting()
        waiting.add(self._socket)
        waiting.add(self._wake.fileno())
        while self._wake.signal is None:
            wait_s = max(0.0, self._machine.next_deadline() - time.monotonic())
            ready = waiting.wait(min(wait_s, 1.0))
            if self._wake.fileno() in ready:
                self._wake.clear()
            if self._socket in ready:
                self._receive()
            if time.monotonic() >= self._machine.next_deadline():
                self._perform(self._machine.tick(time.monotonic()))

    def _receive(self) -> None:
        received = sockets.receive(self._socket)
        if received is None:
            return
        first, *frames = received
        sender = bytes(first)
        self._machine.bytes_received += sum(map(len, frames))
        try:
            message = decode(frames)
        except PeerError as error:
            self._perform(self._machine.refuse(sender, error))
            return
        self._perform(self._machine.handle(sender, message, frames[1:], time.monotonic()))

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
        if sockets.send(self._socket, [effect.to, header, *(part.data for part in effect.payloads)]):
            self._machine.bytes_sent += len(header) + sum(part.nbytes for part in effect.payloads)
