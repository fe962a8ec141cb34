"""Sums that batches and shards add up: float64 scalars that stay on the device they were computed on."""

import numpy as np

from ps_common.arrays import Array, xp_of


def total(values: Array, over: int = 1) -> Array:
    """Σ values / over, added in float64: a 0-d array."""
    result = xp_of(values).asarray(values.sum(dtype=np.float64))
    result /= over
    return result


def count(values: Array) -> Array:
    """How many numbers there are, as a 0-d float64 array beside their total."""
    return xp_of(values).full((), values.size, np.float64)


def mean_total(each: Array, samples: int, counted: Array | None = None) -> Array:
    """`samples` times the mean of `each`, or of those of them that are counted; 0 where there are none."""
    if counted is None:
        return total(each, over=max(each.size // max(samples, 1), 1))
    result = total(xp_of(each).where(counted, each, 0))
    result *= samples
    result /= xp_of(each).maximum(counted.sum(), 1)
    return result


def weight_in_mean(each: Array, counted: Array | None = None) -> Array:
    """∂ mean / ∂ one of them: a number; or an array, 1 / count where counted and 0 elsewhere."""
    if counted is None:
        return 1 / max(each.size, 1)
    return counted * (1 / xp_of(each).maximum(counted.sum(), 1)).astype(each.dtype)
