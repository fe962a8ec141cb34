"""A round whose contributions are summed only when all of them are here and none is an outlier.

What `rounds.Round` is, with the same interface; what is summed cannot be taken out again, so it is held until
then, or stays in the shared memory it was lent in. The budget is what that takes: nobody waits for a turn.
"""

from collections.abc import Sequence

from paramserver.averaging.norms import Norms
from paramserver.averaging.rounds import Round, Spread
from ps_common.arrays import HostArray
from ps_common.errors import Outlier
from ps_common.layout import ChunkSpan


class ClearedRound(Round):
    """base: the weights that all contributions began with. usual: what is an outlier. Else as `Round`."""

    def __init__(
        self,
        base: HostArray,
        usual: Norms,
        shards: Sequence[int],
        samples: Sequence[int],
        spans: Sequence[ChunkSpan],
        out: HostArray,
        window: int,
        keeps_digests: bool = False,
    ) -> None:
        budget_bytes = 2 * len(shards) * out.nbytes  # twice what can come: it never ends
        super().__init__(shards, samples, spans, out, window, budget_bytes, keeps_digests)
        self.measure(base, frozenset(range(len(spans))))
        self._usual = usual
        self._is_cleared = False

    def finish(self, mirrors: Sequence[HostArray] = (), spread: Spread = map) -> None:
        if not self._is_cleared:
            self._clear(spread)
        if self._is_cleared:
            super().finish(mirrors, spread)

    def absorb(self, shard: int) -> bool:
        """Whether a contribution is averaged, and its memory free again; nothing is before all are here."""
        return all(mean.is_closed for mean in self._means)

    def _sum(self, index: int, mirrors: Sequence[HostArray] = ()) -> None:
        if self._is_cleared:
            super()._sum(index, mirrors)

    def _clear(self, spread: Spread) -> None:
        """Look at all that is here, before anything is summed."""
        if self._has_wrong(spread):
            return
        for _ in spread(self._measure, range(len(self._spans))):
            pass
        found = self._usual.outliers(self.norms())
        for shard, times in found.items():
            text = f"the contribution to shard {shard} moves the weights {times:.3g} times as far as is usual"
            self._wrong.append((0, self._place[shard], Outlier(text)))
        self._is_cleared = not found
