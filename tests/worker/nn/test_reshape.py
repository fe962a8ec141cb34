"""Reshape: shapes there and back, and messages."""

from typing import Any

import numpy as np
import pytest

from ps_common.errors import ShapeMismatch, UsageError
from ps_worker import nn
from support_gradients import check_layer


@pytest.mark.parametrize(("inputs", "outputs"), [((6,), (1, 2, 3)), ((2, 3), (3, 2)), ((), (1,))])
def test_gradients_and_shapes(inputs: nn.Shape, outputs: nn.Shape) -> None:
    assert nn.Reshape(outputs).output_shape(inputs) == outputs
    check_layer(nn.Reshape(outputs), np.random.default_rng(1).normal(size=(3, *inputs)))


def test_the_order_is_that_of_the_sample() -> None:
    y, _ = nn.Reshape((2, 2)).forward(np.arange(8).reshape(2, 4), {}, nn.Context(training=True))
    np.testing.assert_array_equal(y, [[[0, 1], [2, 3]], [[4, 5], [6, 7]]])


def test_an_empty_batch_stays_empty() -> None:
    y, _ = nn.Reshape((1, 2, 2)).forward(np.empty((0, 4)), {}, nn.Context(training=False))
    assert y.shape == (0, 1, 2, 2)


def test_another_number_of_numbers_names_both_shapes() -> None:
    with pytest.raises(ShapeMismatch, match=r"Reshape\(\(1, 28, 28\)\) takes .* 784 numbers, got \(100,\)"):
        nn.Reshape((1, 28, 28)).output_shape((100,))


@pytest.mark.parametrize("shape", [(), 784, (-1, 28), (2, 1.5), "2"])
def test_wrong_shapes_are_refused(shape: Any) -> None:
    with pytest.raises(UsageError, match="Reshape: shape must be whole numbers"):
        nn.Reshape(shape)


def test_a_list_will_do() -> None:
    assert nn.Reshape([1, 2]) == nn.Reshape((1, 2))  # type: ignore[arg-type]
