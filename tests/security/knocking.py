"""A server's door with keys, and whoever knocks at it: real sockets on loopback."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import zmq

from paramserver.admission.door import Door, Received
from ps_common import sockets
from ps_common.errors import Impersonation
from ps_common.key_folder import KeyFolder
from ps_common.keys import Bundle, draw_identity, read_bundle

PATIENCE_S = 30.0  # with what is to come; a twin that waits in vain has less
FAILED = (
    zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_DISCONNECTED
)


class Caller:
    """A DEALER that says something, and a monitor that tells when it is not let in, or cut off."""

    def __init__(self, context: Any, url: str, identity: bytes, key: Bundle | None, **options: bytes) -> None:
        def watch(socket: Any) -> None:
            for name, value in options.items():
                setattr(socket, name, value)
            self.monitor = socket.get_monitor_socket(FAILED)

        self.identity = identity
        self.socket = sockets.dealer(context, url, 0, identity, True, key, watch)

    def say(self, text: bytes) -> None:
        with contextlib.suppress(zmq.Again):  # it has been told already that it may not
            self.socket.send(text, zmq.NOBLOCK)

    @property
    def is_kept_out(self) -> bool:
        return bool(self.monitor.poll(0))

    def close(self) -> None:
        if self.socket.closed:
            return
        self.socket.disable_monitor()
        self.monitor.close(0)
        self.socket.close(0)


class House:
    """A door, the keys w1 and w2, and callers. Use it in a `with`."""

    def __init__(self, folder: Path) -> None:
        self.keys = KeyFolder(folder / "keys")
        self.w1, self.w2 = (read_bundle(self.keys.new(name, "worker")) for name in ("w1", "w2"))
        self.context = zmq.Context()
        self._stack = contextlib.ExitStack()
        self._stack.callback(self.context.term)
        self.door = Door(self.context, "tcp://127.0.0.1:0", 0, keys=self.keys.path)
        self._stack.callback(self.door.close)
        self.impersonations: list[str] = []  # names of the keys

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def call(self, key: Bundle | None, identity: bytes = b"", **options: bytes) -> Caller:
        identity = identity or draw_identity(b"w", key)
        caller = Caller(self.context, self.door.address, identity, key, **options)
        self._stack.callback(caller.close)
        return caller

    def take(self) -> Received | None:
        """The next message, if there is one."""
        try:
            return self.door.receive()
        except Impersonation as error:
            self.impersonations.append(error.key)
            return None

    def hear(self, until: Callable[[], bool] = lambda: False) -> Received | None:
        """The next message that comes in, or None when `until` holds before."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            received = self.take()
            if received is not None:
                return received
            if until():
                return self.take()
            self.door.socket.poll(5)
        raise AssertionError(f"nothing happens in {PATIENCE_S:g} s")

    def stays_out(self, caller: Caller) -> None:
        """Fail if what a caller says comes in before it learns that it may not."""
        caller.say(b"hello")
        received = self.hear(until=lambda: caller.is_kept_out)
        assert received is None, f"it comes in: {received}"
