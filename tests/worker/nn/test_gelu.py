"""GELU: gradients, PyTorch's tanh kind, and how far it is from the exact one."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from ps_worker import nn
from support_gradients import check_layer
from support_torch import compare_layer


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape)


@pytest.mark.parametrize("shape", [(4, 5), (2, 3, 5)])
def test_gradients(shape: tuple[int, ...]) -> None:
    check_layer(nn.GELU(), normal(*shape))


def test_the_layer_is_pytorchs_with_tanh() -> None:
    x = np.concatenate([normal(40, 5), [[-30, -5, 0, 5, 30]]]).astype(np.float32)
    compare_layer(nn.GELU(), x, lambda x, p: functional.gelu(x, approximate="tanh"))


def test_it_is_near_the_exact_one() -> None:
    x = np.linspace(-6, 6, 1001)
    y, _ = nn.GELU().forward(x, {}, nn.Context(training=False))
    exact = functional.gelu(torch.tensor(x)).numpy()
    assert 1e-5 < np.abs(y - exact).max() < 5e-4


def test_long_inputs_are_computed_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x, dy = nn.GELU(), normal(5, 7), normal(5, 7)
    expected, cache = layer.forward(x, {}, nn.Context(training=True))
    expected_dx = layer.backward(dy, {}, {}, cache)
    monkeypatch.setattr("ps_worker.nn.gelu.BLOCK", 4)
    y, cache = layer.forward(x, {}, nn.Context(training=True))
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(layer.backward(dy, {}, {}, cache), expected_dx)
