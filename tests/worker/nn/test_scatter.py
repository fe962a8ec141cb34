"""Sums of rows by index: each way of adding is the naive one."""

from collections.abc import Callable

import numpy as np
import pytest

from ps_worker.nn.scatter import scatter_sum, sum_atomically, sum_by_product, sum_sorted

WAYS = [scatter_sum, sum_sorted, sum_by_product, sum_atomically]


def naive(rows: np.ndarray, indexes: np.ndarray, size: int) -> np.ndarray:
    out = np.zeros((size, rows.shape[1]))
    for row, index in zip(rows, indexes, strict=True):
        out[index] += row
    return out


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("n", "size"), [(0, 3), (1, 1), (50, 3), (50, 200), (2, 5)])
def test_sums_are_the_naive_ones(way: Callable[..., None], n: int, size: int) -> None:
    rng = np.random.default_rng(0)
    rows, indexes = rng.integers(-9, 9, (n, 4)).astype(np.float32), rng.integers(0, size, n)
    out = np.full((size, 4), np.nan, np.float32)
    way(rows, indexes, out)
    np.testing.assert_array_equal(out, naive(rows, indexes, size))
