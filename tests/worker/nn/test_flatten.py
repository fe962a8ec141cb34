"""Flatten: shapes there and back."""

import numpy as np
import pytest

from ps_worker import nn
from support_gradients import check_layer


@pytest.mark.parametrize(("inputs", "outputs"), [((2, 3), (6,)), ((4,), (4,)), ((), (1,)), ((2, 1, 2), (4,))])
def test_gradients_and_shapes(inputs: nn.Shape, outputs: nn.Shape) -> None:
    assert nn.Flatten().output_shape(inputs) == outputs
    check_layer(nn.Flatten(), np.random.default_rng(1).normal(size=(3, *inputs)))


def test_the_order_is_that_of_the_sample() -> None:
    y, _ = nn.Flatten().forward(np.arange(12).reshape(2, 2, 3), {}, nn.Context(training=True))
    np.testing.assert_array_equal(y, [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]])


def test_an_empty_batch_stays_empty() -> None:
    y, _ = nn.Flatten().forward(np.empty((0, 2, 3)), {}, nn.Context(training=False))
    assert y.shape == (0, 6)
