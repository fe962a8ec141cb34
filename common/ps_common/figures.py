"""How sums become a figure: the closed table of what a metric's totals can be made into.

A metric gives sums, which are added over batches, units and shards, in shard order; only the totals of a
whole data set become a number. The master does that without a metric's code: the job says by name which
entry of this table a metric's sums are for. It must not know metrics, models or messages.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ps_common.errors import DataError, UsageError
from ps_common.spelling import nearest

AREA_BINS = 4096  # scores told from each other; two sums for each, so 74 KB of a message
SUMS_MAX = 64  # metrics of a unit
SUM_MAX = 1e100  # far beyond what trains, and what all units of a run bring adds up to a number still
NAME_MAX = 256  # characters of a metric's name
RESERVED = ("epoch", "samples", "train_loss", "evaluated")  # what else stands beside metrics in the history


@dataclasses.dataclass(frozen=True)
class Figure:
    """`size` sums and what is made of them; those from `counts` on are at least 0."""

    size: int
    counts: int
    of: Callable[[Sequence[float]], float]


def area(sums: Sequence[float]) -> float:
    """The share of pairs (positive, negative) of which the positive has the higher score: the area under ROC.

    sums: how many positives have a score of each bin, from the lowest to the highest, then how many
    negatives. A pair of one bin counts half (Hanley & McNeil 1982), so the figure is off by at most half the
    share of such pairs.
    """
    positives, negatives = sums[:AREA_BINS], sums[AREA_BINS:]
    below = itertools.accumulate(negatives, initial=0.0)  # negatives of lower bins
    won = sum(p * (b + n / 2) for p, b, n in zip(positives, below, negatives, strict=False) if p)
    return won / (sum(positives) * sum(negatives))


FIGURES: Mapping[str, Figure] = {
    "ratio": Figure(2, 1, lambda sums: sums[0] / sums[1]),
    "root": Figure(2, 0, lambda sums: math.sqrt(sums[0] / sums[1])),
    "exponential": Figure(2, 1, lambda sums: math.exp(sums[0] / sums[1])),
    "area": Figure(2 * AREA_BINS, 0, area),
}


def figure(name: str, sums: Sequence[float]) -> float | None:
    """The figure of that name; None where nothing was counted, or where it is too large for a float."""
    try:
        value = float(FIGURES[name].of(sums))
    except (ArithmeticError, ValueError):
        return None
    return value if math.isfinite(value) else None


def wrong_sums(name: str, sums: Sequence[Any]) -> str:
    """What sums for the figure of that name must be and these are not; empty where they are."""
    wanted = FIGURES[name]
    numbers = all(type(value) is float and abs(value) <= SUM_MAX for value in sums)
    if numbers and len(sums) == wanted.size and all(value >= 0 for value in sums[wanted.counts :]):
        return ""
    which = "the second at least 0" if wanted.counts else "all at least 0"
    return f"{wanted.size} finite numbers, {which}, none beyond {SUM_MAX:g}"


def figures_of(metrics: Sequence[Any]) -> dict[str, str]:
    """Which figure each metric's sums are for, by its name. Raises `UsageError` where that cannot be."""
    found: dict[str, str] = {}
    for metric in metrics:
        name, chosen, kind = metric.name, getattr(metric, "figure", "ratio"), type(metric).__name__
        if not isinstance(name, str) or not 1 <= len(name) <= NAME_MAX:
            raise UsageError(f"{kind}: a metric's name is a text of 1 to {NAME_MAX} characters, not {name!r}")
        if name in (*RESERVED, "loss"):
            raise UsageError(f"{kind}: no metric may be called {name!r}, which the results say already")
        if name in found:
            raise UsageError(f"the job has two metrics called {name!r}; leave one out")
        if not isinstance(chosen, str) or chosen not in FIGURES:
            hint = nearest(str(chosen), FIGURES)
            raise UsageError(f"{kind}: there is no figure {chosen!r} to make of the sums of {name}{hint}")
        found[name] = chosen
    return found


def sums_of(means: Mapping[str, float], samples: int) -> dict[str, list[float]]:
    """Means over so many samples as sums that become these means again, of figures called "ratio".

    Raises `UsageError` for names and numbers of them that a record does not take, `DataError` for NaN.
    """
    if len(means) > SUMS_MAX:
        raise UsageError(f"a unit has at most {SUMS_MAX} metrics, not {len(means)}")
    sums = {}
    for name, mean in means.items():
        if not isinstance(name, str) or not 1 <= len(name) <= NAME_MAX or name in RESERVED:
            raise UsageError(
                f"no metric may be called {name!r}: a name is a text of 1 to {NAME_MAX} characters, and not "
                f"one of {', '.join(RESERVED)}, which the record says already"
            )
        sums[name] = [float(mean) * samples, float(samples)]
        if not math.isfinite(sums[name][0]):
            raise DataError(f"the metric {name} is {mean}: the learning rate may be too high, or data wrong")
    return sums
