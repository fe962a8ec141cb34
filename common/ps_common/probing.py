"""Looks at an address step by step: what its name means, the way there, the port, and who speaks on it.

ZeroMQ connects again and again and does not say what goes wrong. What was seen is judged by `reaching.py`.
"""

import contextlib
import dataclasses
import errno
import os
import select
import socket
import threading
import time

from ps_common import interfaces
from ps_common.reaching import FILTERED, GREETING_BYTES, OPEN, REFUSED, Found

PATIENCE_S = 3.0  # for a name, and for a connection: SYN is said again after 1 s
GREETING_S = 3.0  # for who listens to say something
POLL_S = 0.1  # between two looks whether anybody still wants to know
CURVE = b"CURVE"
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01" + CURVE.ljust(20, b"\0") + bytes(32)
_HELLO = GREETING[:12]  # up to the version: then the other says its mechanism, and need not like ours
_WEB = b"GET / HTTP/1.0\r\n\r\n"

_Place = tuple[socket.AddressFamily, tuple[str, int]]


class Probe:
    """Looks at tcp://host:port in a thread of its own; `take` has what it has seen, once."""

    def __init__(self, host: str, port: int) -> None:
        self._found: Found | None = None
        self._is_unwanted = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(host, port), name="probing the master", daemon=True
        )
        self._thread.start()

    def _run(self, host: str, port: int) -> None:
        with contextlib.suppress(_Unwanted):
            self._found = probe(host, port, is_unwanted=self._is_unwanted)

    def take(self) -> Found | None:
        found, self._found = self._found, None
        return found

    @property
    def is_over(self) -> bool:
        return not self._thread.is_alive() and self._found is None

    def close(self) -> None:
        self._is_unwanted.set()
        self._thread.join()


def probe(
    host: str, port: int, patience_s: float = PATIENCE_S, is_unwanted: threading.Event | None = None
) -> Found:
    """What there is at tcp://host:port; within some `patience_s`, whatever is wrong."""
    found = Found(host, port, patience_s)
    looking = _Looking(is_unwanted or threading.Event(), patience_s)
    places, no_name = looking.resolve(host, port)
    if no_name:
        return dataclasses.replace(found, no_name=no_name)
    found = dataclasses.replace(found, addresses=tuple(place[1][0] for place in places))
    own, no_route = _own_end(places[0])
    if no_route:
        return dataclasses.replace(found, no_route=no_route)
    found = dataclasses.replace(found, own=own, card=interfaces.card_of(own))
    port_is, said, is_closed = looking.hear(places[0], _HELLO)
    if port_is == OPEN and not said:
        # Who waits for words that it knows may know these.
        _, answer, _ = looking.hear(places[0], _WEB)
        said = answer
    return dataclasses.replace(found, port_is=port_is, said=said, is_closed=is_closed)


class _Unwanted(Exception):
    """Nobody wants to know any more."""


class _Looking:
    """One probe, which ends soon once it is unwanted."""

    def __init__(self, is_unwanted: threading.Event, patience_s: float) -> None:
        self._is_unwanted = is_unwanted
        self._patience_s = patience_s

    def resolve(self, host: str, port: int) -> tuple[list[_Place], str]:
        """What a name means, in the order in which it is called; why it means nothing."""
        answer: list[tuple[list[_Place], str]] = []
        # The system cannot be asked to hurry: where a name service does not answer, it tries for long.
        asking = threading.Thread(
            target=lambda: answer.append(_resolve(host, port)), name="asking for a name", daemon=True
        )
        asking.start()
        deadline = time.monotonic() + self._patience_s
        while asking.is_alive() and time.monotonic() < deadline:
            asking.join(POLL_S)
            self._require_wanted()
        return answer[0] if answer else ([], f"no name service has answered for {self._patience_s:g} s")

    def hear(self, place: _Place, says: bytes) -> tuple[str, bytes, bool]:
        """How the port is, what comes over a connection to it, and whether that was ended then."""
        family, there = place
        with socket.socket(family, socket.SOCK_STREAM) as connection:
            connection.setblocking(False)
            code = connection.connect_ex(there)
            if code == errno.EINPROGRESS:
                if not self._wait(connection, select.POLLOUT, self._patience_s):
                    return FILTERED, b"", False
                code = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                names = {errno.ECONNREFUSED: REFUSED, errno.ETIMEDOUT: FILTERED}
                return names.get(code, os.strerror(code)), b"", False
            said = b""
            try:
                connection.sendall(says)
                deadline = time.monotonic() + min(GREETING_S, self._patience_s)
                while len(said) < GREETING_BYTES:
                    if not self._wait(connection, select.POLLIN, deadline - time.monotonic()):
                        return OPEN, said, False
                    part = connection.recv(GREETING_BYTES - len(said))
                    if not part:
                        return OPEN, said, True
                    said += part
            except OSError:
                return OPEN, said, True
            return OPEN, said, False

    def _wait(self, connection: socket.socket, what: int, timeout_s: float) -> bool:
        poll = select.poll()
        poll.register(connection, what)
        deadline = time.monotonic() + timeout_s
        while True:
            self._require_wanted()
            left_s = deadline - time.monotonic()
            if poll.poll(1000 * max(0.0, min(POLL_S, left_s))):
                return True
            if left_s <= 0:
                return False

    def _require_wanted(self) -> None:
        if self._is_unwanted.is_set():
            raise _Unwanted


def _resolve(host: str, port: int) -> tuple[list[_Place], str]:
    """As ZeroMQ does: by IPv4, unless there is only IPv6."""
    try:
        answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        return [], str(error.strerror)
    except (OSError, UnicodeError) as error:
        return [], str(error)
    found: list[_Place] = [(family, place) for family, _, _, _, place in answers]  # type: ignore[misc]
    found.sort(key=lambda place: place[0] != socket.AF_INET)
    return found, "" if found else "it has no address"


def _own_end(place: _Place) -> tuple[str, str]:
    """The address of this machine that a place is called from, by its routes; why there is none."""
    family, there = place
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as asking:
            asking.connect(there)  # of UDP: nothing is sent
            return str(asking.getsockname()[0]), ""
    except OSError as error:
        return "", error.strerror or str(error)
