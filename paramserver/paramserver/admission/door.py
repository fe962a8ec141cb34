"""The door of a server: its ROUTER socket, and who comes in by it.

It knows of each message whose it is, and can close the connection of a sender for real, which ZeroMQ itself
has no call for. It sees to it that nobody costs more than the limits say, and must not know what messages
say, but for their kind.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import zmq

from paramserver.admission import monitor
from paramserver.admission.authorised import Authorised
from paramserver.admission.bucket import Bucket
from paramserver.admission.connections import Connection, Connections, Shut
from paramserver.admission.floods import Floods, Verdict, kind_of
from paramserver.admission.identities import Identities
from paramserver.admission.limits import Limits
from paramserver.admission.monitor import Monitor
from paramserver.admission.peer_process import is_end_of
from paramserver.admission.roles import Peer
from paramserver.admission.unread import Unread
from paramserver.admission.zap import Doorkeeper
from ps_common import sockets
from ps_common.arrays import HostArray
from ps_common.errors import Flood, Impersonation, PeerError, UsageError
from ps_common.keys import Bundle
from ps_common.messages import FRAMES_MAX, KINDS, Alive, Grant, Lease, Welcome
from ps_common.sockets import Socket
from ps_common.wire import Buffer

LOOK_EVERY_S = 1.0
DROPPED_AT_ONCE = 100  # before anything else has its turn
FLOOD_FRAMES = 1000  # of one message: no mistake any more
FLOODERS_MAX = 1024  # remembered, for what they had under way
COMPLAINTS_MAX = 64  # kept to be told
_TO_MEMBERS = (Welcome, Alive, Lease, Grant)
_TO_WHO_TAKES_PART = frozenset(code for code, kind in KINDS.items() if kind in _TO_MEMBERS)


class Received(NamedTuple):
    """One message: the ROUTER identity it came from, its frames, and whose it is; None: there are no keys."""

    sender: bytes
    frames: list[memoryview]
    peer: Peer | None


class Door:
    """Bound to `bind`; port 0 takes any. `address` has the real one, `socket` is what to wait for.

    It answers for all sockets of its context, so one context has one door.

    limits: what peers may cost. complaints: of whom to tell, and what. keys: folder of the keys of those who
    may come in; None: anyone may, and nobody is known. wake: called by another thread when there is something
    new about keys. Raises `UsageError` where it cannot be bound, or the folder is none.
    """

    def __init__(
        self, context: zmq.Context[Socket], bind: str, linger_ms: int, limits: Limits | None = None,
        keys: Path | None = None, wake: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        limits, now = limits or Limits(), time.monotonic()
        self.connections = Connections(limits, now)
        self.unread = Unread(limits)
        self.complaints: list[tuple[bytes, PeerError]] = []
        self._gone = Floods(limits, Bucket(limits.joins_of_all_per_s, limits.joins_of_all_burst, now), now)
        self._flooders: dict[bytes, None] = {}  # of late, the last one last
        self._look_at = now + LOOK_EVERY_S
        self._authorised = None if keys is None else Authorised(keys, wake)
        self.identities = None if self._authorised is None else Identities(self._authorised)
        watch = self._watch(context, Doorkeeper(context, self.connections, self._authorised))
        try:
            self.socket, self.address = sockets.router(context, bind, linger_ms, watch, self.key)
        except UsageError:
            self._monitor.close()
            raise

    def receive(self) -> Received | None:
        """The next message; None where there is none, or many were dropped: of a flood, of a key that is
        revoked, or of a peer that nobody could name or cut.

        Raises `Impersonation`, and cuts its sender.
        """
        for _ in range(DROPPED_AT_ONCE):
            message = sockets.receive_from(self.socket)
            if message is None:
                return None
            received = self._admitted(*message)
            if received is not None or self.complaints:
                return received
        return None

    def _admitted(self, first: zmq.Frame, frames: list[memoryview], count: int) -> Received | None:
        """A message as `receive` returns it; None where it is dropped."""
        sender = first.bytes
        try:
            descriptor = first.get(zmq.SRCFD)
        except zmq.ZMQError:  # it speaks ZMTP 1 or 2, which nobody of this project does
            return None
        connection = self.connections.get(descriptor)
        if connection is None or connection.sender != sender:
            if connection is None and sender in self._flooders:
                return None
            connection = self._meet(sender, descriptor)
        now = time.monotonic()
        floods = self._gone
        if connection is not None:
            if connection.is_shut:
                return None  # it was under way
            floods = connection.floods
            connection.taken += sum(map(len, frames)) + self.connections.limits.frame_bytes * count
        identified = self._identified(sender, first, frames)
        if identified is None:
            return None
        if count > FRAMES_MAX:
            self._refuse_frames(sender, count, now)
        verdict = floods.judge(frames[0], now) if frames else Verdict.TAKE
        if verdict is Verdict.TAKE:
            return identified
        self._on_flood(sender, floods, verdict, now)
        return None

    def has_spoken(self, sender: bytes) -> None:
        """What a sender has said last is valid."""
        connection = self.connections.of_sender(sender)
        if connection is not None and not connection.has_spoken:
            self.connections.speaks(connection)

    def rest(self, began: float) -> None:
        """No message was left at a moment after `began`."""
        self.connections.idle_at = began

    def is_process(self, sender: bytes, pid: int) -> bool:
        """Whether a sender is that process of this machine. What the kernel says is asked once."""
        connection = self.connections.of_sender(sender)
        if connection is None:
            return False
        if connection.proven is None or connection.proven[0] != pid:
            connection.proven = (pid, is_end_of(connection.descriptor, pid))
        return connection.proven[1]

    # -- sending ---------------------------------------------------------------------------------------

    def send(self, frames: Sequence[Buffer]) -> bool:
        """Send without waiting, to the sender that is the first frame; False where it cannot be now."""
        return sockets.send(self.socket, frames)

    def send_parts(self, to: bytes, header: bytes, parts: Sequence[HostArray], is_rows: bool = False) -> bool:
        """Send a message with payloads from where they lie; False where it cannot be now.

        Nor can it where the peer has not read what came before, and would keep too much in memory.
        """
        if kind_of(header) in _TO_WHO_TAKES_PART:
            self._take_part(to)
        if not parts:
            return self.send([to, header])
        if not self.unread.may_take(to, None if is_rows else parts[0]):
            return False
        is_sent = self.send([to, header, *(part.data for part in parts)])
        if is_sent:
            self.unread.sent(to, parts, is_rows, time.monotonic())
        return is_sent

    # -- what is too much ------------------------------------------------------------------------------

    def cut(self, sender: bytes) -> None:
        """Close the connection of a sender. It may come again, and is to be cut again then."""
        connection = self.connections.of_sender(sender)
        if connection is not None:
            self.connections.give_up(connection)
            monitor.shut(connection)

    def tighten(self, chunk_bytes: int) -> None:
        """The layout is known, and messages that hold one come no more."""
        self.connections.limits = self.connections.limits.without_layouts(chunk_bytes)

    def look(self, now: float) -> list[str]:
        """Cut who does not read; what to tell of the connections that were shut. Once a second at most.

        Raises what ended the thread that sees connections come and go, if it has ended.
        """
        if now < self._look_at:
            return []
        self._look_at = now + LOOK_EVERY_S
        for sender, reason in self.unread.overdue(now):
            connection = self.connections.of_sender(sender)
            if connection is not None and self.connections.give_up(connection):
                self._monitor.shut([Shut(connection, reason)])
        return monitor.told(*self._monitor.take_reasons())

    def close(self) -> None:
        self._monitor.close()
        self.socket.close()

    # -- keys ------------------------------------------------------------------------------------------

    @property
    def key(self) -> Bundle | None:
        """The pair of the run's servers, if there are keys."""
        return None if self._authorised is None else self._authorised.server

    def cut_revoked(self) -> list[tuple[bytes, Peer]]:
        """Close the connections of those whose keys were revoked since this was last called; who they are."""
        revoked = [] if self.identities is None else self.identities.take_revoked()
        for sender, _ in revoked:
            self.cut(sender)
        return revoked

    def take_news(self) -> list[str]:
        """What a person wants to know about keys."""
        return [] if self._authorised is None else self._authorised.take_news()

    def _identified(self, sender: bytes, first: zmq.Frame, frames: list[memoryview]) -> Received | None:
        if self.identities is None:
            return Received(sender, frames, None)
        try:
            peer = self.identities.peer_of(sender, first)
        except Impersonation:
            self.cut(sender)
            raise
        if peer is None:
            self.cut(sender)
            return None
        return Received(sender, frames, peer)

    # -- connections -----------------------------------------------------------------------------------

    def _watch(self, context: zmq.Context[Socket], doorkeeper: Doorkeeper) -> Callable[[Socket], None]:
        def watch(socket: Socket) -> None:
            socket.setsockopt(zmq.MAXMSGSIZE, self.connections.limits.longest_frame_bytes)
            sockets.ask_zap(socket)
            self._monitor = Monitor(context, socket, self.connections, doorkeeper)

        return watch

    def _meet(self, sender: bytes, descriptor: int) -> Connection | None:
        """The connection that a message came over; None where it is closed, and perhaps another's by now."""
        connection = self.connections.get(descriptor)
        if connection is None:
            connection, found = monitor.meet(self.connections, descriptor, time.monotonic())
            self._monitor.shut(found)
        if connection is None:
            return None
        if connection.sender not in (b"", sender) and not self.connections.is_its_own(connection):
            return None
        before = self.connections.of_sender(sender)
        if before is not None and before is not connection:  # void since this one has come: so its owner sees
            monitor.shut(before)
        self.connections.name(connection, sender)
        return connection

    def _take_part(self, sender: bytes) -> None:
        connection = self.connections.of_sender(sender)
        if connection is not None and not connection.takes_part and self.connections.take_part(connection):
            monitor.widen(connection)

    def _on_flood(self, sender: bytes, floods: Floods, verdict: Verdict, now: float) -> None:
        if verdict is Verdict.CUT:
            self._cut_flood(sender, now)
        complaint = floods.complaint(now)
        if complaint is not None:
            self._complain(sender, complaint)

    def _refuse_frames(self, sender: bytes, count: int, now: float) -> None:
        if count >= FLOOD_FRAMES:
            self._cut_flood(sender, now)
            self._complain(sender, Flood(f"a message of {count} frames, where {FRAMES_MAX} are allowed"))

    def _cut_flood(self, sender: bytes, now: float) -> None:
        if len(self._flooders) >= FLOODERS_MAX:
            del self._flooders[next(iter(self._flooders))]
        self._flooders[sender] = None
        connection = self.connections.of_sender(sender)
        if connection is not None:
            self.connections.beware(connection, now)
            self.cut(sender)

    def _complain(self, sender: bytes, complaint: PeerError) -> None:
        if len(self.complaints) < COMPLAINTS_MAX:
            self.complaints.append((sender, complaint))
