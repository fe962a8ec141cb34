"""A peer that speaks ZMTP 3 by itself, without keys, and so may break every rule of it.

    with RawPeer("tcp://127.0.0.1:5555", b"identity") as peer:
        peer.shake_hands()
        peer.send(b"header", b"payload")

It reads only when told to, and calls from an address of this machine of its own, for what a server counts by
address. See rfc.zeromq.org/spec/23.
"""

import contextlib
import itertools
import socket
import struct
import time
import urllib.parse
from collections.abc import Iterator
from typing import Self

GREETING = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
MORE, LONG, COMMAND = 1, 2, 4
PATIENCE_S = 30.0
_PLACES = itertools.count(2)


def frame(body: bytes, flags: int = 0) -> bytes:
    if len(body) < 256:
        return struct.pack("BB", flags, len(body)) + body
    return struct.pack(">BQ", flags | LONG, len(body)) + body


def message(*frames: bytes) -> bytes:
    """A whole message as it lies on the wire."""
    last = len(frames) - 1
    return b"".join(frame(body, 0 if i == last else MORE) for i, body in enumerate(frames))


def ready(identity: bytes) -> bytes:
    """The command that ends the handshake of a DEALER."""
    properties = ((b"Socket-Type", b"DEALER"), (b"Identity", identity))
    body = b"\x05READY"
    for name, value in properties:
        body += struct.pack("B", len(name)) + name + struct.pack(">I", len(value)) + value
    return frame(body, COMMAND)


def own_place() -> str:
    """An address of this machine that no other peer of this process calls from."""
    number = next(_PLACES)
    return f"127.0.{1 + number // 250}.{number % 250 + 1}"


class RawPeer:
    """One connection to a ROUTER. place: the address to call from; its own by default."""

    def __init__(
        self, address: str, identity: bytes = b"raw", place: str | None = None,
        through: socket.socket | None = None,
    ) -> None:  # fmt: skip
        """through: a socket that is there and not connected yet."""
        url = urllib.parse.urlsplit(address)
        there = (url.hostname or "", url.port or 0)
        self.socket = socket.socket() if through is None else through
        self.socket.settimeout(PATIENCE_S)
        try:
            self.socket.bind((place or own_place(), 0))
            self.socket.connect(there)
        except OSError:
            self.socket.close()
            raise
        self._identity = identity

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.socket.close()

    def shake_hands(self) -> None:
        self.socket.sendall(GREETING + ready(self._identity))
        self._exactly(len(GREETING))
        assert self.hear_frame()[1].startswith(b"\x05READY")

    def send(self, *frames: bytes) -> None:
        self.socket.sendall(message(*frames))

    def push(self, data: bytes) -> bool:
        """Send these bytes; False where the connection is ended by the other side."""
        try:
            self.socket.sendall(data)
        except TimeoutError:
            raise
        except OSError:
            return False
        return True

    def hear(self) -> list[bytes]:
        """The frames of the next message."""
        frames, flags = [], MORE
        while flags & MORE:
            flags, body = self.hear_frame()
            if flags & COMMAND:
                flags = MORE  # a sign of life of the connection
            else:
                frames.append(body)
        return frames

    def hear_frame(self) -> tuple[int, bytes]:
        (flags,) = self._exactly(1)
        size = struct.unpack(">Q", self._exactly(8))[0] if flags & LONG else self._exactly(1)[0]
        return flags, self._exactly(size)

    def ends(self, within_s: float = PATIENCE_S) -> bool:
        """Whether the other side ends the connection; what it sends until then is thrown away."""
        deadline = time.monotonic() + within_s
        try:
            while (left_s := deadline - time.monotonic()) > 0:
                self.socket.settimeout(left_s)
                if not self.socket.recv(65_536):
                    return True
        except TimeoutError:
            return False
        except OSError:
            return True
        return False

    def _exactly(self, nbytes: int) -> bytes:
        got = b""
        while len(got) < nbytes:
            piece = self.socket.recv(nbytes - len(got))
            if not piece:
                raise ConnectionResetError("the other side has ended the connection")
            got += piece
        return got


@contextlib.contextmanager
def half_open(address: str, count: int, said: bytes = b"") -> Iterator[list[RawPeer]]:
    """Connections of one address that say this much of the greeting, and no more."""
    place = own_place()
    with contextlib.ExitStack() as stack:
        peers = []
        for _ in range(count):
            peer = stack.enter_context(RawPeer(address, place=place))
            if said:
                peer.push(said)
            peers.append(peer)
        yield peers
