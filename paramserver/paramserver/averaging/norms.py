"""How far contributions move the weights, and which do so far more than others: a rule, and its memory.

    norm of a contribution = L2 norm of it minus the weights that it began with

It is held against the median of those before and those of the same round. Who sends random weights, or sums
where a mean was wanted, is told by it; who lies within what is usual is not.
"""

import collections
import statistics
from collections.abc import Mapping

import numpy as np

from ps_common.arrays import HostArray

KEPT = 64  # norms of contributions that were averaged; training slows down, and so does what is usual
LEAST = 4  # before so many are known nothing is unusual
SAMPLED_EVERY = 256  # chunks, of which one is looked at where nothing is enforced: that costs nearly nothing
BLOCK = 16_384  # elements: what is written between is in the cache, and needs no new pages


def squared_distance(part: HostArray, base: HostArray) -> float:
    """The squared L2 norm of `part` - `base`, two stretches of one dtype."""
    wide, total = np.float32 if part.dtype == np.float16 else part.dtype, 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, part.size, BLOCK):
            block = slice(start, start + BLOCK)
            moved = np.subtract(part[block], base[block], dtype=wide)
            total += float(np.dot(moved, moved))
    return total


def sampled(chunks: int, secret: int) -> frozenset[int]:
    """Which chunks are looked at: those that nobody can know who might keep out of their way."""
    every = min(SAMPLED_EVERY, max(1, chunks))
    return frozenset(range(secret % every, chunks, every))


class Norms:
    """What is usual. factor: how many times the median is too much."""

    def __init__(self, factor: float) -> None:
        self._factor = factor
        self._recent: collections.deque[float] = collections.deque(maxlen=KEPT)

    def outliers(self, norms: Mapping[int, float]) -> dict[int, float]:
        """Which of a round's norms, by shard, are outliers, and how many times the usual they are."""
        known = [*self._recent, *norms.values()]
        usual = statistics.median(known) if len(known) >= LEAST else 0.0
        if usual == 0:
            return {}
        return {shard: norm / usual for shard, norm in norms.items() if norm > self._factor * usual}

    def remember(self, norms: Mapping[int, float]) -> None:
        """These were averaged."""
        self._recent.extend(norms.values())
