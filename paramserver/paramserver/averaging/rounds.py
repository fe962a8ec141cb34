"""One round's average in the making: contributions come in any order, are summed in shard order, and close.

A chunk is the atom: it is closed when every shard of the round has delivered it. A chunk that comes
before its turn is held; the grants see to it that what is held stays within a budget, whatever the number
of workers. A contribution that lies in shared memory is lent whole, and summed when the round finishes or
its memory is wanted back. This file decides which bytes may come and adds them up, and knows what was
added by its digest; who sends it, it need not know. Rules other than the mean are in `gathered.py`.

What is not finite is not added. What came in chunks is looked at when it comes; what is lent when it is read:
then all of that contribution that is not summed yet is missing again, for somebody else to bring.
"""

import bisect
import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import xxhash

from paramserver.averaging import digests
from paramserver.averaging.mean import Mean, factors, is_finite, relative
from paramserver.averaging.norms import squared_distance
from ps_common.arrays import HostArray
from ps_common.errors import NotFinite, PeerError, WrongChunk
from ps_common.layout import ChunkSpan
from ps_common.memory import Memory

Spread = Callable[[Callable[[int], None], Iterable[int]], Iterable[None]]  # `map`, or that of a pool


@dataclasses.dataclass(frozen=True)
class Lent:
    """A vector of another process that this one sees: by what number of which process, and itself."""

    pid: int
    descriptor: int
    vector: HostArray


class Round:
    """The average of the contributions of `shards`, into the flat vector `out`.

    shards: in summing order; samples: of each, all positive; spans: the chunks of the vector.
    keeps_digests: whether to say in the end what was averaged.
    """

    def __init__(
        self,
        shards: Sequence[int],
        samples: Sequence[int],
        spans: Sequence[ChunkSpan],
        out: HostArray,
        window: int,
        budget_bytes: int,
        keeps_digests: bool = False,
    ) -> None:
        self.out = out
        self._spans = spans
        self._place = {shard: i for i, shard in enumerate(shards)}
        self._count = len(self._place)
        self._left_out: set[int] = set()  # places
        self._next = [0 for _ in spans]  # the place whose part of a chunk is summed next
        self._factors = factors(samples)
        self._weighed: dict[int, int] = {}  # by place: samples that were known only with the contribution
        self._window = window
        self._budget_bytes = budget_bytes
        self._means = [Mean(span.of(out)) for span in spans]
        self._held: list[dict[int, HostArray]] = [{} for _ in spans]  # by place
        self._lent: set[tuple[int, int]] = set()  # (chunk, place) of what is held in others' memory
        self._unread: set[tuple[int, int]] = set()  # (chunk, place) of what may not be finite
        self._wrong: list[tuple[int, int, PeerError]] = []  # chunk and place of what was found to be wrong
        self._base: HostArray | None = None  # what norms are measured from
        self._measured: frozenset[int] = frozenset()  # the chunks that they are measured of
        self._squares: list[dict[int, float]] = [{} for _ in spans]  # by place, of those
        self._keeps_digests = keeps_digests
        self._begun: dict[tuple[int, int], xxhash.xxh3_64] = {}  # (chunk, place) -> digest of what is closed
        self._checksums: list[dict[int, int]] = [{} for _ in spans]  # by place, as far as they are known
        self._missing = {shard: set(range(len(spans))) for shard in shards}
        self._granted: dict[int, set[int]] = {}  # announced shards only
        self._wanting: list[int] = []  # places of announced shards with chunks not granted yet, in order
        self._shards = tuple(shards)
        self._least_bytes = min((span.nbytes for span in spans), default=0)  # of a chunk
        self.held_bytes = 0  # of chunks that wait for their turn, in memory of the round's own
        self.granted_bytes = 0  # of chunks that may come and have not
        self._left = len(spans) * len(self._place)  # chunks of all contributions still to come

    def has(self, shard: int) -> bool:
        """Whether a shard is of this round."""
        return shard in self._place

    def has_begun(self, shard: int) -> bool:
        """Whether anything of a shard's contribution is here."""
        return len(self._missing[shard]) < len(self._spans)

    def is_delivered(self, shard: int) -> bool:
        """Whether every chunk of a shard's contribution is here."""
        return not self._missing[shard]

    @property
    def is_closed(self) -> bool:
        """Whether every contribution is in; `out` is then the average, or will be after `finish`."""
        return self._left == 0

    def is_chunk_closed(self, index: int) -> bool:
        """Whether a chunk of `out` is the average already."""
        return self._means[index].is_closed

    def weigh(self, shard: int, samples: int) -> None:
        """Count a contribution that is to come as so many samples; once more: as the first time."""
        self._weighed.setdefault(self._place[shard], samples)

    def announce(self, shard: int, granted: Iterable[int] = ()) -> None:
        """A contribution is ready to come, `granted` of its chunks unasked. Again after a loss."""
        self._expect_no_more(shard)
        self._granted[shard] = set()
        bisect.insort(self._wanting, self._place[shard])
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
        return max(0, self._budget_bytes - self.held_bytes - self.granted_bytes)

    def leave_out(self, shard: int) -> None:
        """Close the round without a contribution, of which nothing has come; once more: no difference."""
        if shard not in self._place:
            return
        if self.has_begun(shard):
            raise AssertionError(f"something of shard {shard} has come, and may be summed")
        self._expect_no_more(shard)
        self._left_out.add(self._place.pop(shard))
        self._left -= len(self._missing.pop(shard))
        for index, held in enumerate(self._held):
            if any((index, place) not in self._lent for place in held):  # it takes room
                self._sum(index)

    def withdraw(self, shard: int) -> None:
        """Whoever was sending a shard's contribution is gone. What has come stays."""
        self._expect_no_more(shard)
        if not self.has_begun(shard):
            self._weighed.pop(self._place[shard], None)

    def _expect_no_more(self, shard: int) -> None:
        self.granted_bytes -= sum(self._spans[i].nbytes for i in self._granted.pop(shard, ()))
        self._want_no_more(shard)

    def grants(self) -> dict[int, tuple[int, ...]]:
        """Further chunks that may come now, by shard: the next in turn always, others within the budget."""
        new: dict[int, tuple[int, ...]] = {}
        for place in self._wanting[:]:
            shard = self._shards[place]
            chosen = self._choose(shard)
            if chosen:
                self._grant(shard, chosen)
                new[shard] = tuple(chosen)
            if self.free_bytes < self._least_bytes:
                break  # whoever comes later in the sum waits
        return new

    def deliver(self, shard: int, index: int, payload: memoryview, checksum: int | None = None) -> bool:
        """Take one chunk; whether it closed. Raises `WrongChunk` for one not granted or of the wrong size.

        Raises `NotFinite`, too. checksum: its xxh3-64, where it is known.
        """
        if index not in self._granted.get(shard, ()):
            if shard in self._missing and 0 <= index < len(self._spans) and index not in self._missing[shard]:
                return False  # once more: already summed or held
            raise WrongChunk(f"chunk {index} of shard {shard} was not asked for")
        span = self._spans[index]
        if len(payload) != span.nbytes:
            raise WrongChunk(f"chunk {index} of shard {shard} has {len(payload)} bytes, not {span.nbytes}")
        part = np.frombuffer(payload, span.dtype)
        if not is_finite(part):
            raise NotFinite(_not_finite(index, shard))
        self._granted[shard].discard(index)
        self.granted_bytes -= span.nbytes
        self._hold(shard, index, part)
        if self._keeps_digests and checksum is not None:
            self._checksums[index][self._place[shard]] = checksum
        self.held_bytes += span.nbytes
        if self.is_delivered(shard):
            del self._granted[shard]
        self._sum(index)
        return self._means[index].is_closed

    def lend(self, shard: int, vector: HostArray) -> None:
        """Take what is missing of a contribution from `vector`, which stays as it is until it is summed."""
        self._expect_no_more(shard)
        for index in sorted(self._missing[shard]):
            self._hold(shard, index, self._spans[index].of(vector))
            self._lent.add((index, self._place[shard]))
            self._unread.add((index, self._place[shard]))

    def take_back(self, shard: int) -> bool:
        """A contribution is wrong: what is not summed of it is missing again. Whether something is summed."""
        self._expect_no_more(shard)
        place = self._place[shard]
        for index, held in enumerate(self._held):
            if held.pop(place, None) is not None:
                self._missing[shard].add(index)
                self._left += 1
                self._checksums[index].pop(place, None)
                self._squares[index].pop(place, None)
                self.held_bytes -= 0 if (index, place) in self._lent else self._spans[index].nbytes
            self._lent.discard((index, place))
            self._unread.discard((index, place))
        if not self.has_begun(shard):
            self._weighed.pop(place, None)
        return self.has_begun(shard)

    def take_wrong(self) -> dict[int, PeerError]:
        """Shards whose contributions were found to be wrong since last asked; they are taken back."""
        found: dict[int, PeerError] = {}
        while self._wrong:
            wrong, self._wrong = self._wrong, []
            for _, place, error in wrong:
                found.setdefault(self._shards[place], error)
                self.take_back(self._shards[place])
            for index in {index for index, _, _ in wrong}:
                self._sum(index)  # what comes before it
        return found

    def measure(self, base: HostArray, chunks: frozenset[int]) -> None:
        """Measure how far contributions move the weights `base`, by these of their chunks."""
        self._base, self._measured = base, chunks

    def norms(self) -> dict[int, float]:
        """How far each contribution moves the weights, by shard, as far as it is measured; all are here."""
        places = {shard: place for shard, place in self._place.items() if self._measured}
        return {
            shard: math.sqrt(sum(known.get(place, 0.0) for known in self._squares))
            for shard, place in places.items()
        }

    def _measure(self, index: int) -> None:
        """Measure what is held of a chunk."""
        if self._base is not None and index in self._measured:
            base = self._spans[index].of(self._base)
            for place, part in self._held[index].items():
                if place not in self._squares[index]:
                    self._squares[index][place] = squared_distance(part, base)

    def _has_wrong(self, spread: Spread) -> bool:
        """Whether something that is here is not finite."""

        def look(index: int) -> None:
            self._find_wrong(index)

        for _ in spread(look, range(len(self._spans))):
            pass
        return bool(self._wrong)

    def _find_wrong(self, index: int) -> bool:
        """Whether something that is here of a chunk is not finite; it is noted for `take_wrong`."""
        held = self._held[index]
        wrong = [place for place in held if (index, place) in self._unread and not is_finite(held[place])]
        self._note_wrong(index, wrong)
        return bool(wrong)

    def _note_wrong(self, index: int, places: Iterable[int]) -> None:
        for place in places:
            self._wrong.append((index, place, NotFinite(_not_finite(index, self._shards[place]))))

    def keep(self, shard: int) -> None:
        """The memory a contribution was lent in goes away: copy what is not summed yet."""
        place = self._place[shard]
        for index, span in enumerate(self._spans):
            if (index, place) in self._lent and place in self._held[index]:
                self._held[index][place] = self._held[index][place].copy()
                self._lent.discard((index, place))
                self.held_bytes += span.nbytes

    def absorb(self, shard: int) -> bool:
        """Sum all that is in turn, to give lent memory back; whether the shard's contribution is summed."""
        for index in range(len(self._spans)):
            self._sum(index)
        return all(place > self._place[shard] for place in self._next)

    def finish(self, mirrors: Sequence[HostArray] = (), spread: Spread = map) -> None:
        """Every contribution is in: sum what is left, and copy the average to the vectors `mirrors`.

        Unless something is not finite: then what can be is closed, and `take_wrong` says what is missing.
        """

        def finish_chunk(index: int) -> None:
            mean, views = self._means[index], [self._spans[index].of(mirror) for mirror in mirrors]
            if mean.is_closed:
                for view in views:
                    view[...] = mean.out
            else:
                self._sum(index, views)

        for _ in spread(finish_chunk, range(len(self._spans))):
            pass

    def digests(self) -> tuple[str, ...]:
        """Of each contribution, in the order of the shards, once all is summed; none unless they are kept."""
        if not self._keeps_digests:
            return ()
        places = self._place.values()
        return tuple(digests.of_chunks(known[place] for known in self._checksums) for place in places)

    def _hold(self, shard: int, index: int, part: HostArray) -> None:
        self._missing[shard].discard(index)
        self._left -= 1
        self._held[index][self._place[shard]] = part

    def _sum(self, index: int, mirrors: Sequence[HostArray] = ()) -> None:
        """Add what is in turn to a chunk's mean; with the last of it, the mean is closed."""
        mean, held, first, turn = self._means[index], self._held[index], self._next[index], self._turn(index)
        if turn == first:
            return
        self._measure(index)
        places = [place for place in range(first, turn) if place not in self._left_out]
        divisor = self._divisor if turn == self._count else 0
        scales = [self._factor(place) for place in places]
        parts, known = [held[place] for place in places], self._checksums[index]
        new = {i: place for i, place in enumerate(places) if self._keeps_digests and place not in known}
        hashes = {i: self._begun.get((index, place), xxhash.xxh3_64()) for i, place in new.items()}
        unread = [i for i, place in enumerate(places) if (index, place) in self._unread]
        if wrong := mean.add(parts, scales, divisor, mirrors, hashes, unread):
            self._note_wrong(index, (places[i] for i in wrong))
            self._begun.update({(index, place): hashes[i] for i, place in new.items() if divisor})
            return
        self._next[index] = turn
        for place in places:
            del held[place]
        for i, place in new.items():
            known[place] = hashes[i].intdigest()
        copied = sum((index, place) not in self._lent for place in places)
        self.held_bytes -= copied * self._spans[index].nbytes

    def _turn(self, index: int) -> int:
        """The place whose part of a chunk is missing first: all before it can be summed."""
        turn, held = self._next[index], self._held[index]
        while turn in held or turn in self._left_out:
            turn += 1
        return turn

    @property
    def _divisor(self) -> float:
        """Of the mean of all that are not left out."""
        return sum(self._factor(place) for place in range(self._count) if place not in self._left_out)

    def _factor(self, place: int) -> float:
        """How often a contribution that is here counts."""
        if place not in self._weighed:
            return self._factors[place]
        first = next(one for one in range(self._count) if one not in self._left_out)
        return relative(self._weighed[place], self._weighed[first])

    def _choose(self, shard: int) -> list[int]:
        """Chunks of a shard to grant, lowest first, up to the window and the budget."""
        granted, place = self._granted[shard], self._place[shard]
        room = self._window - len(granted)
        bytes_left = self._budget_bytes - self.held_bytes - self.granted_bytes
        chosen: list[int] = []
        for index in sorted(self._missing[shard] - granted):
            if len(chosen) >= room:
                break
            if self._turn(index) == place or self._spans[index].nbytes <= bytes_left:
                chosen.append(index)
                bytes_left -= self._spans[index].nbytes
        return chosen

    def _grant(self, shard: int, chunks: Iterable[int]) -> None:
        self._granted[shard].update(chunks)
        if len(self._granted[shard]) == len(self._missing[shard]):
            self._want_no_more(shard)
        self.granted_bytes += sum(self._spans[i].nbytes for i in chunks)

    def _want_no_more(self, shard: int) -> None:
        place = self._place[shard]
        at = bisect.bisect_left(self._wanting, place)
        if at < len(self._wanting) and self._wanting[at] == place:
            del self._wanting[at]


def _not_finite(index: int, shard: int) -> str:
    return f"chunk {index} of shard {shard} has NaN, infinity or numbers too large to be weights"


class Vectors:
    """Flat vectors of `nbytes` to average into, used again when nobody reads them any more.

    A closed version is sent and saved straight from its vector, so it may be written again only after the
    last of those reads.
    """

    def __init__(self, nbytes: int, memory: Memory) -> None:
        self._nbytes = nbytes
        self._memory = memory
        self._retired: list[HostArray] = []

    def take(self) -> HostArray:
        for i, vector in enumerate(self._retired):
            if self._memory.is_free(vector):
                return self._retired.pop(i)
        return self._memory.allocate(self._nbytes)

    def retire(self, vector: HostArray) -> None:
        """A vector is current no more. It stays: others know it by a number that must not come again."""
        self._retired.append(vector)
