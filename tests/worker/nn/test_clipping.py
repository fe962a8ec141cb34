"""Clipping by norm: what it leaves alone, and vectors of several blocks."""

import numpy as np
import pytest

from ps_common.errors import UsageError
from ps_worker import nn
from ps_worker.nn.blocks import BLOCK


def clipped(gradient: np.ndarray, limit: float) -> np.ndarray:
    weights = np.zeros_like(gradient)
    nn.ClipByNorm(nn.SGD(1.0), limit).step(weights, gradient.copy(), {}, nn.scratch_for(weights))
    return -weights


def test_a_short_gradient_is_left_as_it_is() -> None:
    gradient = np.array([3.0, 4.0])
    np.testing.assert_array_equal(clipped(gradient, 5.1), gradient)
    np.testing.assert_array_equal(clipped(np.zeros(3), 1.0), np.zeros(3))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_long_one_keeps_its_direction_and_gets_the_limit(dtype: type) -> None:
    gradient = np.random.default_rng(1).normal(size=2 * BLOCK + 5).astype(dtype)
    short = clipped(gradient, 2.0)
    assert short.dtype == dtype
    np.testing.assert_allclose(np.linalg.norm(short.astype(np.float64)), 2.0, rtol=1e-5)
    np.testing.assert_allclose(short * (gradient[0] / short[0]), gradient, rtol=1e-5)


def test_its_state_is_that_of_the_optimizer_within() -> None:
    assert nn.ClipByNorm(nn.Adam(), 1.0).slots(7) == nn.Adam().slots(7)


@pytest.mark.parametrize(
    ("optimizer", "limit", "told"),
    [
        (nn.SGD(0.1), 0, "ClipByNorm: limit must be a number > 0, got 0"),
        (nn.SGD, 1.0, "ClipByNorm: optimizer must be an optimizer, got <class"),
    ],
)
def test_what_cannot_be_is_refused(optimizer: nn.Optimizer, limit: float, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        nn.ClipByNorm(optimizer, limit)
    assert told in str(caught.value)
