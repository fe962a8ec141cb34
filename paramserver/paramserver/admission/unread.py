"""What was sent to whom and is not read yet: it keeps the memory it lies in.

Payloads are sent from where they lie, so a peer that asks and never reads would keep every version of the
weights. It is told what is sent and when, and says what may be; time is an argument. That a payload has
left is seen by its end: the socket held the last reference to it.
"""

import collections
import dataclasses
import weakref
from collections.abc import Sequence

from paramserver.admission.limits import Limits
from ps_common.arrays import HostArray


@dataclasses.dataclass(eq=False, slots=True)
class _Payload:
    """One that is not read yet. vector: which one it is part of; rows are part of none."""

    reader: "_Reader"
    vector: int | None
    nbytes: int
    sent_at: float
    reference: weakref.ref[HostArray] | None = None


@dataclasses.dataclass(eq=False, slots=True)
class _Reader:
    """One peer that something was sent to. read: payloads that have left to it."""

    payloads: dict[int, _Payload] = dataclasses.field(default_factory=dict)  # the oldest first
    read: int = 0
    seen: int = 0  # of these, at the last look
    moved_at: float = 0.0
    rows_bytes: int = 0  # of the payloads


class Unread:
    """What all peers have not read yet, by sender."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.rows_bytes = 0
        self._readers: dict[bytes, _Reader] = {}
        self._gone: collections.deque[_Payload] = collections.deque()  # filled by whatever thread lets go

    def may_take(self, sender: bytes, vector: HostArray | None) -> bool:
        """Whether a payload may be sent to a peer: a part of `vector`, or rows."""
        self._settle()
        reader = self._readers.get(sender)
        if reader is None or not reader.payloads:
            return True
        if vector is None:
            of_all = self.limits.rows_bytes_of_all
            has_room = reader.rows_bytes < self.limits.rows_bytes_max and self.rows_bytes < of_all
            return has_room or not reader.rows_bytes
        vectors = _vectors(reader)
        return whole(vector) in vectors or len(vectors) < self.limits.vectors_max

    def sent(self, sender: bytes, parts: Sequence[HostArray], is_rows: bool, now: float) -> None:
        """These are on their way to a peer."""
        self._settle()
        reader = self._readers.get(sender)
        if reader is None:
            reader = self._readers[sender] = _Reader()
        if not reader.payloads:
            reader.moved_at = now
        for part in parts:
            payload = _Payload(reader, None if is_rows else whole(part), part.nbytes, now)
            reader.payloads[id(payload)] = payload
            if is_rows:
                reader.rows_bytes += part.nbytes
                self.rows_bytes += part.nbytes
            payload.reference = weakref.ref(part, lambda _, gone=payload: self._gone.append(gone))  # type: ignore[misc]

    def overdue(self, now: float) -> list[tuple[bytes, str]]:
        """Who reads nothing, or too slowly, or keeps more than there may be; and why it is to be cut."""
        self._settle()
        limits, found = self.limits, []
        oldest: list[tuple[float, bytes]] = []
        vectors: set[int] = set()
        for sender, reader in list(self._readers.items()):
            first = next(iter(reader.payloads.values()), None)
            if first is None:
                del self._readers[sender]
                continue
            if reader.read != reader.seen:
                reader.seen, reader.moved_at = reader.read, now
            if now >= reader.moved_at + limits.unread_s:
                reader.moved_at = now  # it is told once
                found.append((sender, f"has read nothing of what it asked for in {limits.unread_s:g} s"))
            elif now >= first.sent_at + limits.oldest_s:
                found.append((sender, f"is {limits.oldest_s:g} s behind with reading what it asked for"))
            else:
                vectors |= _vectors(reader)
                oldest.append((first.sent_at, sender))
        if len(vectors) > limits.vectors_of_all_max:
            text = f"is the last of those that keep {len(vectors)} versions of the weights unread"
            found.append((min(oldest)[1], text))
        return found

    def _settle(self) -> None:
        """Take payloads that have left, or were dropped with their connection, out of the books."""
        while self._gone:
            payload = self._gone.popleft()
            reader = payload.reader
            del reader.payloads[id(payload)]
            reader.read += 1
            if payload.vector is None:
                reader.rows_bytes -= payload.nbytes
                self.rows_bytes -= payload.nbytes


def _vectors(reader: _Reader) -> set[int]:
    return {one.vector for one in reader.payloads.values() if one.vector is not None}


def whole(part: HostArray) -> int:
    """Which memory an array lies in: the same for all parts of a vector, for as long as one of them lives."""
    owner = part
    while isinstance(owner.base, type(owner)):
        owner = owner.base
    return id(owner)
