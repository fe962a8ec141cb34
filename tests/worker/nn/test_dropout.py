"""Dropout: its mask, its expectation, and that a seed fixes it."""

from typing import Any

import numpy as np
import pytest

from ps_common.errors import UsageError
from ps_worker import nn
from support_gradients import check_layer


def train(seed: int) -> nn.Context:
    return nn.Context(training=True, rng=np.random.default_rng(seed))


def test_gradients() -> None:
    check_layer(nn.Dropout(0.4), np.random.default_rng(1).normal(size=(6, 5)))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_the_rate_is_dropped_and_the_mean_kept(rate: float) -> None:
    y, _ = nn.Dropout(rate).forward(np.ones((400, 250)), {}, train(0))
    kept = y != 0
    # 100,000 draws: the share's standard error is at most 0.0016
    assert abs(kept.mean() - (1 - rate)) < 0.008
    np.testing.assert_allclose(y[kept], 1 / (1 - rate), rtol=1e-12)


def test_a_seed_fixes_the_mask_in_every_dtype() -> None:
    x = np.ones((20, 30))
    first, _ = nn.Dropout(0.5).forward(x, {}, train(3))
    again, _ = nn.Dropout(0.5).forward(x.astype(np.float32), {}, train(3))
    other, _ = nn.Dropout(0.5).forward(x, {}, train(4))
    assert again.dtype == np.float32
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_two_passes_of_one_stream_differ() -> None:
    context, x = train(3), np.ones((20, 30))
    first, second = (nn.Dropout(0.5).forward(x, {}, context)[0] for _ in range(2))
    assert (first != second).any()


@pytest.mark.parametrize(("rate", "training"), [(0.5, False), (0, True)])
def test_nothing_is_dropped_in_evaluation_or_at_rate_zero(rate: float, training: bool) -> None:
    x = np.ones((3, 4))
    y, cache = nn.Dropout(rate).forward(x, {}, nn.Context(training=training))
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(nn.Dropout(rate).backward(x, {}, {}, cache), x)


def test_training_without_random_numbers_says_what_to_do() -> None:
    with pytest.raises(UsageError, match="rng="):
        nn.Dropout(0.5).forward(np.ones((1, 1)), {}, nn.Context(training=True))


@pytest.mark.parametrize("rate", [-0.1, 1, 1.5, "half"])
def test_a_rate_out_of_bounds_is_refused(rate: Any) -> None:
    with pytest.raises(UsageError, match="Dropout: rate must be a number >= 0 and < 1"):
        nn.Dropout(rate)
