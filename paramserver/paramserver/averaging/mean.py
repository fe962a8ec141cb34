"""Averaging as arithmetic: the mean of contributions, weighted by samples, in shard order.

    mean = (f_1 w_1 + f_2 w_2 + ...) / (f_1 + f_2 + ...)        f_s = n_s / gcd(n_1, n_2, ...)

(McMahan et al. 2017, "Communication-Efficient Learning of Deep Networks from Decentralized Data",
algorithm 1.) The factors are the smallest integers in the proportion of the samples n_s: equal shards
are summed unscaled. Where the samples are known only when a contribution comes, f_s = n_s / n_1: equal ones
are summed unscaled, too. Everything is elementwise and in the order of the shards, so the result does not
depend on how a vector is cut into chunks and blocks, nor on when a contribution arrives. float16 is summed
in float32.

What is not finite is never added: one NaN would be everybody's from the next round on.
"""

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import xxhash

from ps_common.arrays import HostArray

SUM_DTYPES = {"float16": "float32", "float32": "float32", "float64": "float64"}
_WIDER = {np.dtype(own): np.dtype(wide) for own, wide in SUM_DTYPES.items() if own != wide}
_NO_HASHES: Mapping[int, xxhash.xxh3_64] = {}
BLOCK = 65_536  # elements worked on at once: a sum and the parts it is made of stay in the cache


def factors(samples: Sequence[int]) -> tuple[int, ...]:
    """The smallest integers in the proportion of `samples` (all positive)."""
    divisor = math.gcd(*samples)
    return tuple(n // divisor for n in samples)


def is_finite(part: HostArray) -> bool:
    """Whether there is no NaN, no infinity and nothing too large to be a weight: the squares add up.

    That is one pass, and in float32 it also tells values from about 1e19 on, which no training comes to.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        wide = part.astype(_WIDER[part.dtype]) if part.dtype in _WIDER else part
        return math.isfinite(np.dot(wide, wide))


def _not_finite(parts: Sequence[HostArray], places: Collection[int]) -> list[int]:
    return [place for place in places if not is_finite(parts[place])]


def relative(samples: int, first: int) -> float:
    """The factor of a contribution where the first one's is 1: whole where it can be."""
    return samples // first if samples % first == 0 else samples / first


class Mean:
    """The mean of one stretch of the vector, in the making: parts are added in order, then it is closed.

    out: 1-d, where the mean goes; it holds the sum meanwhile, unless its dtype is too narrow for that.
    """

    def __init__(self, out: HostArray) -> None:
        self.out = out
        self.added = 0
        self.is_closed = False
        self._wide = _WIDER.get(out.dtype)
        self._total = out
        self._begin = 0  # elements before are closed

    def add(
        self,
        parts: Sequence[HostArray],
        scales: Sequence[float],
        divisor: float = 0,
        mirrors: Sequence[HostArray] = (),
        hashes: Mapping[int, xxhash.xxh3_64] = _NO_HASHES,
        unread: Collection[int] = (),
    ) -> list[int]:
        """Add the next `parts`, each times its scale. Returns which are not finite: then none was added.

        With a divisor these are the last, and the mean is closed; it is copied to `mirrors` on the way.
        A mirror may be one of the parts. hashes: of parts, by their place among these, to take them in.
        unread: places of those that may not be finite. Where these are the first parts, it is the sum that is
        looked at, while it is in the cache. What of a mean was closed and mirrored before something is found
        stays so, and was taken in by the hashes: the next call goes on from there.
        """
        if unread and self.added and (wrong := _not_finite(parts, unread)):
            return wrong
        if self._wide is not None and self.added == 0:
            self._total = np.empty(self.out.size, self._wide)
        with np.errstate(over="ignore", invalid="ignore"):
            for start in range(self._begin, self.out.size, BLOCK):
                block = slice(start, start + BLOCK)
                views, total = [part[block] for part in parts], self._total[block]
                self._add_block(total, views, scales)
                is_right = not unread or bool(self.added) or math.isfinite(np.dot(total, total))
                if not is_right and (wrong := _not_finite(views, unread)):
                    self._begin = start if divisor else self._begin
                    return wrong
                for place, digest in hashes.items():
                    digest.update(views[place].data)
                if divisor:
                    out = self.out[block]
                    divide(total, divisor, out)
                    for mirror in mirrors:
                        mirror[block] = out
        self.added += len(parts)
        if divisor:
            self.is_closed, self._total = True, self.out
        return []

    def _add_block(self, total: HostArray, parts: list[HostArray], scales: Sequence[float]) -> None:
        done = 0
        if self.added == 0 and len(parts) > 1 and scales[0] == scales[1] == 1:
            np.add(parts[0], parts[1], out=total, dtype=total.dtype)
            done = 2
        for i in range(done, len(parts)):
            add(total, parts[i], scales[i], first=self.added + i == 0)


def add(total: HostArray, part: HostArray, factor: float, first: bool) -> None:
    """total += factor * part, elementwise in the dtype of `total`; the first part is written, not added."""
    if first:
        np.multiply(part, total.dtype.type(factor), out=total, dtype=total.dtype)
    elif factor == 1:
        np.add(total, part, out=total)
    else:
        total += np.multiply(part, total.dtype.type(factor), dtype=total.dtype)


def divide(total: HostArray, divisor: float, out: HostArray) -> None:
    """out = total / divisor, rounded to the dtype of `out`, which may be `total` itself."""
    if divisor == 1:
        if out is not total:
            out[...] = total
    elif (
        isinstance(divisor, int) and divisor & (divisor - 1) == 0
    ):  # a power of two: the product has the same bits and is faster
        np.multiply(total, total.dtype.type(1 / divisor), out=out, casting="same_kind")
    else:
        np.divide(total, total.dtype.type(divisor), out=out, casting="same_kind")
