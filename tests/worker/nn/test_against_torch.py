"""Layers and losses against PyTorch, which computes the same."""

import functools

import numpy as np
import pytest
import torch
from torch.nn import functional

from ps_worker import nn
from support_torch import compare_layer, compare_loss


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def test_dense():
    compare_layer(nn.Dense(5, 3), normal(4, 5), lambda x, p: x @ p["weight"] + p["bias"])


@pytest.mark.parametrize(
    ("layer", "function"),
    [(nn.ReLU(), torch.relu), (nn.Tanh(), torch.tanh), (nn.Sigmoid(), torch.sigmoid)],
)
def test_activations(layer, function):
    compare_layer(layer, normal(4, 5), lambda x, p: function(x))


def test_softmax_cross_entropy():
    labels = np.array([0, 2, 1, 2])
    compare_loss(nn.SoftmaxCrossEntropy(), normal(4, 3), labels, functional.cross_entropy)


def over_steps(output, labels, **settings):
    return functional.cross_entropy(output.flatten(0, 1), labels.flatten(), **settings)


def test_softmax_cross_entropy_of_sequences():
    labels = np.array([[0, 2], [1, 2], [0, 0], [1, 1]])
    compare_loss(nn.SoftmaxCrossEntropy(), normal(4, 2, 3), labels, over_steps)


def test_softmax_cross_entropy_that_ignores_a_label():
    labels = np.array([[0, 2], [1, -100], [-100, -100], [1, 1]])
    loss = nn.SoftmaxCrossEntropy(ignore=-100)
    compare_loss(loss, normal(4, 2, 3), labels, over_steps)
    labels[labels < 0] = 2
    there = functools.partial(over_steps, ignore_index=2)
    compare_loss(nn.SoftmaxCrossEntropy(ignore=2), normal(4, 2, 3), labels, there)


@pytest.mark.parametrize(
    ("loss", "function"),
    [
        (nn.MSE(skip_missing=True), functional.mse_loss),
        (nn.SigmoidCrossEntropy(skip_missing=True), functional.binary_cross_entropy_with_logits),
    ],
)
def test_missing_targets_do_not_count(loss, function):
    targets = (normal(4, 3) > 0).astype(np.float32)
    targets[1] = targets[2, 0] = np.nan

    def there(output, target):
        counted = ~target.isnan()
        return function(output[counted], target[counted])

    compare_loss(loss, normal(4, 3), targets, there)


def test_mse():
    compare_loss(nn.MSE(), normal(4, 3), normal(4, 3) + 1, functional.mse_loss)


def test_sigmoid_cross_entropy():
    targets = (normal(4, 3) > 0).astype(np.float32)
    compare_loss(nn.SigmoidCrossEntropy(), normal(4, 3), targets, functional.binary_cross_entropy_with_logits)
