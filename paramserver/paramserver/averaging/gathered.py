"""A round by a robust rule: all contributions are gathered, and what they have in common is the average.

What `rounds.Round` is for the mean, with the same interface. No contribution counts before all are here, so
all are held, or stay in the shared memory they were lent in; the budget is what that takes, and nobody waits
for a turn. A rule that goes coordinate by coordinate closes a chunk as soon as that chunk of all is here;
one that holds whole vectors against each other closes all of them when the round finishes.
"""

from collections.abc import Callable, Sequence

import numpy as np
import xxhash

from paramserver.averaging import robust
from paramserver.averaging.mean import Mean
from paramserver.averaging.rounds import Round, Spread
from ps_common import rules
from ps_common.arrays import HostArray
from ps_common.layout import ChunkSpan

Parts = Sequence[HostArray]


class GatheredRound(Round):
    """The average of the contributions of `shards` by `rule`, into the flat vector `out`.

    base: the weights that all contributions began with. The others: as of `Round`; each contribution
    counts as one, whatever its samples.
    """

    def __init__(
        self,
        rule: rules.Rule,
        base: HostArray | None,
        shards: Sequence[int],
        samples: Sequence[int],
        spans: Sequence[ChunkSpan],
        out: HostArray,
        window: int,
        keeps_digests: bool = False,
    ) -> None:
        budget_bytes = 2 * len(shards) * out.nbytes  # twice what can come: it never ends
        super().__init__(shards, samples, spans, out, window, budget_bytes, keeps_digests)
        self._rule = rule
        self._base = base
        self._shares: list[float] | None = None  # what each contribution counts, by a rule of whole vectors

    def absorb(self, shard: int) -> bool:
        """Whether a contribution is averaged, and its memory free again; nothing is before all are here."""
        return all(mean.is_closed for mean in self._means)

    def finish(self, mirrors: Sequence[HostArray] = (), spread: Spread = map) -> None:
        """Every contribution is in: combine what is left, and copy the average to the vectors `mirrors`."""
        if self._rule.is_whole and self._shares is None:
            if self._has_wrong(spread):
                return
            self._shares = self._weigh_all(spread)
        super().finish(mirrors, spread)

    def _sum(self, index: int, mirrors: Sequence[HostArray] = ()) -> None:
        """Combine a chunk, if all that is needed for it is here."""
        mean, held = self._means[index], self._held[index]
        is_whole = len(held) + len(self._left_out) == self._count
        if mean.is_closed or not is_whole or (self._rule.is_whole and self._shares is None):
            return
        if self._shares is None and self._find_wrong(index):
            return
        self._measure(index)
        places = sorted(held)
        parts = [held[place] for place in places]
        if self._keeps_digests:
            for place, part in zip(places, parts, strict=True):
                if place not in self._checksums[index]:
                    self._checksums[index][place] = xxhash.xxh3_64_intdigest(part.data)
        if self._shares is None:
            combine = _by_coordinate(self._rule)
            combine(parts, mean.out, mirrors)
            mean.is_closed = True
        else:
            self._add(mean, parts, self._shares, index, mirrors)
        copied = sum((index, place) not in self._lent for place in places)
        self.held_bytes -= copied * self._spans[index].nbytes
        held.clear()

    def _weigh_all(self, spread: Spread) -> list[float]:
        """What each contribution counts, all of each being here."""
        rule, spans, found = self._rule, self._spans, dict[int, robust.Table]()
        if not spans:
            return []

        def measure(index: int) -> None:
            parts = [self._held[index][place] for place in sorted(self._held[index])]
            if isinstance(rule, rules.ClippedMean):
                found[index] = robust.squared_norms(parts, spans[index].of(self._center))
            else:
                found[index] = robust.squared_distances(parts)

        for _ in spread(measure, range(len(spans))):
            pass
        with robust.huge():
            squared = np.sum([found[index] for index in range(len(spans))], axis=0)
        if isinstance(rule, rules.ClippedMean):
            return robust.clip_factors(squared, rule.norm)
        chosen = rule.chosen if isinstance(rule, rules.MultiKrum) else 1
        places = robust.multi_krum(squared, rule.faulty, chosen)
        return [float(place in places) for place in range(len(squared))]

    def _add(
        self, mean: Mean, parts: Parts, shares: Sequence[float], index: int, mirrors: Sequence[HostArray]
    ) -> None:
        """The mean of what contributions count; what a clipped one does not, the weights of before do."""
        counted = [(part, share) for part, share in zip(parts, shares, strict=True) if share]
        total = sum(shares)
        if isinstance(self._rule, rules.ClippedMean):
            total, rest = len(parts), len(parts) - total
            counted += [(self._spans[index].of(self._center), rest)] if rest else []
        mean.add([part for part, _ in counted], [share for _, share in counted], int(total), mirrors)

    @property
    def _center(self) -> HostArray:
        if self._base is None:
            raise AssertionError("a round of training begins with weights")
        return self._base


def _by_coordinate(rule: rules.Rule) -> Callable[[Parts, HostArray, Parts], None]:
    """How a rule makes a stretch of the average, of that stretch of all contributions."""
    if isinstance(rule, rules.Median):
        return robust.median
    trimmed = rule.faulty
    return lambda parts, out, mirrors: robust.trimmed_mean(parts, trimmed, out, mirrors)
