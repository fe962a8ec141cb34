"""Averaging as arithmetic: the mean of contributions, weighted by samples, in shard order.

    mean = (f_1 w_1 + f_2 w_2 + ...) / (f_1 + f_2 + ...)        f_s = n_s / gcd(n_1, n_2, ...)

(McMahan et al. 2017, "Communication-Efficient Learning of Deep Networks from Decentralized Data",
algorithm 1.) The factors are the smallest integers in the proportion of the samples n_s: equal shards
are summed unscaled. Everything is elementwise and in the order of the shards, so the result does not depend
on how a vector is cut into chunks, nor on when a contribution arrives. float16 is summed in float32.
"""

import math
from collections.abc import Sequence

import numpy as np

from ps_common.arrays import HostArray

SUM_DTYPES = {"float16": "float32", "float32": "float32", "float64": "float64"}


def factors(samples: Sequence[int]) -> tuple[int, ...]:
    """The smallest integers in the proportion of `samples` (all positive)."""
    divisor = math.gcd(*samples)
    return tuple(n // divisor for n in samples)


def add(total: HostArray, part: HostArray, factor: int, first: bool) -> None:
    """total += factor * part, elementwise in the dtype of `total`; the first part is written, not added."""
    if first:
        np.multiply(part, total.dtype.type(factor), out=total, dtype=total.dtype)
    elif factor == 1:
        np.add(total, part, out=total)
    else:
        total += np.multiply(part, total.dtype.type(factor), dtype=total.dtype)


def divide(total: HostArray, divisor: int, out: HostArray) -> None:
    """out = total / divisor, rounded to the dtype of `out`, which may be `total` itself."""
    if divisor == 1:
        if out is not total:
            out[...] = total
    elif divisor & (divisor - 1) == 0:  # a power of two: the product has the same bits and is faster
        np.multiply(total, total.dtype.type(1 / divisor), out=out, casting="same_kind")
    else:
        np.divide(total, total.dtype.type(divisor), out=out, casting="same_kind")
