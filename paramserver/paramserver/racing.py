"""When a unit takes too long: the rule by which a spare worker computes it, too.

The limit is the median of the last times of its kind plus a multiple of their median absolute deviation, in
seconds a sample, so that shards of other sizes are measured alike. Whoever brings the unit first is counted,
and the other is told so: a unit is a pure function, so both bring the same. These are the backup tasks of
MapReduce (Dean and Ghemawat 2004, section 3.6). Who races, and what becomes of the loser, is decided
elsewhere.
"""

import collections
import math
import statistics

from paramserver.settings import Settings

KEPT = 64  # times of a kind
FRESH = 8  # further times after which the limit is worked out again
DEVIATIONS = 6.0  # median absolute deviations; of a normal distribution four standard deviations
SLACK = 0.25  # of the median, at least: times that are all alike have no deviation


class UnitTimes:
    """How long units took, by kind, from their lease until their contribution was in."""

    def __init__(self, settings: Settings) -> None:
        self._least_s = settings.race_after_s
        self._times: dict[str, collections.deque[float]] = {}  # seconds a sample
        self._counts: collections.Counter[str] = collections.Counter()
        self._known: dict[
            str, tuple[int, float, float]
        ] = {}  # the count it was worked out at; median, deviation

    def count(self, kind: str, samples: int, seconds: float) -> None:
        """A unit is in."""
        times = self._times.setdefault(kind, collections.deque(maxlen=KEPT))
        times.append(seconds / max(1, samples))
        self._counts[kind] += 1

    def has(self, kind: str) -> bool:
        """Whether anything is known of a kind."""
        return self._counts[kind] > 0

    def median_s(self, kind: str, samples: int) -> float:
        """How long such a unit takes; 0 while nothing is known."""
        return self._work_out(kind)[0] * max(1, samples)

    def limit_s(self, kind: str, samples: int) -> float:
        """How long such a unit may take before somebody else takes it, too; for ever while nothing is known.

        One that makes no progress is taken away all the same, after `lease_timeout_s`.
        """
        if not self.has(kind):
            return math.inf
        median, deviation = self._work_out(kind)
        limit_s = max(1, samples) * (median + max(DEVIATIONS * deviation, SLACK * median))
        return max(limit_s, self._least_s)

    def _work_out(self, kind: str) -> tuple[float, float]:
        """Median and median absolute deviation, in seconds a sample."""
        count, (known_at, median, deviation) = self._counts[kind], self._known.get(kind, (0, 0.0, 0.0))
        if count >= known_at + FRESH or known_at < count <= FRESH:
            times = self._times[kind]
            median = statistics.median(times)
            deviation = statistics.median([abs(one - median) for one in times])
            self._known[kind] = (count, median, deviation)
        return median, deviation
