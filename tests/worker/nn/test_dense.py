"""Dense: gradients, shapes and messages."""

from typing import Any

import numpy as np
import pytest

from ps_common.errors import ShapeMismatch, UsageError
from ps_worker import nn
from support_gradients import check_layer


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("axes", [(4,), (2, 3), (2, 1, 3)])
def test_gradients(bias: bool, axes: tuple[int, ...]) -> None:
    check_layer(nn.Dense(5, 3, bias=bias), np.random.default_rng(1).normal(size=(*axes, 5)))


def test_each_vector_of_a_sequence_is_a_sample_of_its_own() -> None:
    layer, x = nn.Dense(5, 3), np.random.default_rng(1).normal(size=(4, 6, 5))
    p = {"weight": np.random.default_rng(2).normal(size=(5, 3)), "bias": np.ones(3)}
    y, _ = layer.forward(x, p, nn.Context(training=False))
    alone, _ = layer.forward(x.reshape(24, 5), p, nn.Context(training=False))
    assert layer.output_shape((6, 5)) == (6, 3)
    np.testing.assert_array_equal(y, alone.reshape(4, 6, 3))


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
    ("inputs", "taken", "advice"),
    [
        ((7,), "(5,)", "use nn.Dense(7, ...)"),
        ((6, 7), "(..., 5)", "use nn.Dense(7, ...)"),
        ((5, 1), "(..., 5)", "put nn.Flatten() before it"),
        ((), "(5,)", "put nn.Flatten() before it"),
    ],
)
def test_a_wrong_shape_names_layer_and_both_shapes(inputs: nn.Shape, taken: str, advice: str) -> None:
    with pytest.raises(ShapeMismatch) as caught:
        nn.Dense(5, 3).output_shape(inputs)
    assert str(caught.value) == f"Dense(5, 3) takes samples of shape {taken}, got {inputs}; {advice}"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"inputs": 0, "outputs": 3}, "inputs must be a whole number >= 1, got 0"),
        ({"inputs": 3, "outputs": 2.5}, "outputs must be a whole number >= 1, got 2.5"),
        (
            {"inputs": 3, "outputs": 2, "init": "glorot"},
            "init must be one of xavier, he, normal, zeros, ones, got 'glorot'",
        ),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        nn.Dense(**settings)
