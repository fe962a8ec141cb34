"""Numbers so near to zero that a processor is slow with them, taken out of the way.

What decays by a factor a step, as the velocity of a weight that gets no gradient, ends among the denormal
numbers (below 1e-38 in float32) and is rounded to stay there for ever. A CPU's operation on one takes as long
as a hundred others: of MNIST, whose border pixels are seldom set, a third of all velocities come there within
three thousand steps of 16, and the optimizer's step takes ten times as long. A GPU is as fast with them.
"""

import functools
from typing import Any

import numpy as np

from ps_common.arrays import HostArray

MARGIN = 2.0**20  # what is left stays normal when it is decayed and multiplied with a learning rate


def flush_denormals(x: HostArray) -> None:
    """x ← (x + c) - c in place, for a c so small that nobody misses what is lost: 2⁻⁸³ in float32.

    What is less than c is rounded to a multiple of 2⁻¹⁰⁷, about 1e-32, or to zero; what decays stays at a few
    of these. Up to 2²⁵ c, about 3e-18, a number may change in its last bit, and beyond that not at all. The
    same bits on every machine, and two cheap operations: to compare and to choose takes longer.
    """
    c = _pivot(x.dtype)
    x += c
    x -= c


@functools.cache
def _pivot(dtype: np.dtype[Any]) -> float:
    kind = np.finfo(dtype)
    return float(kind.tiny) * MARGIN / float(kind.eps)
