"""Weights out and contributions in, chunk by chunk: the traffic between an averaging process and the workers.

The master is that process where it averages itself; else each averaging server is, for its stretch of the
vector. Who works on what, and whether a contribution may be one at all, is decided elsewhere.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from paramserver.averaging.canonical import Canonical
from paramserver.averaging.rounds import Lent, Round
from paramserver.effects import Outbox
from ps_common import messages as m
from ps_common.arrays import HostArray
from ps_common.errors import PeerError, WrongChecksum, WrongChunk
from ps_common.gather import Gather
from ps_common.layout import ChunkSpan, Layout
from ps_common.wire import checksum


@dataclasses.dataclass(frozen=True)
class Comer:
    """Whose contribution to a shard is ready to come. is_last: as in `Grant`."""

    lease: int
    sender: bytes
    is_last: bool
    samples: int = 0  # that it counts as; 0: as the round was opened with


def take_part(
    message: m.Weights, payload: memoryview, spans: Sequence[ChunkSpan], vector: HostArray, into: Gather
) -> bool:
    """Write a chunk that has come where it belongs; whether it was wanted. Raises `PeerError`."""
    if message.index >= len(spans):
        raise WrongChunk(f"there is no chunk {message.index}; the stretch has {len(spans)}")
    span = spans[message.index]
    if len(payload) != span.nbytes:
        raise WrongChunk(f"chunk {message.index} has {len(payload)} bytes, not {span.nbytes}")
    if checksum(payload) != message.checksum:
        raise WrongChecksum(f"chunk {message.index} of version {message.version} has a wrong checksum")
    is_wanted = into.take(message.index)
    if is_wanted:
        vector[span.start : span.stop] = np.frombuffer(payload, np.uint8)
    return is_wanted


class Chunks:
    """The canonical weights at `version`, and the round that makes the next one, if one is open."""

    servers: tuple[str, ...] = ()  # whom workers exchange chunks with, where that is not this process
    is_ready = True  # as opposed to servers that are still to come
    is_shared = True  # it sees what this process sees
    bytes_sent = bytes_received = 0  # by others than this process

    def __init__(self, canonical: Canonical, outbox: Outbox) -> None:
        self.canonical = canonical
        self.version = -1
        self.round: Round | None = None
        self._outbox = outbox
        self._comers: dict[int, Comer] = {}  # by shard
        self._shards: dict[tuple[bytes, int], int] = {}  # the same by sender and lease
        self._awaited: dict[int, dict[bytes, None]] = {}  # open chunk -> who has asked for it, in order

    # -- rounds ---------------------------------------------------------------------------------------

    def begin(self, layout: Layout, version: int, vector: HostArray | None) -> None:
        """The weights are these; at version -1 there are none yet."""
        self.canonical.agree(layout, vector)
        self.version, self.round = version, None
        self._awaited.clear()

    def propose(self, layout: Layout) -> None:
        """Open the round of the first weights. Raises `PeerError` for a layout too large for this machine."""
        out = self.canonical.propose(layout)
        self.open((0,), (1,), out)

    def open(self, shards: Sequence[int], samples: Sequence[int], out: HostArray | None = None) -> None:
        """Open the round that makes the next version, in the vector `out` if there is one to lie in."""
        self.round = self.canonical.new_round(shards, samples, out)
        self._comers.clear()
        self._shards.clear()

    def drop(self) -> None:
        """The round of the first weights is given up, and its layout with it."""
        self.round = None
        self._awaited.clear()
        self.canonical.forget_proposal()

    def leave_out(self, shards: Iterable[int]) -> None:
        """The round is closed without these, of which nothing has come."""
        if self.round is not None:
            for shard in shards:
                self._forget_comer(shard)
                self.round.leave_out(shard)
            self._send_closed(self.round)
            self.send_grants()

    def finish(self, mirrors: Sequence[Lent] = ()) -> None:
        """Every contribution is in: average what is left, on the way into `mirrors` too.

        The outcome goes to whoever has asked for it; the version is what it was until `adopt`. Unless a
        contribution is found to be wrong: then `take_wrong` has it, and this is to be said again.
        """
        if self.round is None:
            return
        self.canonical.finish(self.round, [mirror.vector for mirror in mirrors])
        self._send_closed(self.round)

    @property
    def is_finished(self) -> bool:
        """Whether what `finish` has begun is done."""
        return self.round is None or self.round.is_closed

    def outliers(self) -> tuple[int, ...]:
        """Shards whose contributions to the finished round have moved the weights unusually far."""
        if self.round is None:
            return ()
        norms = self.round.norms()
        found = self.canonical.norms.outliers(norms)
        self.canonical.norms.remember({shard: norm for shard, norm in norms.items() if shard not in found})
        return tuple(found)

    def digests(self) -> tuple[str, ...]:
        """Of the contributions to the finished round, in the order of its shards, if they are kept."""
        return self.round.digests() if self.round is not None else ()

    def adopt(self) -> None:
        """The next version, finished, is the version."""
        if self.round is not None:
            self.canonical.adopt(self.round)
            self.version, self.round = self.version + 1, None

    # -- contributions --------------------------------------------------------------------------------

    def announce(self, shard: int, comer: Comer, granted: Iterable[int] = ()) -> None:
        """A contribution is ready to come, `granted` of its chunks unasked. Again after a loss."""
        if self.round is not None:
            self._forget_comer(shard)
            self._comers[shard] = comer
            self._shards[comer.sender, comer.lease] = shard
            if comer.samples:
                self.round.weigh(shard, comer.samples)
            self.round.announce(shard, granted)

    def lend(self, shard: int, lent: Lent, samples: int = 0) -> None:
        """A contribution lies here, of so many samples, if that was not known before."""
        if self.round is not None:
            self._forget_comer(shard)
            if samples:
                self.round.weigh(shard, samples)
            self.round.lend(shard, lent.vector)

    def take_back(self, shard: int) -> bool:
        """A contribution is wrong: drop what is not summed of it. Whether something was summed, and stays."""
        if self.round is None or not self.round.has(shard):
            return False
        self._forget_comer(shard)
        return self.round.take_back(shard)

    def take_wrong(self) -> Mapping[int, PeerError]:
        """The shards whose contributions were found to be wrong when they were read; they are taken back."""
        return self.round.take_wrong() if self.round is not None else {}

    def withdraw(self, shard: int) -> bool:
        """Whoever was sending a contribution is gone. What has come stays; whether anything has."""
        if self.round is None:
            return False
        self._forget_comer(shard)
        self.round.withdraw(shard)
        return self.round.has_begun(shard)

    def _forget_comer(self, shard: int) -> None:
        comer = self._comers.pop(shard, None)
        if comer is not None:
            self._shards.pop((comer.sender, comer.lease), None)

    def repeat(self, shard: int, is_last: bool) -> None:
        """Something on its way was lost: grant again what was granted and has not come."""
        chunks = self.round.granted(shard) if self.round is not None else ()
        if chunks:
            self._send_grant(shard, chunks, is_last)

    def send_grants(self, is_last: bool | None = None) -> None:
        """Grant what further chunks may come. is_last: instead of what the announcements said."""
        for shard, chunks in self.round.grants().items() if self.round is not None else ():
            self._send_grant(shard, chunks, self._comers[shard].is_last if is_last is None else is_last)

    def _send_grant(self, shard: int, chunks: tuple[int, ...], is_last: bool) -> None:
        comer = self._comers[shard]
        self._outbox.send(comer.sender, m.Grant(comer.lease, chunks, is_last))

    def shard_of(self, sender: bytes, lease: int) -> int | None:
        """Which contribution was announced of this worker and lease."""
        return self._shards.get((sender, lease))

    def take(self, shard: int, message: m.Chunk, payload: memoryview) -> None:
        """A chunk has come. Raises `PeerError` for one that is wrong."""
        if self.round is None:
            return
        if checksum(payload) != message.checksum:
            raise WrongChecksum(f"chunk {message.index} of shard {shard} has a wrong checksum")
        if self.round.deliver(shard, message.index, payload, message.checksum):
            self._send_awaited(self.round, message.index)

    def may_come(self, shard: int, index: int) -> bool:
        """Whether a chunk is granted and not here. Raises `PeerError` where there is none."""
        if index >= self.canonical.chunks:
            raise WrongChunk(f"there is no chunk {index}; there are {self.canonical.chunks}")
        return self.round is not None and index in self.round.granted(shard)

    def is_delivered(self, shard: int) -> bool:
        return self.round is None or self.round.is_delivered(shard)

    @property
    def free_bytes(self) -> int | None:
        """How much of a contribution may come before its turn; None: anything, there is no round."""
        return None if self.round is None else self.round.free_bytes

    def is_blocked(self, shard: int) -> bool:
        return self.round is not None and self.round.is_blocked(shard)

    def absorb(self, shard: int) -> bool:
        """Sum what is in turn; whether the memory a contribution was lent in is read no more."""
        if self.round is None:
            return True
        is_summed = self.round.absorb(shard)
        self._send_closed(self.round)
        return is_summed

    def may_keep(self, shard: int) -> bool:
        """Whether `keep` can be asked of a contribution now."""
        return True

    def keep(self, shard: int) -> None:
        """The memory a contribution was lent in goes away: copy what is not summed yet."""
        if self.round is not None:
            self.round.keep(shard)

    # -- weights --------------------------------------------------------------------------------------

    def pull(self, sender: bytes, version: int, chunks: Sequence[int]) -> bool:
        """Somebody asks for chunks of a version; False where it is neither this one nor the next."""
        if version == self.version:
            self.send_weights(sender, chunks)
            return True
        if self.round is not None and version == self.version + 1:
            self._send_ahead(self.round, sender, chunks)
            return True
        return False

    def send_weights(self, to: bytes, chunks: Iterable[int]) -> None:
        for index in chunks:
            part, number = self.canonical.chunk(index)
            self._outbox.send(to, m.Weights(self.version, index, number), part)

    def _send_closed(self, round_: Round) -> None:
        """Chunks may have closed that somebody waits for."""
        for index in [index for index in self._awaited if round_.is_chunk_closed(index)]:
            self._send_awaited(round_, index)

    def _send_awaited(self, round_: Round, index: int) -> None:
        """A chunk has closed."""
        for sender in self._awaited.pop(index, ()):
            self._send_ahead(round_, sender, (index,))

    def _send_ahead(self, round_: Round, to: bytes, chunks: Sequence[int]) -> None:
        """Send chunks of the next version as far as they are closed; the others follow when they are."""
        for index in chunks:
            found = self.canonical.next_chunk(round_, index)
            if found is None:
                self._awaited.setdefault(index, {})[to] = None
            else:
                part, number = found
                self._outbox.send(to, m.Weights(self.version + 1, index, number), part)
