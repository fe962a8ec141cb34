"""Rows of vectors and their products."""

import numpy as np
import pytest

from ps_worker.nn.vectors import column_dots, dots, rows


@pytest.mark.parametrize("shape", [(4, 3), (2, 4, 3), (2, 2, 4, 3)])
def test_products_of_vectors(shape: tuple[int, ...]) -> None:
    a, b = np.random.default_rng(0).normal(size=(2, *shape))
    np.testing.assert_allclose(dots(a, b), (a * b).sum(axis=-1, keepdims=True))
    out = np.full(3, np.nan)
    column_dots(rows(a), rows(b), out)
    np.testing.assert_allclose(out, (rows(a) * rows(b)).sum(axis=0))


def test_rows_are_no_copy() -> None:
    x = np.zeros((2, 4, 3))
    assert rows(x).shape == (8, 3)
    assert np.shares_memory(rows(x), x)
