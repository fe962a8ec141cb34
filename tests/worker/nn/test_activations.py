"""Elementwise layers: gradients, values and extremes."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ps_worker import nn
from ps_worker.nn.activations import sigmoid
from support_gradients import check_layer

EVALUATION = nn.Context(training=False)


@pytest.mark.parametrize("layer", [nn.ReLU(), nn.Tanh(), nn.Sigmoid()])
@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 2), (5,)])
def test_gradients(layer: nn.Layer, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(1).normal(size=shape)
    assert np.abs(x).min() > 1e-3  # ReLU's corner lies within no difference
    check_layer(layer, x)


@pytest.mark.parametrize("layer", [nn.ReLU(), nn.Tanh(), nn.Sigmoid()])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtype_is_kept(layer: nn.Layer, dtype: str) -> None:
    x = np.linspace(-2, 2, 6, dtype=dtype).reshape(2, 3)
    y, cache = layer.forward(x, {}, EVALUATION)
    assert y.dtype == layer.backward(np.ones_like(y), {}, {}, cache).dtype == dtype


def test_values() -> None:
    x = np.array([[-2.0, 0.0, 3.0]])
    np.testing.assert_array_equal(nn.ReLU().forward(x, {}, EVALUATION)[0], [[0, 0, 3]])
    np.testing.assert_array_equal(nn.Tanh().forward(x, {}, EVALUATION)[0], np.tanh(x))
    np.testing.assert_allclose(nn.Sigmoid().forward(x, {}, EVALUATION)[0], 1 / (1 + np.exp(-x)))


def test_relu_has_slope_zero_at_zero_and_passes_nan_on() -> None:
    y, cache = nn.ReLU().forward(np.array([[0.0, np.nan]]), {}, EVALUATION)
    assert np.isnan(y[0, 1])
    assert nn.ReLU().backward(np.ones((1, 2)), {}, {}, cache)[0, 0] == 0


@settings(deadline=None, max_examples=200)
@given(st.floats(-700, 700))
def test_sigmoid_keeps_its_relative_precision(x: float) -> None:
    exact = 1 / (1 + math.exp(-x))
    assert math.isclose(float(sigmoid(np.array(x))), exact, rel_tol=1e-14)


def test_sigmoid_of_the_largest_numbers_is_zero_or_one() -> None:
    for dtype in (np.float32, np.float64):
        largest = np.finfo(dtype).max
        np.testing.assert_array_equal(
            sigmoid(np.array([-largest, largest, -np.inf, np.inf], dtype)), [0, 1, 0, 1]
        )
