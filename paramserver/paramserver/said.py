"""How many samples contributions say they are of, where only they know, and who says far more than others.

    usual = median of what each worker has said last

The mean of a round is weighted by it, so whoever says 2^31 would drown all others. What one worker says
counts once, however often it says it: so the few can neither make up what is usual nor have others refused.
"""

import statistics
from collections.abc import Hashable

KEPT = 64  # workers, those that have said something last
LEAST = 3  # workers; of fewer nobody can tell who is wrong


class Said:
    """What each worker has said last, refused or not: where all come to say more, that becomes usual."""

    def __init__(self) -> None:
        self._last: dict[Hashable, int] = {}  # by worker, in the order of their saying it

    def times_usual(self, peer: Hashable, samples: int) -> float:
        """A worker says so many samples: how many times as many as is usual, with these among them."""
        self._last.pop(peer, None)
        self._last[peer] = samples
        if len(self._last) > KEPT:
            del self._last[next(iter(self._last))]
        return samples / statistics.median(self._last.values()) if len(self._last) >= LEAST else 1.0
