"""Who may connect: answers ZeroMQ's questions (ZAP, RFC 27), which it asks before a connection is made.

Until it is answered, nothing is read of a connection but its handshake. It must not know messages or threads.
"""

import zmq

from paramserver.admission.authorised import Authorised
from paramserver.admission.connections import Connections
from ps_common.sockets import Socket

ENDPOINT = "inproc://zeromq.zap.01"  # as RFC 27 says
YES, LATER, NO, ERROR = b"200", b"300", b"400", b"500"


class Doorkeeper:
    """Answers for every socket of a context; for one thread after the other.

    Where there are keys, lets in who has one that may come in; else anyone. Nobody, if all that came from
    there has been shut meanwhile: what they have sent would still be read.
    """

    def __init__(
        self, context: zmq.Context[Socket], connections: Connections, authorised: Authorised | None
    ) -> None:
        self._connections, self._authorised = connections, authorised
        self.socket = context.socket(zmq.REP)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.bind(ENDPOINT)

    def answer(self, now: float) -> None:
        """Answer the question that has come. Connections that were accepted before are to be known."""
        self.socket.send_multipart(self._answer(self.socket.recv_multipart(), now))

    def look(self, now: float) -> None:
        """Let time pass: see whose keys may come in now."""
        if self._authorised is not None:
            self._authorised.look(now)

    def close(self) -> None:
        self.socket.close()

    def _answer(self, request: list[bytes], now: float) -> list[bytes]:
        if len(request) < 6 or request[0] != b"1.0":
            return [b"1.0", b"", ERROR, b"no ZAP request", b"", b""]
        version, number, _, address, _, mechanism, *credentials = request
        place, user = address.partition(b"%")[0].decode(errors="replace"), b""  # without an IPv6 scope
        if not self._connections.is_awaited(place):
            return [version, number, LATER, b"shut", b"", b""]
        if self._authorised is None:
            is_let_in = mechanism == b"NULL"
        else:
            key = credentials[0] if mechanism == b"CURVE" and len(credentials) == 1 else None
            user = b"" if key is None else self._authorised.user_of(key, place, now)
            is_let_in = bool(user)
        return [version, number, YES if is_let_in else NO, b"" if is_let_in else b"not authorised", user, b""]
