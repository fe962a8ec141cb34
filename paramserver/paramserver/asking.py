"""How ps-status and ps-admin ask a master: one connection, one question, one answer within a deadline."""

import math
import secrets
import time
from typing import Any

import zmq

from paramserver.status import checked
from ps_common import messages as m
from ps_common import sockets
from ps_common.caller import Caller
from ps_common.errors import (
    MasterUnreachable,
    NotAuthorised,
    ParamserverError,
    PeerError,
    ProtocolMismatch,
    UsageError,
)
from ps_common.keys import Bundle, draw_identity
from ps_common.wire import decode, encode

RETRY_S = 1.0  # without an answer, then twice as long each time
LISTEN_S = 0.2  # between two looks whether there will ever be a connection
_ERROR_OF: dict[int, type[ParamserverError]] = {
    error.exit_code: error for error in (NotAuthorised, ProtocolMismatch, UsageError)
}  # by a code of 76 it may be the job, too: which it is, the text says


class Asking:
    """A connection to the master at `url`, with a key where the run has keys. Use it in a `with`."""

    def __init__(self, url: str, key: Bundle | None = None) -> None:
        self.is_let_in = False  # the master has said something, a refusal perhaps
        self._url = url
        self._context = zmq.Context(io_threads=1)
        identity = draw_identity(b"a", key)
        # It queues: the last that a master says is still to be read when its connection is closed.
        self._caller = Caller(self._context, url, 0, identity, key, "the master", queues=True)
        self._socket = self._caller.socket

    def __enter__(self) -> "Asking":
        return self

    def __exit__(self, *error: object) -> None:
        self._caller.close()
        self._context.term()

    def look(self, timeout_s: float, job_code: str = "") -> dict[str, Any]:
        """How the run is. Raises `MasterUnreachable` without an answer in time, `NotAuthorised`.

        job_code: SHA-256 of a job file; raises `JobMismatch` where the master's is another.
        """
        return self._ask(m.Look(m.PROTOCOL, job_code), timeout_s)

    def order(self, what: str, name: str, timeout_s: float) -> dict[str, Any]:
        """Give an order; how the run is then. Raises as `look`, and `UsageError` where it is refused."""
        return self._ask(m.Order(m.PROTOCOL, secrets.randbits(62), what, name), timeout_s)

    def hear(self, timeout_s: float) -> dict[str, Any] | None:
        """What the master says within that time, if it says anything: when it ends it does so unasked.

        Raises `NotAuthorised` where it does not let this process in.
        """
        deadline = time.monotonic() + timeout_s
        while not self._socket.poll(math.ceil(1000 * min(LISTEN_S, max(0.0, deadline - time.monotonic())))):
            why_not = self._caller.why_not()
            if why_not:
                raise NotAuthorised(why_not)
            if time.monotonic() >= deadline:
                return None
        frames = sockets.receive(self._socket)
        if frames is None:
            return None
        self.is_let_in = True
        try:
            answer = decode(frames)
            if isinstance(answer, m.Seen):
                return checked(answer.status)
            if not isinstance(answer, m.Refused):
                raise PeerError(f"{type(answer).__name__} answers nothing that was asked")
        except PeerError as error:
            raise ProtocolMismatch(f"what {self._url} says cannot be read: {error}") from error
        raise _ERROR_OF.get(answer.exit_code, ParamserverError)(answer.reason)

    def _ask(self, question: m.Look | m.Order, timeout_s: float) -> dict[str, Any]:
        deadline, patience_s = time.monotonic() + timeout_s, RETRY_S
        while (left_s := deadline - time.monotonic()) > 0:
            sockets.send(self._socket, [encode(question)])
            answer = self.hear(min(patience_s, left_s))
            patience_s *= 2
            if answer is not None:
                return answer
        raise MasterUnreachable(
            f"no master answers at {self._url} after {timeout_s:g} s; is the run over, the address right, "
            "and the master of this version?"
        )
