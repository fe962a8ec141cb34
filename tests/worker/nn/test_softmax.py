"""Softmax: gradients, PyTorch's, and logits of any size."""

import numpy as np
import pytest
import torch

from ps_worker import nn
from support_gradients import check_layer
from support_torch import compare_layer


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape)


@pytest.mark.parametrize("shape", [(4, 5), (2, 3, 5)])
def test_gradients(shape: tuple[int, ...]) -> None:
    check_layer(nn.Softmax(), normal(*shape))


@pytest.mark.parametrize("shape", [(4, 5), (2, 3, 5)])
def test_the_layer_is_pytorchs(shape: tuple[int, ...]) -> None:
    compare_layer(nn.Softmax(), normal(*shape).astype(np.float32), lambda x, p: torch.softmax(x, dim=-1))


def test_logits_of_any_size() -> None:
    y, _ = nn.Softmax().forward(np.array([[1e30, 0], [-1e30, -1e30]]), {}, nn.Context(training=False))
    np.testing.assert_array_equal(y, [[1, 0], [0.5, 0.5]])
