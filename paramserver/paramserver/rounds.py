"""One round's average in the making: chunks come in any order, are summed in shard order, and close.

A chunk is the atom: it is closed when every shard of the round has delivered it. A chunk that comes
before its turn is held; the grants see to it that what is held stays within a budget, whatever the
number of workers. This file decides which bytes may come and adds them up; who sends them it need not know.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from paramserver.averaging import SUM_DTYPES, add, divide, factors
from ps_common.arrays import HostArray
from ps_common.errors import PeerError
from ps_common.layout import ChunkSpan


class Round:
    """The average of the contributions of `shards`, into the flat vector `out`.

    shards: in summing order; samples: of each, all positive; spans: the chunks of the vector.
    """

    def __init__(
        self,
        shards: Sequence[int],
        samples: Sequence[int],
        spans: Sequence[ChunkSpan],
        out: HostArray,
        window: int,
        budget_bytes: int,
    ) -> None:
        self.out = out
        self._spans = spans
        self._place = {shard: i for i, shard in enumerate(shards)}
        self._factors = factors(samples)
        self._divisor = sum(self._factors)
        self._window = window
        self._budget_bytes = budget_bytes
        self._next = [0] * len(spans)  # a chunk: the place of the shard whose turn it is
        self._held: list[dict[int, HostArray]] = [{} for _ in spans]
        self._sums: dict[int, HostArray] = {}  # of chunks that are summed in a wider dtype than they have
        self._missing = {shard: set(range(len(spans))) for shard in shards}
        self._granted: dict[int, set[int]] = {}  # announced shards only
        self._held_bytes = 0
        self._granted_bytes = 0
        self._left = len(spans) * len(self._place)  # chunks of all contributions still to come

    def is_delivered(self, shard: int) -> bool:
        """Whether every chunk of a shard's contribution is here."""
        return not self._missing[shard]

    @property
    def is_closed(self) -> bool:
        """Whether every contribution is in; `out` is then the average."""
        return self._left == 0

    def announce(self, shard: int, granted: Iterable[int] = ()) -> None:
        """A contribution is ready to come, `granted` of its chunks unasked. Again after a loss."""
        self.withdraw(shard)
        self._granted[shard] = set()
        self._grant(shard, self._missing[shard].intersection(granted))

    def granted(self, shard: int) -> tuple[int, ...]:
        """The chunks of a shard that may come and have not."""
        return tuple(sorted(self._granted.get(shard, ())))

    def is_blocked(self, shard: int) -> bool:
        """Whether a contribution is ready to come and none of it may: what is held fills the budget."""
        return shard in self._granted and not self._granted[shard] and bool(self._missing[shard])

    @property
    def free_bytes(self) -> int:
        """What may still be held."""
        return max(0, self._budget_bytes - self._held_bytes - self._granted_bytes)

    def withdraw(self, shard: int) -> None:
        """Whoever was sending a shard's contribution is gone. What has come stays."""
        self._granted_bytes -= sum(self._size(i) for i in self._granted.pop(shard, ()))

    def grants(self) -> dict[int, tuple[int, ...]]:
        """Further chunks that may come now, by shard: the next in turn always, others within the budget."""
        new: dict[int, tuple[int, ...]] = {}
        for shard in sorted(self._granted, key=self._place.__getitem__):
            chosen = self._choose(shard)
            if chosen:
                self._grant(shard, chosen)
                new[shard] = tuple(chosen)
        return new

    def deliver(self, shard: int, index: int, payload: memoryview) -> None:
        """Take one chunk. Raises `PeerError` for one that was not granted or has the wrong size."""
        if index not in self._granted.get(shard, ()):
            if shard in self._missing and 0 <= index < len(self._spans) and index not in self._missing[shard]:
                return  # once more: already summed or held
            raise PeerError(f"chunk {index} of shard {shard} was not asked for")
        span = self._spans[index]
        expected = span.stop - span.start
        if len(payload) != expected:
            raise PeerError(f"chunk {index} of shard {shard} has {len(payload)} bytes, not {expected}")
        self._granted[shard].discard(index)
        self._granted_bytes -= len(payload)
        self._missing[shard].discard(index)
        self._left -= 1
        if self.is_delivered(shard):
            del self._granted[shard]
        held = self._held[index]
        held[self._place[shard]] = np.frombuffer(payload, span.dtype)
        self._held_bytes += len(payload)
        while self._next[index] in held:
            part = held.pop(self._next[index])
            self._held_bytes -= part.nbytes
            self._sum(span, part, self._next[index])
            self._next[index] += 1
        if self._next[index] == len(self._place):
            self._close(span)

    def _sum(self, span: ChunkSpan, part: HostArray, place: int) -> None:
        total = self._sums.get(span.index)
        if total is None:
            wide = SUM_DTYPES[span.dtype]
            total = span.of(self.out) if wide == span.dtype else np.empty(part.size, wide)
            self._sums[span.index] = total
        add(total, part, self._factors[place], first=place == 0)

    def _close(self, span: ChunkSpan) -> None:
        divide(self._sums.pop(span.index), self._divisor, span.of(self.out))

    def _choose(self, shard: int) -> list[int]:
        """Chunks of a shard to grant, lowest first, up to the window and the budget."""
        granted, place = self._granted[shard], self._place[shard]
        room = self._window - len(granted)
        bytes_left = self._budget_bytes - self._held_bytes - self._granted_bytes
        chosen: list[int] = []
        for index in sorted(self._missing[shard] - granted):
            if len(chosen) >= room:
                break
            in_turn = self._next[index] == place
            if in_turn or self._size(index) <= bytes_left:
                chosen.append(index)
                bytes_left -= self._size(index)
        return chosen

    def _grant(self, shard: int, chunks: Iterable[int]) -> None:
        self._granted[shard].update(chunks)
        self._granted_bytes += sum(self._size(i) for i in chunks)

    def _size(self, index: int) -> int:
        span = self._spans[index]
        return span.stop - span.start


class Vectors:
    """Flat vectors to average into, used again when nobody reads them any more.

    A closed version is sent and saved straight from its vector, so it may be written again only after
    the last of those reads: `is_free` tells.
    """

    def __init__(self, nbytes: int, is_free: Callable[[HostArray], bool]) -> None:
        self._nbytes = nbytes
        self._is_free = is_free
        self._retired: list[HostArray] = []

    def take(self) -> HostArray:
        for i, vector in enumerate(self._retired):
            if self._is_free(vector):
                return self._retired.pop(i)
        return np.zeros(self._nbytes, np.uint8)

    def retire(self, vector: HostArray) -> None:
        self._retired.append(vector)
