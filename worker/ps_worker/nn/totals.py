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
