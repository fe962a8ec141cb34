"""The canonical weights: one flat vector at a version, its chunks, and the vectors it is averaged into."""

from collections.abc import Sequence

from paramserver.averaging.cleared import ClearedRound
from paramserver.averaging.gathered import GatheredRound
from paramserver.averaging.norms import Norms, sampled
from paramserver.averaging.rounds import Round, Vectors
from paramserver.settings import Settings
from ps_common import rules
from ps_common.arrays import HostArray
from ps_common.errors import PeerError, UsageError, WrongChunk
from ps_common.layout import ChunkSpan, Layout
from ps_common.memory import Memory
from ps_common.messages import NOT_SHARED
from ps_common.wire import checksum


class Canonical:
    """The weights of the last closed version. `layout` and `vector` are None before they are initialised.

    memory: where its vectors lie. keeps: whether to average into them again; not where they are another's.
    rule: how rounds are averaged.
    """

    def __init__(
        self,
        settings: Settings,
        memory: Memory,
        keeps: bool = True,
        rule: rules.Rule = rules.MEAN,
    ) -> None:
        self.layout: Layout | None = None
        self.vector: HostArray | None = None
        self._settings = settings
        self._memory = memory
        self._keeps = keeps
        self._rule = rule
        self.norms = Norms(settings.outlier_factor)
        self._vectors = Vectors(0, memory)
        self.spans: tuple[ChunkSpan, ...] = ()
        self._checksums: dict[int, int] = {}  # of chunks of this version, made when first sent
        self._next_checksums: dict[int, int] = {}  # of closed chunks of the next one

    @property
    def chunks(self) -> int:
        return len(self.spans)

    @property
    def nbytes(self) -> int:
        return self.layout.nbytes if self.layout else 0

    def agree(self, layout: Layout, vector: HostArray | None = None) -> None:
        """The layout is known; the weights are proposed by the unit "initialise", or lie in `vector`."""
        self.layout, self.vector = layout, vector
        self.spans = layout.chunks(self._settings.chunk_bytes)
        self._vectors = Vectors(layout.nbytes, self._memory)
        self._checksums, self._next_checksums = {}, {}

    def propose(self, layout: Layout) -> HostArray:
        """Agree on a layout; a vector for the first weights. Raises `PeerError` for one too large."""
        layout.check_chunks(self._settings.chunk_bytes)
        self.agree(layout)
        try:
            return self.take_vector()
        except MemoryError as error:
            self.forget_proposal()
            raise PeerError(f"a layout of {layout.nbytes} bytes is more than this machine has") from error

    def forget_proposal(self) -> None:
        """The layout was not filled with weights: there is none."""
        if self.vector is None:
            self.layout, self.spans = None, ()

    def new_round(self, shards: Sequence[int], samples: Sequence[int], out: HostArray | None = None) -> Round:
        """An average of these shards, to become the next version; in `out`, or a vector of its own."""
        vector = self.take_vector() if out is None else out
        settings = self._settings
        if self._rule == rules.MEAN and settings.rejects_outliers and self.vector is not None:
            given = (shards, samples, self.spans, vector, settings.window, settings.keeps_ledger)
            return ClearedRound(self.vector, self.norms, *given)
        if self._rule.faulty and self.vector is not None:  # the first weights are those of one worker
            given = (shards, samples, self.spans, vector, settings.window, settings.keeps_ledger)
            return GatheredRound(self._rule, self.vector, *given)
        round_ = Round(
            shards, samples, self.spans, vector, settings.window, self.budget_bytes, settings.keeps_ledger
        )
        if self.vector is not None:
            round_.measure(self.vector, sampled(len(self.spans), settings.secret))
        return round_

    def check_round(self, contributions: int) -> None:
        """Raise `PeerError` where the rule cannot tell anything of so few."""
        try:
            self._rule.check(contributions if self.vector is not None else self._rule.least)
        except UsageError as error:
            raise PeerError(str(error)) from error

    @property
    def budget_bytes(self) -> int:
        """How much of the contributions to a round may wait for its turn."""
        return max(self._settings.held_bytes, self.nbytes)

    def take_vector(self) -> HostArray:
        """A vector that nobody reads, for the next version. Raises `MemoryError`."""
        return self._vectors.take()

    def finish(self, round_: Round, mirrors: Sequence[HostArray] = ()) -> None:
        """Every contribution of a round is in: average the rest of it, copied to `mirrors` on the way."""
        round_.finish(mirrors, self._memory.spread(self.nbytes))

    def adopt(self, closed: Round) -> None:
        """A finished round's vector is the next version."""
        self.replace(closed.out)
        self._checksums, self._next_checksums = self._next_checksums, {}

    def replace(self, vector: HostArray) -> None:
        """The next version lies here."""
        if self.vector is not None and self._keeps:
            self._vectors.retire(self.vector)
        self.vector = vector

    @property
    def descriptor(self) -> int:
        """By what number workers on this machine find the vector; `NOT_SHARED` where they cannot."""
        return NOT_SHARED if self.vector is None else self._memory.descriptor(self.vector)

    def chunk(self, index: int) -> tuple[HostArray, int]:
        """A chunk's bytes and checksum. Raises `PeerError` where there is none."""
        return self._chunk(self.vector, index, self._checksums)

    def next_chunk(self, round_: Round, index: int) -> tuple[HostArray, int] | None:
        """The same of the version in the making; None while the chunk is open."""
        if index < self.chunks and not round_.is_chunk_closed(index):
            return None
        return self._chunk(round_.out, index, self._next_checksums)

    def _chunk(self, vector: HostArray | None, index: int, known: dict[int, int]) -> tuple[HostArray, int]:
        if vector is None or index >= len(self.spans):
            raise WrongChunk(f"there is no chunk {index}; the model has {len(self.spans)}")
        span = self.spans[index]
        part = vector[span.start : span.stop]
        if index not in known:
            known[index] = checksum(part.data)
        return part, known[index]
