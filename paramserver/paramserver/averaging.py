"""Averaging as arithmetic: the mean of contributions, weighted by samples, in shard order.

    mean = (f_1 w_1 + f_2 w_2 + ...) / (f_1 + f_2 + ...)        f_s = n_s / gcd(n_1, n_2, ...)

(McMahan et al. 2017, "Communication-Efficient Learning of Deep Networks from Decentralized Data",
algorithm 1.) The factors are the smallest integers in the proportion of the samples n_s: equal shards
are summed unscaled. Where the samples are known only when a contribution comes, f_s = n_s / n_1: equal ones
are summed unscaled, too. Everything is elementwise and in the order of the shards, so the result does not
depend on how a vector is cut into chunks and blocks, nor on when a contribution arrives. float16 is summed
in float32.
"""

import math
from collections.abc import Mapping, Sequence

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

    def add(
        self,
        parts: Sequence[HostArray],
        scales: Sequence[float],
        divisor: float = 0,
        mirrors: Sequence[HostArray] = (),
        hashes: Mapping[int, xxhash.xxh3_64] = _NO_HASHES,
    ) -> None:
        """Add the next `parts`, each times its scale.

        With a divisor these are the last, and the mean is closed; it is copied to `mirrors` on the way.
        A mirror may be one of the parts. hashes: of parts, by their place among these, to take them in.
        """
        if self._wide is not None and self.added == 0:
            self._total = np.empty(self.out.size, self._wide)
        for start in range(0, self.out.size, BLOCK):
            block = slice(start, start + BLOCK)
            views = [part[block] for part in parts]
            for place, digest in hashes.items():
                digest.update(views[place].data)  # they are in the cache then, to be summed
            self._add_block(self._total[block], views, scales)
            if divisor:
                out = self.out[block]
                divide(self._total[block], divisor, out)
                for mirror in mirrors:
                    mirror[block] = out
        self.added += len(parts)
        if divisor:
            self.is_closed, self._total = True, self.out

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
