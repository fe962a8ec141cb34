"""Robust averaging as arithmetic: what contributions of which some are wrong have in common.

Functions of the parts of a vector that all contributions have, in shard order. Each contribution counts as
one, whatever its samples. Orders of summing are fixed and ties go to the earlier shard, so bits do not depend
on when a contribution arrives. Coordinate-wise rules are elementwise, so neither on how a vector is cut;
distances and norms are added up in float64, chunk by chunk. What a faulty contribution holds is its own
choice: it may be huge, or no number at all.
"""

import functools
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from paramserver.averaging.mean import BLOCK, SUM_DTYPES, divide
from ps_common.arrays import HostArray

Table = npt.NDArray[np.float64]

huge = functools.partial(np.errstate, over="ignore", invalid="ignore")  # numbers, or none at all


def trimmed_mean(
    parts: Sequence[HostArray], trimmed: int, out: HostArray, mirrors: Sequence[HostArray] = ()
) -> None:
    """out = of every coordinate the mean without its `trimmed` largest and as many smallest values.

        out_k = (x_(b+1) + ... + x_(n-b)) / (n - 2 b)        x_(1) <= ... <= x_(n) the values of coordinate k

    (Yin et al. 2018, definition 2; b = β n.) With b faulty values each that is left lies between two honest
    ones. Summed from the smallest up, float16 in float32. What is no number counts as the largest. A mirror
    gets a copy, and may be one of the parts.
    """
    count, wide = len(parts), np.dtype(SUM_DTYPES[out.dtype.name])
    if not 0 <= 2 * trimmed < count:
        raise AssertionError(f"of {count} values {trimmed} largest and smallest cannot be left out")
    with huge():
        for block in _blocks(out.size, BLOCK // 8):
            rows = sort_values([part[block].copy() for part in parts])
            total = rows[trimmed].astype(wide)
            for row in rows[trimmed + 1 : count - trimmed]:
                total += row
            total += 0.0  # which of -0 and 0 is the lesser is a matter of chance
            divide(total, count - 2 * trimmed, out[block])
            for mirror in mirrors:
                mirror[block] = out[block]


def median(parts: Sequence[HostArray], out: HostArray, mirrors: Sequence[HostArray] = ()) -> None:
    """out = of every coordinate the median: the middle value, or the mean of the two.

    (Yin et al. 2018, definition 1.) It is the trimmed mean that leaves out as much as can be.
    """
    trimmed_mean(parts, (len(parts) - 1) // 2, out, mirrors)


def sort_values(rows: list[HostArray]) -> list[HostArray]:
    """The smallest values of all rows, then the next ones, ...; the rows are written over.

    A sorting network compares whole rows with each other, many values an instruction.
    """
    for row in rows:
        np.copyto(row, np.inf, where=np.isnan(row))
    spare = np.empty_like(rows[0])
    for low, high in network(len(rows)):
        np.minimum(rows[low], rows[high], out=spare)
        np.maximum(rows[low], rows[high], out=rows[high])
        rows[low], spare = spare, rows[low]
    return rows


@functools.lru_cache
def network(count: int) -> tuple[tuple[int, int], ...]:
    """Pairs of places to be put in order, one after the other, that sort any `count` values.

    (Batcher 1968, "Sorting networks and their applications", odd-even merge; Knuth, algorithm 5.2.2M.)
    """
    pairs = []
    top = p = 1 << max(0, (count - 1).bit_length() - 1)
    while p > 0:
        q, r, d = top, 0, p
        while d > 0:
            pairs += [(i, i + d) for i in range(count - d) if i & p == r]
            d, q, r = q - p, q // 2, p
        p //= 2
    return tuple(pairs)


def squared_distances(parts: Sequence[HostArray]) -> Table:
    """The squared L2 distances of all pairs of parts, (n, n), in float64."""
    count = len(parts)
    squared = np.zeros((count, count))
    with huge():
        for rows in _wide_blocks(parts):
            for i, row in enumerate(rows):
                for j in range(i + 1, count):
                    difference = rows[j] - row
                    squared[i, j] += np.einsum("k,k->", difference, difference)
    return squared + squared.T


def squared_norms(parts: Sequence[HostArray], center: HostArray) -> Table:
    """The squared L2 distances of all parts from `center`, (n,), in float64."""
    squared = np.zeros(len(parts))
    with huge():
        for middle, *rows in _wide_blocks([center, *parts]):
            for i, row in enumerate(rows):
                difference = row - middle
                squared[i] += np.einsum("k,k->", difference, difference)
    return squared


def krum_scores(squared: Table, faulty: int) -> Table:
    """Of each contribution, the sum of its squared distances to the n - f - 2 nearest others.

        s(i) = sum over j in N(i) of |x_i - x_j|²        N(i) the n - f - 2 nearest to x_i

    (Blanchard et al. 2017, section 4.) squared: (n, n). What is no number is infinitely far away.
    """
    count = len(squared)
    others = squared[~np.eye(count, dtype=bool)].reshape(count, count - 1)
    nearest = np.sort(np.where(np.isnan(others), np.inf, others), axis=1)[:, : count - faulty - 2]
    return np.array([sum(row) for row in nearest.tolist()])


def multi_krum(squared: Table, faulty: int, chosen: int) -> tuple[int, ...]:
    """The places of the `chosen` contributions of least score, in order; one: Krum.

    (Blanchard et al. 2017.) With n > 2 f + 2 the one of least score is as near to the honest ones as they are
    to each other, up to a factor that grows with n (proposition 1).
    """
    order = np.argsort(krum_scores(squared, faulty), kind="stable")
    return tuple(sorted(order[:chosen].tolist()))


def clip_factors(squared: Table, norm: float | None) -> list[float]:
    """By what to shorten the way of each contribution from the center, so that it is at most `norm`.

        s_i = min(1, norm / |x_i - c|)

    (Karimireddy et al. 2021, centred clipping.) squared: (n,), |x_i - c|². norm: None for the median of them,
    of two the lesser. Rounded to float32: in what order a norm was added up then makes no difference, but
    once in many millions.
    """
    norms = np.sqrt(np.where(np.isnan(squared), np.inf, squared))
    limit = float(np.sort(norms)[(len(norms) - 1) // 2]) if norm is None else norm
    return [1.0 if each <= limit else float(np.float32(limit / each)) for each in norms.tolist()]


def _blocks(size: int, block: int) -> Iterator[slice]:
    return (slice(start, start + block) for start in range(0, size, block))


def _wide_blocks(parts: Sequence[HostArray]) -> Iterator[list[HostArray]]:
    for block in _blocks(parts[0].size, BLOCK // 8):
        yield [part[block].astype(np.float64) for part in parts]
