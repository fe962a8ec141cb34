"""L2: gradient of its penalty, in place, over any number of blocks."""

from typing import Any

import numpy as np
import pytest

from ps_common.errors import UsageError
from ps_worker import nn
from ps_worker.nn.blocks import BLOCK
from support_gradients import assert_close, numeric_gradient


def test_penalty_is_half_the_strength_times_the_squares() -> None:
    weights = [np.array([[1.0, 2.0]]), np.array([3.0])]
    assert float(nn.L2(0.1).penalty(weights)) == pytest.approx(0.05 * 14)


def test_gradient_is_added_to_what_is_there() -> None:
    rng = np.random.default_rng(1)
    weights = [rng.normal(size=(3, 2)), rng.normal(size=(4,))]
    gradients = [rng.normal(size=w.shape) for w in weights]
    before = [g.copy() for g in gradients]
    l2 = nn.L2(0.3)
    l2.add_gradient(weights, gradients)
    for w, g, was in zip(weights, gradients, before, strict=True):
        assert_close(g - was, numeric_gradient(lambda: float(l2.penalty(weights)), w), "L2")


def test_arrays_longer_than_a_block() -> None:
    w = np.random.default_rng(1).normal(size=(2, BLOCK + 3)).astype(np.float32)
    g = np.ones_like(w)
    nn.L2(0.5).add_gradient([w], [g])
    assert g.dtype == np.float32
    np.testing.assert_array_equal(g, 1 + w * np.float32(0.5))


@pytest.mark.parametrize("strength", [-1e-3, float("nan"), "much"])
def test_a_strength_below_zero_is_refused(strength: Any) -> None:
    with pytest.raises(UsageError, match="L2: strength must be a number >= 0"):
        nn.L2(strength)
