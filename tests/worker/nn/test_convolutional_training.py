"""A network of images trains as PyTorch's does from the same weights and batches."""

import numpy as np
import pytest
import torch

from ps_worker import nn
from support_networks import first_values

STEPS, BATCH, CLASSES = 100, 16, 3
CLOSE = 1e-4  # the most that a weight may differ after all steps

PLAIN = (
    nn.Sequential(
        nn.Conv2D(1, 4, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2D(2),
        nn.Conv2D(4, 6, 3),
        nn.ReLU(),
        nn.MaxPool2D(3, stride=1),
        nn.Flatten(),
        nn.Dense(6, CLASSES),
    ),
    torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(4, 6, 3),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(3, stride=1),
        torch.nn.Flatten(),
        torch.nn.Linear(6, CLASSES),
    ),
)
NORMED = (
    nn.Sequential(
        nn.Conv2D(1, 4, 3, stride=2, bias=False),
        nn.BatchNorm(4),
        nn.ReLU(),
        nn.AvgPool2D(2),
        nn.Conv2D(4, 6, 1),
        nn.BatchNorm(6),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dense(24, 5),
        nn.BatchNorm(5),
        nn.ReLU(),
        nn.Dense(5, CLASSES),
    ),
    torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3, stride=2, bias=False),
        torch.nn.BatchNorm2d(4),
        torch.nn.ReLU(),
        torch.nn.AvgPool2d(2),
        torch.nn.Conv2d(4, 6, 1),
        torch.nn.BatchNorm2d(6),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(24, 5),
        torch.nn.BatchNorm1d(5),
        torch.nn.ReLU(),
        torch.nn.Linear(5, CLASSES),
    ),
)
NAMES = {"scale": "weight", "shift": "bias", "running_variance": "running_var"}
AXES = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}  # of a weight here, in the order that it has there


@pytest.mark.parametrize(("model", "there"), [PLAIN, NORMED], ids=["plain", "batch norm"])
def test_a_hundred_steps_with_momentum(model: nn.Layer, there: torch.nn.Module) -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(STEPS, BATCH, 1, 10, 10)).astype(np.float32)
    labels = rng.integers(0, CLASSES, (STEPS, BATCH))
    network = nn.Network(model, nn.SoftmaxCrossEntropy(), None, (1, 10, 10))
    start = first_values(network, rng)
    _load(there, start)
    _train_there(there, x, labels)
    weights = _train(network, start, x, labels)
    for name, array in weights.items():
        expected = there.state_dict()[_name(name)].numpy().transpose(np.argsort(AXES[array.ndim]))
        np.testing.assert_allclose(array, expected, rtol=0, atol=CLOSE, err_msg=name)
    assert max(float(np.abs(weights[name] - start[name]).max()) for name in weights) > 0.1  # it did train


def _train(
    network: nn.Network, start: dict[str, np.ndarray], x: np.ndarray, labels: np.ndarray
) -> dict[str, np.ndarray]:
    weights = {name: array.copy() for name, array in start.items()}
    trained = [name for name, p in network.specification().items() if p.trained]
    gradients = {name: np.full_like(weights[name], np.nan) for name in trained}
    network.bind(weights, gradients)
    optimizer = nn.Momentum(0.02, 0.9)
    slots = {name: {"velocity": np.zeros(weights[name].size, np.float32)} for name in trained}
    for batch, target in zip(x, labels, strict=True):
        network.train_step(batch, target, nn.Context(training=True))
        for name in trained:
            flat = weights[name].reshape(-1)
            optimizer.step(flat, gradients[name].reshape(-1), slots[name], nn.scratch_for(flat))
    return weights


def _load(there: torch.nn.Module, start: dict[str, np.ndarray]) -> None:
    state = {_name(n): torch.tensor(array.transpose(AXES[array.ndim])) for n, array in start.items()}
    there.load_state_dict(state, strict=False)
    there.train()


def _train_there(there: torch.nn.Module, x: np.ndarray, labels: np.ndarray) -> None:
    optimizer = torch.optim.SGD(there.parameters(), lr=0.02, momentum=0.9)
    for batch, target in zip(x, labels, strict=True):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(there(torch.tensor(batch)), torch.tensor(target)).backward()
        optimizer.step()


def _name(name: str) -> str:
    position, _, leaf = name.rpartition(".")
    return f"{position}.{NAMES.get(leaf, leaf)}"
