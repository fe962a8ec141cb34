"""The canonical weights: one flat vector at a version, its chunks, and the vectors it is averaged into."""

from collections.abc import Sequence

from paramserver.rounds import Round, Vectors
from paramserver.settings import Settings
from ps_common.arrays import HostArray
from ps_common.errors import PeerError
from ps_common.layout import ChunkSpan, Layout
from ps_common.memory import Memory
from ps_common.messages import NOT_SHARED
from ps_common.wire import checksum


class Canonical:
    """The weights of the last closed version. `layout` and `vector` are None before they are initialised.

    memory: where its vectors lie.
    """

    def __init__(self, settings: Settings, memory: Memory) -> None:
        self.layout: Layout | None = None
        self.vector: HostArray | None = None
        self._settings = settings
        self._memory = memory
        self._vectors = Vectors(0, memory)
        self._spans: tuple[ChunkSpan, ...] = ()
        self._checksums: dict[int, int] = {}  # of chunks of this version, made when first sent
        self._next_checksums: dict[int, int] = {}  # of closed chunks of the next one

    @property
    def chunks(self) -> int:
        return len(self._spans)

    @property
    def nbytes(self) -> int:
        return self.layout.nbytes if self.layout else 0

    def agree(self, layout: Layout, vector: HostArray | None = None) -> None:
        """The layout is known: proposed by the unit "initialise", or with its vector from a checkpoint."""
        self.layout, self.vector = layout, vector
        if vector is not None and self._memory.place:  # where the workers of this machine can see it
            self.vector = self._memory.allocate(layout.nbytes)
            self.vector[...] = vector
        self._spans = layout.chunks(self._settings.chunk_bytes)
        self._vectors = Vectors(layout.nbytes, self._memory)

    def propose(self, layout: Layout) -> Round:
        """The round that fills a layout with the first weights. Raises `PeerError` for one too large."""
        self.agree(layout)
        try:
            return self.new_round((0,), (1,))
        except MemoryError as error:
            self.forget_proposal()
            raise PeerError(f"a layout of {layout.nbytes} bytes is more than this machine has") from error

    def forget_proposal(self) -> None:
        """The layout was not filled with weights: there is none."""
        if self.vector is None:
            self.layout, self._spans = None, ()

    def new_round(self, shards: Sequence[int], samples: Sequence[int]) -> Round:
        """An average of these shards, to become the next version."""
        settings = self._settings
        budget = max(settings.held_bytes, self.nbytes)
        return Round(shards, samples, self._spans, self._vectors.take(), settings.window, budget)

    def adopt(self, closed: Round, mirrors: Sequence[HostArray] = ()) -> None:
        """A round is closed: its vector is the next version, which is copied to `mirrors` on the way."""
        closed.finish(mirrors, self._memory.spread(self.nbytes))
        if self.vector is not None:
            self._vectors.retire(self.vector)
        self.vector = closed.out
        self._checksums, self._next_checksums = self._next_checksums, {}

    @property
    def descriptor(self) -> int:
        """By what number workers on this machine find the vector; `NOT_SHARED` where they cannot."""
        return NOT_SHARED if self.vector is None else self._memory.descriptor(self.vector)

    def chunk(self, index: int) -> tuple[HostArray, int]:
        """A chunk's bytes and checksum. Raises `PeerError` where there is none."""
        return self._chunk(self.vector, index, self._checksums)

    def next_chunk(self, round_: Round, index: int) -> tuple[HostArray, int] | None:
        """The same of the version in the making; None while the chunk is open."""
        if round_.out is self.vector:  # it is adopted, and those of the next one are another's
            return self.chunk(index)
        if index < self.chunks and not round_.is_chunk_closed(index):
            return None
        return self._chunk(round_.out, index, self._next_checksums)

    def _chunk(self, vector: HostArray | None, index: int, known: dict[int, int]) -> tuple[HostArray, int]:
        if vector is None or index >= len(self._spans):
            raise PeerError(f"there is no chunk {index}; the model has {len(self._spans)}")
        span = self._spans[index]
        part = vector[span.start : span.stop]
        if index not in known:
            known[index] = checksum(part.data)
        return part, known[index]
