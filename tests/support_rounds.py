"""A round of random contributions, and what it must make of them, whichever way they come."""

import numpy as np

from paramserver.averaging.rounds import Round
from ps_common.layout import Entry, Layout
from ps_common.wire import checksum
from support_averages import naive_mean, random_vectors

SMALL = Layout([Entry("w", (40,)), Entry("m", (20,), "float16", "slot")])  # chunks of 16, 16 and 8; of 20


class Case:
    """A round, the contributions to it, and a book of what was sent, lent and summed of them."""

    def __init__(self, layout, samples, window=2, budget=10**9, chunk_bytes=64, seed=0):
        self.layout, self.samples, self.budget = layout, samples, budget
        self.shards = [3 * i + 1 for i in range(len(samples))]  # a round need not have all shards
        self.spans = layout.chunks(chunk_bytes)
        self.vectors = dict(zip(self.shards, random_vectors(layout, len(samples), seed), strict=True))
        out = layout.empty()
        out[...] = 255  # what was there before must not matter
        self.round = Round(self.shards, samples, self.spans, out, window, budget, keeps_digests=True)
        self.may = {}  # announced shard -> chunks that it was granted and has not sent
        self.sent = {shard: set() for shard in self.shards}  # chunks in memory of the round's own
        self.lent = {}  # shard -> the vector that the rest of its chunks lie in
        self.added = [0] * len(self.spans)  # shards that are summed, of each chunk

    def announce(self, shard):
        self.round.announce(shard)
        self.may[shard] = set()
        self.take_grants()

    def withdraw(self, shard):
        self.round.withdraw(shard)
        del self.may[shard]
        self.take_grants()

    def take_grants(self):
        for shard, chunks in self.round.grants().items():
            assert not self.may[shard] & set(chunks), "granted twice"
            assert not self.sent[shard] & set(chunks), "granted again though it is here"
            self.may[shard] |= set(chunks)

    def send(self, shard, index):
        span = self.spans[index]
        payload = self.vectors[shard][span.start : span.stop].data
        self.round.deliver(shard, index, payload, checksum(payload) if index % 2 else None)
        self.may.get(shard, set()).discard(index)
        if index not in self.sent[shard]:
            self.sent[shard].add(index)
            self._sum(index)
        self.take_grants()
        if self.round.is_delivered(shard):
            self.may.pop(shard, None)

    def lend(self, shard):
        """A contribution lies in a vector: it, or what is missing of it, is there."""
        vector = self.vectors[shard].copy()
        for index in self.sent[shard]:  # of another worker: the bits are the same, but need not be looked at
            vector[self.spans[index].start : self.spans[index].stop] = 255
        self.round.lend(shard, vector)
        self.lent[shard] = vector
        self.may.pop(shard, None)
        self.take_grants()

    def absorb(self, shard):
        """The borrowed memory is wanted back; whether it is."""
        is_free = self.round.absorb(shard)
        for index in range(len(self.spans)):
            self._sum(index)
        assert is_free == all(added > self.shards.index(shard) for added in self.added)
        if is_free:
            self._give_back(shard)
        self.take_grants()
        return is_free

    def keep(self, shard):
        """The borrowed memory is wanted back at once."""
        self.round.keep(shard)
        self.sent[shard] = {span.index for span in self.spans}
        self._give_back(shard)

    def held_bytes(self):
        """Bytes of chunks that are here before they are summed, in memory of the round's own."""
        places = enumerate(self.shards)
        return sum(
            self.spans[i].nbytes for place, s in places for i in self.sent[s] if place >= self.added[i]
        )

    def mean(self):
        return naive_mean(self.layout, list(self.vectors.values()), self.samples)

    def assert_right(self, *vectors):
        """The round is closed, it and these other vectors hold the average, and it says of what."""
        assert self.round.is_closed
        assert self.round.digests() == tuple(self.digest(shard) for shard in self.shards)
        mean = self.layout.views(self.mean())
        for vector in (self.round.out, *vectors):
            for name, view in self.layout.views(vector).items():
                assert view.tobytes() == mean[name].tobytes(), name

    def digest(self, shard):
        """By the formula."""
        sums = [checksum(self.vectors[shard][one.start : one.stop].data) for one in self.spans]
        return f"{checksum(np.array(sums, '<u8').data):016x}"

    def _sum(self, index):
        while self.added[index] < len(self.shards):
            shard = self.shards[self.added[index]]
            if index not in self.sent[shard] and shard not in self.lent:
                return
            self.added[index] += 1

    def _give_back(self, shard):
        """Its owner writes there again: nothing of that may come into the average."""
        if shard in self.lent:
            self.lent[shard][...] = np.random.default_rng(shard).integers(0, 256, self.layout.nbytes)
