"""Sums in float64, as 0-d arrays."""

import numpy as np

from ps_worker.nn.totals import count, total


def test_a_total_is_added_in_float64() -> None:
    values = np.full((1000, 100), 0.1, np.float32)
    result = total(values)
    assert isinstance(result, np.ndarray)
    assert result.shape == ()
    assert result.dtype == np.float64
    assert abs(float(result) - 100_000 * float(np.float32(0.1))) < 1e-6  # in float32 it is off by over 1e-3
    assert float(total(values, over=4)) == float(result) / 4


def test_a_total_of_nothing_is_zero() -> None:
    assert float(total(np.empty((0, 3)))) == 0


def test_a_count_is_beside_its_total() -> None:
    result = count(np.empty((3, 4), np.float32))
    assert (result.shape, result.dtype, float(result)) == ((), np.dtype(np.float64), 12.0)
