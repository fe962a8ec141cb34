"""Dense: gradients, shapes and messages."""

from typing import Any

import numpy as np
import pytest

from ps_common.errors import ShapeMismatch, UsageError
from ps_worker import nn
from support_gradients import check_layer


@pytest.mark.parametrize("bias", [True, False])
def test_gradients(bias: bool) -> None:
    check_layer(nn.Dense(5, 3, bias=bias), np.random.default_rng(1).normal(size=(4, 5)))


def test_forward_is_x_w_plus_b() -> None:
    p = {"weight": np.array([[1.0, 2.0], [3.0, 4.0]]), "bias": np.array([10.0, 20.0])}
    y, _ = nn.Dense(2, 2).forward(np.array([[1.0, 1.0], [0.0, 2.0]]), p, nn.Context(training=False))
    np.testing.assert_array_equal(y, [[14, 26], [16, 28]])


def test_parameters_and_what_decays() -> None:
    assert nn.Dense(5, 3, init="xavier").parameters((5,)) == {
        "weight": nn.Parameter((5, 3), "xavier", decay=True),
        "bias": nn.Parameter((3,), "zeros", decay=False),
    }
    assert set(nn.Dense(5, 3, bias=False).parameters((5,))) == {"weight"}


def test_gradients_keep_float32() -> None:
    layer, x = nn.Dense(5, 3), np.ones((4, 5), np.float32)
    p = {"weight": np.ones((5, 3), np.float32), "bias": np.ones(3, np.float32)}
    g = {name: np.empty_like(array) for name, array in p.items()}
    y, cache = layer.forward(x, p, nn.Context(training=True))
    assert y.dtype == layer.backward(y, p, g, cache).dtype == np.float32


@pytest.mark.parametrize(
    ("inputs", "advice"), [((7,), r"use nn\.Dense\(7, \.\.\.\)"), ((5, 5), "Flatten"), ((), "Flatten")]
)
def test_a_wrong_shape_names_layer_and_both_shapes(inputs: nn.Shape, advice: str) -> None:
    with pytest.raises(ShapeMismatch, match=advice) as caught:
        nn.Dense(5, 3).output_shape(inputs)
    assert f"Dense(5, 3) takes samples of shape (5,), got {inputs}" in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"inputs": 0, "outputs": 3}, "inputs must be a whole number >= 1, got 0"),
        ({"inputs": 3, "outputs": 2.5}, "outputs must be a whole number >= 1, got 2.5"),
        (
            {"inputs": 3, "outputs": 2, "init": "glorot"},
            "init must be one of xavier, he, zeros, ones, got 'glorot'",
        ),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        nn.Dense(**settings)
