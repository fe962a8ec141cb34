"""The connections of a server: who holds how many, how much each has under way, and which are to be shut.

It keeps the books: what it is told has happened, at which time, and what is to be done about it. It must
not know sockets, clocks or threads, nor what messages say. Two threads use it: one that sees connections
come and go, and one that takes their messages; what both change is behind a lock.
"""

import dataclasses
import threading
from collections.abc import Iterator

from paramserver.admission.bucket import Bucket
from paramserver.admission.floods import Floods
from paramserver.admission.limits import Limits

WAITS = 3  # looks after which what has been received must have been seen, if it was whole
ADDRESSES_MAX = 4096  # remembered; whoever has many addresses must not fill memory


@dataclasses.dataclass(eq=False, slots=True)
class Connection:
    """One accepted connection; times of the server's monotonic clock.

    number: the kernel's, of this connection and no other, as descriptors are used again. taken: bytes of
    messages that came over it, with what their frames cost at most. open_bytes: received and not yet taken.
    takes_part: it is of somebody who was let into the run. is_narrow: the kernel receives little of it
    ahead, until then.
    waits: looks in a row at which nothing had been taken, though all that was whole had been.
    """

    descriptor: int
    number: int
    address: str
    port: int
    began_at: float
    floods: Floods
    sender: bytes = b""
    is_narrow: bool = False
    takes_part: bool = False
    has_spoken: bool = False  # something valid
    proven: tuple[int, bool] | None = None  # a process, and whether it is at the other end
    taken: int = 0
    open_bytes: float = 0.0
    waits: int = 0
    is_shut: bool = False
    _received: int = 0
    _counted: int = 0
    _looked_at: float = -1.0

    def measure(self, received: int, now: float, noise_bytes_per_s: float, idle_at: float) -> None:
        """So many bytes have been received in all. What was taken beyond that is no credit for later.

        idle_at: when no whole message was left of any connection.
        """
        taken = self.taken
        before = self._looked_at if self._looked_at >= 0 else self.began_at
        noise = noise_bytes_per_s * (now - before)
        self.waits = self.waits + (idle_at > before) if taken == self._counted else 0
        grown = (received - self._received) - (taken - self._counted) - noise
        self.open_bytes = max(0.0, self.open_bytes + grown)
        self._received, self._counted, self._looked_at = received, taken, now


@dataclasses.dataclass(frozen=True)
class Shut:
    """A connection to be shut, and why, in words that may follow "it"."""

    connection: Connection
    reason: str


class Connections:
    """All connections of one server, by descriptor."""

    def __init__(self, limits: Limits, now: float) -> None:
        self.limits = limits
        self.idle_at = now  # when no whole message was left to take
        self.peak = 0  # the most there have been at once
        self._all: dict[int, Connection] = {}
        self._pending: dict[int, Connection] = {}  # the oldest first
        self._senders: dict[bytes, Connection] = {}
        self._of_address: dict[str, int] = {}
        self._arrivals: dict[str, Bucket] = {}
        self._wary_until: dict[str, float] = {}
        self._homes: dict[str, bool] = {}  # of those who take part
        self._joins = Bucket(limits.joins_of_all_per_s, limits.joins_of_all_burst, now)
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Connection]:
        return iter(list(self._all.values()))

    @property
    def pending(self) -> int:
        """How many have said nothing valid yet."""
        return len(self._pending)

    def get(self, descriptor: int) -> Connection | None:
        return self._all.get(descriptor)

    def is_awaited(self, address: str) -> bool:
        """Whether there is a connection of an address that was not shut.

        Also one that seems to have spoken: that may have been left over from who had its descriptor before.
        """
        with self._lock:
            return any(one.address == address and not one.is_shut for one in self._all.values())

    def of_sender(self, sender: bytes) -> Connection | None:
        return self._senders.get(sender)

    # -- they come and go ------------------------------------------------------------------------------

    def accept(
        self, descriptor: int, number: int, address: str, port: int, now: float, is_narrow: bool = False
    ) -> list[Shut]:
        """A connection is there, unless it is known; which are too many now."""
        with self._lock:
            known = self._all.get(descriptor)
            if known is not None and known.number == number:
                return []
            if known is not None:
                self._remove(known)  # its end is still to be told
            is_welcome = self._arrives(address, now)
            floods = Floods(self.limits, self._joins, now)
            connection = Connection(descriptor, number, address, port, now, floods, is_narrow=is_narrow)
            self._all[descriptor] = self._pending[descriptor] = connection
            self._of_address[address] = self._of_address.get(address, 0) + 1
            self.peak = max(self.peak, len(self._all))
            if not is_welcome:
                return self._shut(connection, "comes too soon after others from there")
            return self._too_many(connection)

    def end(self, descriptor: int) -> Connection | None:
        """A connection is closed; which it was."""
        with self._lock:
            connection = self._all.get(descriptor)
            if connection is not None:
                self._remove(connection)
            return connection

    def end_of(self, connection: Connection) -> None:
        """A connection is closed, which nobody has told."""
        with self._lock:
            if self._all.get(connection.descriptor) is connection:
                self._remove(connection)

    def is_its_own(self, connection: Connection) -> bool:
        """Whether what comes by its descriptor now is surely not left over from an earlier connection."""
        return self.idle_at > connection.began_at

    def name(self, connection: Connection, sender: bytes) -> None:
        """The connection is that of `sender` from now on."""
        with self._lock:
            if self._senders.get(connection.sender) is connection:  # it was taken for another
                del self._senders[connection.sender]
                connection.proven = None
            connection.sender = sender
            if self._all.get(connection.descriptor) is connection:
                self._senders[sender] = connection

    def speaks(self, connection: Connection) -> None:
        """It has said something valid."""
        with self._lock:
            connection.has_spoken = True
            if self._pending.get(connection.descriptor) is connection:
                del self._pending[connection.descriptor]

    def is_home(self, address: str) -> bool:
        """Whether somebody has taken part from there, and no flood came since."""
        with self._lock:
            return address in self._homes

    def take_part(self, connection: Connection) -> bool:
        """It is of somebody who takes part; whether it was narrow until now."""
        with self._lock:
            if connection.address not in self._homes:
                _bound(self._homes)
                self._homes[connection.address] = True
            was_narrow, connection.is_narrow = connection.is_narrow, False
            connection.takes_part = True
            return was_narrow

    def give_up(self, connection: Connection) -> bool:
        """Somebody shuts it; False where it was shut before. What it has under way counts no more."""
        with self._lock:
            return bool(self._shut(connection, ""))

    def beware(self, connection: Connection, now: float) -> None:
        """A flood came from there: let few new ones in for a while."""
        with self._lock:
            _bound(self._wary_until)
            self._homes.pop(connection.address, None)
            self._wary_until[connection.address] = now + self.limits.wary_s
            bucket = Bucket(self.limits.wary_arrivals_per_s, 1.0, now)
            self._arrivals[connection.address] = bucket

    # -- which are to be shut --------------------------------------------------------------------------

    def silent(self, now: float) -> list[Shut]:
        """Those that have said nothing valid for too long."""
        limit_s, found = self.limits.silent_s, []
        with self._lock:
            for connection in list(self._pending.values()):
                if now < connection.began_at + limit_s:
                    break
                found += self._shut(connection, f"has said nothing valid for {limit_s:g} s")
        return found

    def overfull(self) -> list[Shut]:
        """Those that have more under way than they may, and then the largest while all have too much."""
        limits, found, total, spoken = self.limits, [], 0.0, 0
        with self._lock:
            for connection in list(self._all.values()):
                spoken += connection.has_spoken
                is_one = connection.waits >= WAITS
                limit = limits.message_bytes if is_one else limits.bytes_max
                if connection.open_bytes > limit:
                    what = "of a message that does not end" if is_one else "that nobody can take so fast"
                    text = f"has sent {connection.open_bytes:.0f} bytes {what}"
                    found += self._shut(connection, f"{text}; {limit} are allowed")
                elif not connection.is_shut:
                    total += connection.open_bytes
            if total > limits.bytes_of_all + spoken * limits.bytes_each:
                for connection in sorted(self._all.values(), key=_by_what_is_open):
                    text = f"has {connection.open_bytes:.0f} bytes under way, and all have {total:.0f}"
                    found += self._shut(connection, text)
                    total -= connection.open_bytes
                    if total <= limits.bytes_of_all + spoken * limits.bytes_each:
                        break
        return found

    # -- within the lock -------------------------------------------------------------------------------

    def _arrives(self, address: str, now: float) -> bool:
        bucket = self._arrivals.get(address)
        if bucket is None or (address in self._wary_until and now >= self._wary_until[address]):
            _bound(self._arrivals)
            self._wary_until.pop(address, None)
            bucket = Bucket(self.limits.arrivals_per_s, self.limits.arrivals_burst, now)
            self._arrivals[address] = bucket
        return bucket.take(now)

    def _too_many(self, new: Connection) -> list[Shut]:
        limits = self.limits
        if len(self._all) > limits.connections_max:
            return self._shut(new, f"is one more than {limits.connections_max} connections")
        if self._of_address[new.address] > limits.of_address_max:
            return self._shut(new, f"is one more than {limits.of_address_max} connections from there")
        if len(self._pending) > limits.pending_max:
            text = f"was the oldest of more than {limits.pending_max} that have said nothing valid"
            return self._shut(next(iter(self._pending.values())), text)
        of_address_max = limits.pending_of_address_max
        if self._of_address[new.address] > of_address_max:
            those = [one for one in self._pending.values() if one.address == new.address]
            if len(those) > of_address_max:
                text = f"was the oldest of more than {of_address_max} from there that have said nothing valid"
                return self._shut(those[0], text)
        return []

    def _shut(self, connection: Connection, reason: str) -> list[Shut]:
        """It counts until it is closed, but is not shut twice."""
        if connection.is_shut:
            return []
        connection.is_shut = True
        if self._pending.get(connection.descriptor) is connection:
            del self._pending[connection.descriptor]
        return [Shut(connection, reason)]

    def _remove(self, connection: Connection) -> None:
        del self._all[connection.descriptor]
        if self._pending.get(connection.descriptor) is connection:
            del self._pending[connection.descriptor]
        if self._senders.get(connection.sender) is connection:
            del self._senders[connection.sender]
        left = self._of_address[connection.address] - 1
        if left:
            self._of_address[connection.address] = left
        else:
            del self._of_address[connection.address]


def _by_what_is_open(connection: Connection) -> tuple[bool, float]:
    """Who has said nothing valid first, then the largest."""
    return connection.has_spoken, -connection.open_bytes


def _bound(remembered: dict[str, bool] | dict[str, float] | dict[str, Bucket]) -> None:
    if len(remembered) >= ADDRESSES_MAX:
        remembered.pop(next(iter(remembered)))
