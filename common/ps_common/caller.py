"""Who calls a server: a DEALER, and why no connection comes about, in words.

ZeroMQ connects again and again and says nothing. That is right for a server that is not there yet, or starts
again; whoever is not let in would wait in vain. So what the socket's monitor tells is looked at now and then.
It must not know what is said once there is a connection.
"""

import contextlib
import socket

import zmq

from ps_common import address, sockets
from ps_common.keys import Bundle
from ps_common.probing import CURVE, GREETING
from ps_common.sockets import Socket

FAILURES = 3  # in a row, before a server is asked whether it is there
PROBE_S = 0.5  # for that
REFUSED = 400  # as ZAP has it; 300 is for now only
_MISMATCH = int(zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH)
_EVENTS = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_CLOSED
)


class Caller:
    """Calls `who`, in words, at `url`. `socket` is what to send, receive and wait with.

    identity, key, queues: as of `sockets.dealer`.
    """

    def __init__(
        self, context: zmq.Context[Socket], url: str, linger_ms: int, identity: bytes, key: Bundle | None,
        who: str, queues: bool = False,
    ) -> None:  # fmt: skip
        self._url, self._who, self._key = url, who, key
        self._failures = 0  # in a row
        self.socket = sockets.dealer(context, url, linger_ms, identity, queues, key, self._watch)

    def _watch(self, dealer: Socket) -> None:
        self._monitor: Socket = dealer.get_monitor_socket(_EVENTS)

    def why_not(self) -> str:
        """Why the server will never let this process in, and what to do; empty where that is not known."""
        while self._monitor.poll(0):
            told = self._on_event(*sockets.monitored(self._monitor))
            if told:
                return told
        return ""

    def close(self) -> None:
        self.socket.disable_monitor()
        self._monitor.close(0)
        self.socket.close()

    def _on_event(self, event: int, value: int) -> str:
        if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH and value == REFUSED:
            return self._refused()
        if event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL and value == _MISMATCH:
            return self._mismatch()
        if event == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
            self._failures += 1
            if self._failures >= FAILURES:
                self._failures = 0
                return self._other_server() if _is_there(self._url) else ""
        else:  # there was a connection, or nobody listens
            self._failures = 0
        return ""

    def _refused(self) -> str:
        if self._key is None:
            return f"{self._who} at {self._url} does not let this process in"
        role = "" if self._key.role == "worker" else f" --role {self._key.role}"
        return (
            f"{self._who} at {self._url} does not let in the key {self._key.name} ({self._key.path}): it is "
            f"of another run, or was revoked; have a new one made with ps-keys new {self._key.name}{role}"
        )

    def _mismatch(self) -> str:
        if self._key is None:
            return (
                f"{self._who} at {self._url} lets in only who has a key: have one made with "
                "ps-keys new NAME, where the keys of the run are, and say --key NAME.key"
            )
        return (
            f"{self._who} at {self._url} has no keys, so it cannot prove who it is to the owner of the key "
            f"{self._key.name} ({self._key.path}): start it with --keys DIR, or this process without --key"
        )

    def _other_server(self) -> str:
        if self._key is None:
            return ""
        return (
            f"{self._who} at {self._url} does not have the server key that {self._key.path} expects, and may "
            "be anyone: check the address, and that key and server are of the same folder of keys"
        )


def _is_there(url: str) -> bool:
    """Whether a server with keys greets who connects, and then waits for what it has to say.

    A proxy whose server is gone closes the connection without a greeting, and a server that has too many
    connections does so after it.
    """
    host, port = address.split(url) or ("", 0)
    with contextlib.suppress(OSError), socket.create_connection((host, port), PROBE_S) as probe:
        probe.sendall(GREETING)
        greeting = b""
        while len(greeting) < len(GREETING):
            part = probe.recv(len(GREETING) - len(greeting))
            if not part:
                return False
            greeting += part
        if greeting[12:32].rstrip(b"\0") != CURVE:
            return False
        with contextlib.suppress(TimeoutError):
            probe.recv(1)  # the end of the connection: nothing else comes before a hello
            return False
        return True
    return False
