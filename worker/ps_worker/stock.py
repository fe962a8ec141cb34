"""What a worker has of a run, and what it lacks for the unit in hand: weights and rows.

Weights lie in the unit's slot already, or in the master's memory, or come in chunks; rows of a shard come
in blocks, once. This file knows which pieces to ask for, and whom, and checks each that comes; when to ask,
and what to do when everything is here, the machine decides.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ps_common import messages as m
from ps_common.arrays import HostArray
from ps_common.errors import PeerError
from ps_common.gather import Gather
from ps_common.job import Description
from ps_common.layout import ChunkSpan, Layout
from ps_common.memory import Memory, Unshared
from ps_common.messages import NOT_SHARED
from ps_common.wire import checksum
from ps_worker.effects import Compute, Rows

NOTHING = Gather(0, 1)


@dataclasses.dataclass(frozen=True)
class Request:
    """What to ask for, and whom: an averaging server, or the master (None)."""

    message: m.Message
    server: int | None = None


class Stock:
    """Weights and rows of one run.

    layout: of the job's model, None until the replica is built. spans: its chunks, by the averaging server
    that has them; a master that averages itself counts as the only one. version: of the canonical weights
    that came in chunks and are all here, -1 for none. pieces: how many have come for the unit in hand.
    goes_in_chunks: whether contributions do, as opposed to being lent.
    """

    def __init__(self, memory: Memory) -> None:
        self.layout: Layout | None = None
        self.spans: tuple[tuple[ChunkSpan, ...], ...] = ()
        self.version = -1
        self.pieces = 0
        self.goes_in_chunks = False
        self._memory = memory
        self._welcome: m.Welcome | None = None
        self._job: Description | None = None
        self._lease: m.Lease | None = None
        self._base: HostArray | None = None  # the canonical weights, as they came in chunks
        self._pulling = -1  # the version that is coming in their place
        self._weights: tuple[Gather, ...] = ()  # one a server
        self._source: HostArray | None = None  # the weights for the unit in hand; None: in its slot
        self._shared: dict[int, HostArray] = {}  # vectors of the master, by descriptor
        self._data: dict[tuple[str, int], Rows] = {}  # shards that are here
        self._shard: Rows = ()  # the shard that is coming
        self._rows = NOTHING

    def begin(self, welcome: m.Welcome, job: Description, layout: Layout | None = None) -> None:
        """A master has said welcome. What is here of another job, or another start, is of no use.

        layout: the master's, if it is known; a replica with another one is of no use, either.
        """
        before = self._welcome
        if before is None or (before.run, before.term) != (welcome.run, welcome.term):
            self.version = -1
        if self._job is None or self._job.digest != job.digest or layout not in (None, self.layout):
            self.layout, self._base, self.version = None, None, -1
            self._data.clear()
        self._welcome, self._job, self._pulling, self._source = welcome, job, -1, None
        self._shared.clear()
        self._cut()

    def adopt(self, layout: Layout) -> None:
        """The replica is built; this is its layout."""
        self.layout = layout
        self._cut()

    def _cut(self) -> None:
        layout, welcome = self.layout, self._welcome
        if layout is not None and welcome is not None:
            cuts = layout.cuts(max(1, len(welcome.servers)))
            self.spans = tuple(layout.chunks(welcome.chunk_bytes, *cut) for cut in cuts)

    # -- the unit in hand -----------------------------------------------------------------------------

    def want(self, lease: m.Lease) -> str:
        """Find what a unit needs; returns why the master's memory cannot be used for it, or nothing."""
        self._lease, self.pieces = lease, 0
        why_not = self._want_weights(lease)
        self._want_rows(shard_of(lease))
        return why_not

    def want_last(self, version: int) -> list[Request]:
        """Find what the run has come to; requests for it."""
        self._lease, self._rows = None, NOTHING
        if self._base is None and self.layout is not None:
            self._base = self.layout.empty()
        if version == self.version:
            self._weights = ()
        elif version != self._pulling:
            self._begin_pulling(version, 0)
        return self.ask()

    @property
    def last(self) -> HostArray | None:
        """What `want_last` wanted, once it is all here."""
        return self._base if self.is_complete else None

    @property
    def is_complete(self) -> bool:
        return all(part.is_complete for part in self._weights) and self._rows.is_complete

    def task(self) -> Compute:
        """The unit with everything it needs."""
        if self._lease is None:
            raise AssertionError("there is no unit in hand")
        lease, base = self._lease, self._source
        key = shard_of(lease)
        rows = self._data.get(key) if key else None
        if base is None or base is not self._base:
            return Compute(lease, base, rows)
        # Nobody will want these weights again, most probably; and what lies in slots is not lent.
        may_take = lease.is_only and self.goes_in_chunks
        self.version, self._pulling = (-1 if may_take else lease.version), -1
        if may_take:
            self._base = self._source = None
        return Compute(lease, base, rows, may_take)

    def give_back(self, spare: HostArray) -> None:
        """A vector has become free for weights to come in chunks."""
        if self._base is None and self.layout is not None and spare.nbytes == self.layout.nbytes:
            self._base, self.version, self._pulling = spare, -1, -1

    def ask(self) -> list[Request]:
        """Requests for pieces that are missing and not yet asked for, as far as the window goes."""
        return self._requests([part.ask() for part in self._weights], self._rows.ask())

    def ask_again(self) -> list[Request]:
        """Requests for what was asked for and has not come."""
        return self._requests([part.ask_again() for part in self._weights], self._rows.ask_again())

    def ask_with_push(self, lease: m.Lease) -> list[Request]:
        """Requests for the next version, to go before a contribution, whose chunks they would be behind.

        None where that version lies in memory, or comes with its lease.
        """
        welcome = self._welcome
        if not lease.is_only or lease.is_here or lease.descriptor != NOT_SHARED or welcome is None:
            return []
        is_sent = not welcome.servers and len(self.spans[0]) <= welcome.window
        return [] if is_sent else self.ask_ahead(lease.version + 1)

    def ask_ahead(self, version: int | None = None) -> list[Request]:
        """Requests for a version whose lease is still to come; None: for more of the one that is coming."""
        if version is not None and version != self._pulling and self._base is not None:
            self._begin_pulling(version, 0)
        return self._requests([part.ask() for part in self._weights], ())

    def span(self, server: int | None, index: int) -> ChunkSpan:
        """Where a server's chunk lies. Raises `PeerError` where there is none."""
        number = server or 0
        spans = self.spans[number] if number < len(self.spans) else ()
        if index >= len(spans):
            raise PeerError(f"there is no chunk {index}; there are {len(spans)}")
        return spans[index]

    def take_weights(
        self, message: m.Weights, payloads: Sequence[memoryview], server: int | None = None
    ) -> bool:
        """A chunk has come; whether it was wanted. Raises `PeerError` for one that is wrong."""
        if message.version != self._pulling or self._base is None:
            return False
        span = self.span(server, message.index)
        payload = _checked(payloads, (span.nbytes,), message.checksum)[0]
        if not self._weights or not self._weights[server or 0].take(message.index):
            return False
        self.pieces += 1
        self._memory.fill(self._base, span.start, np.frombuffer(payload, np.uint8))
        return True

    def take_rows(self, message: m.Rows, payloads: Sequence[memoryview]) -> bool:
        """A block has come; whether it was wanted. Raises `PeerError` for one that is wrong."""
        key = (message.split, message.shard)
        if self._job is None or self._lease is None or key != shard_of(self._lease):
            return False
        data, _ = self._job.split(message.split)
        first, count = self._block(key, message.block)
        sizes = [count * field.sample_bytes for field in data.fields]
        payloads = _checked(payloads, sizes, message.checksum)
        if not self._rows.take(message.block):
            return False
        self.pieces += 1
        for array, payload in zip(self._shard, payloads, strict=True):
            part = array[first : first + count]
            part[...] = np.frombuffer(payload, array.dtype).reshape(part.shape)
        if self._rows.is_complete:
            self._data[key] = self._shard
        return True

    def _want_weights(self, lease: m.Lease) -> str:
        coming, self._weights, self._source = self._weights, (), None
        if lease.version == -1 or lease.is_here or self.layout is None or self._welcome is None:
            self._pulling = -1  # what was coming is waited for no more
            return ""
        why_not = self._attach(lease.descriptor, self.layout.nbytes)
        if lease.descriptor in self._shared:
            self._source, self._pulling = self._shared[lease.descriptor], -1
            return ""
        if self._base is None:
            self._base = self._memory.private(self.layout.nbytes)
        self._source = self._base
        if lease.version == self._pulling:
            self._weights = coming
        elif lease.version != self.version:
            is_sent = lease.descriptor == NOT_SHARED and not self._welcome.servers
            unasked = self._welcome.window if is_sent else 0
            self._begin_pulling(lease.version, unasked)
        return why_not

    def _attach(self, descriptor: int, nbytes: int) -> str:
        """Look at the master's vector; returns why it cannot be seen from here, or nothing."""
        if descriptor == NOT_SHARED or descriptor in self._shared or self._welcome is None:
            return ""
        try:
            self._shared[descriptor] = self._memory.attach(self._welcome.pid, descriptor, nbytes)
        except (Unshared, PeerError) as error:
            return str(error)
        return ""

    def _begin_pulling(self, version: int, unasked: int) -> None:
        """A version is to come in the place of the one that is here, its first chunks `unasked`."""
        self.version, self._pulling = -1, version
        window = self._welcome.pull_window if self._welcome else 1
        self._weights = tuple(Gather(len(spans), window, unasked) for spans in self.spans)

    def _want_rows(self, key: tuple[str, int] | None) -> None:
        job, welcome, self._rows = self._job, self._welcome, NOTHING
        if key is None or job is None or welcome is None or job.plan.data != "stream" or key in self._data:
            return
        data, shards = job.split(key[0])
        size = shards.size(key[1])
        self._shard = tuple(np.empty((size, *field.shape), field.dtype) for field in data.fields)
        blocks = -(-size // data.block_rows(welcome.chunk_bytes))
        self._rows = Gather(blocks, welcome.window)

    def _block(self, key: tuple[str, int], block: int) -> tuple[int, int]:
        """First row and number of rows of a block. Raises `PeerError` where there is none."""
        if self._job is None or self._welcome is None:
            raise AssertionError("rows came before a welcome")
        data, shards = self._job.split(key[0])
        rows, size = data.block_rows(self._welcome.chunk_bytes), shards.size(key[1])
        if block * rows >= size:
            raise PeerError(f"there is no block {block} of {key[0]} shard {key[1]}")
        return block * rows, min(rows, size - block * rows)

    def _requests(self, chunks: Sequence[Sequence[int]], blocks: Sequence[int]) -> list[Request]:
        requests: list[Request] = []
        has_servers = self._welcome is not None and bool(self._welcome.servers)
        for server, asked in enumerate(chunks):
            if asked:
                pull = m.Pull(self._pulling, tuple(asked))
                requests.append(Request(pull, server if has_servers else None))
        key = shard_of(self._lease) if self._lease else None
        if blocks and key is not None:
            requests.append(Request(m.Fetch(*key, tuple(blocks))))
        return requests


def shard_of(lease: m.Lease) -> tuple[str, int] | None:
    """The split and shard a unit reads; None for initialise."""
    if lease.kind == "initialise":
        return None
    return ("test" if lease.kind == "evaluate" else "train"), lease.shard


def _checked(payloads: Sequence[memoryview], sizes: Sequence[int], expected: int) -> Sequence[memoryview]:
    """The payloads, if they have these sizes in bytes and this checksum. Raises `PeerError`."""
    if [len(payload) for payload in payloads] != list(sizes):
        raise PeerError(f"payloads of {[len(payload) for payload in payloads]} bytes, expected {list(sizes)}")
    if checksum(*payloads) != expected:
        raise PeerError("a payload has a wrong checksum")
    return payloads
