"""The naive average: what every faster one must equal, bit for bit."""

import math
from collections.abc import Sequence

import numpy as np

from ps_common.layout import Layout

WIDE = {"float16": "float32", "float32": "float32", "float64": "float64"}


def naive_mean(layout: Layout, vectors: Sequence[np.ndarray], samples: Sequence[int]) -> np.ndarray:
    """The mean of flat vectors weighted by samples: entry by entry, in the order given."""
    factors = [n // math.gcd(*samples) for n in samples]
    mean = layout.empty()
    for name, out in layout.views(mean).items():
        wide = np.dtype(WIDE[out.dtype.name]).type
        parts = [
            layout.views(vector)[name].astype(wide) * wide(f)
            for vector, f in zip(vectors, factors, strict=True)
        ]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        out[...] = total / wide(sum(factors))
    return mean


def random_vectors(layout: Layout, count: int, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    vectors = [layout.empty() for _ in range(count)]
    for vector in vectors:
        for view in layout.views(vector).values():
            view[...] = rng.normal(size=view.shape)
    return vectors
