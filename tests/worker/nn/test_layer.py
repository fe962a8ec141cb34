"""Parameters, and a layer of the user's own."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from ps_common.arrays import Array
from ps_common.errors import UsageError
from ps_common.vocabulary import has_own_code, to_plain
from ps_worker import nn
from ps_worker.nn.layer import Tree, Views
from support_gradients import check_layer


@dataclasses.dataclass(frozen=True)
class Scale(nn.Layer):
    """The example of `Layer`'s docstring."""

    def parameters(self, inputs: nn.Shape) -> Tree:
        return {"scale": nn.Parameter(inputs, "ones")}

    def forward(self, x: Array, p: Views, context: nn.Context) -> tuple[Array, Any]:
        return x * p["scale"], x

    def backward(self, dy: Array, p: Views, g: Views, cache: Any) -> Array:
        x = cache
        (dy * x).sum(axis=0, out=g["scale"])
        return dy * p["scale"]


def test_a_users_own_layer_needs_three_methods() -> None:
    x = np.random.default_rng(1).normal(size=(4, 3))
    check_layer(Scale(), x)
    check_layer(nn.Sequential(Scale(), nn.Dense(3, 2), Scale()), x)


def test_a_users_own_layer_is_own_code() -> None:
    assert has_own_code(to_plain(nn.Sequential(Scale())))
    assert not has_own_code(to_plain(nn.Sequential(nn.ReLU())))


def test_a_layer_without_backward_cannot_be_made() -> None:
    class Half(nn.Layer):
        def forward(self, x: Array, p: Views, context: nn.Context) -> tuple[Array, Any]:
            return x, None

    with pytest.raises(TypeError, match="backward"):
        Half()  # type: ignore[abstract]


def test_a_matrix_knows_its_fans() -> None:
    parameter = nn.Parameter((5, 7), "he")
    assert (parameter.fan_in, parameter.fan_out) == (5, 7)
    assert nn.Parameter((5, 7), "he", fan_in=3).fan_in == 3


@pytest.mark.parametrize("init", ["xavier", "he"])
def test_other_shapes_need_fans_for_random_starts(init: Any) -> None:
    with pytest.raises(UsageError, match="needs fan_in and fan_out"):
        nn.Parameter((3, 3, 8, 16), init)
    nn.Parameter((3, 3, 8, 16), init, fan_in=72, fan_out=144)
    nn.Parameter((3, 3, 8, 16), "zeros")


@pytest.mark.parametrize("shape", [(0,), (3, -1), (2.0,)])
def test_a_shape_is_of_whole_numbers(shape: Any) -> None:
    with pytest.raises(UsageError, match="whole numbers > 0"):
        nn.Parameter(shape)


def test_an_unknown_start_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"xavier, he, normal, zeros, ones, got 'glorot'"):
        nn.Parameter((3,), "glorot")  # type: ignore[arg-type]
