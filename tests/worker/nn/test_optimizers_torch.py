"""Optimizers, and training with them, against PyTorch's."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from ps_worker import nn
from support_networks import first_values
from support_torch import assert_alike

PAIRS: list[tuple[nn.Optimizer, Callable[..., torch.optim.Optimizer]]] = [
    (nn.SGD(0.1), lambda p: torch.optim.SGD(p, 0.1)),
    (nn.Momentum(0.1, 0.8), lambda p: torch.optim.SGD(p, 0.1, momentum=0.8)),
    (nn.Nesterov(0.1, 0.8), lambda p: torch.optim.SGD(p, 0.1, momentum=0.8, nesterov=True)),
    (nn.Adam(0.01), lambda p: torch.optim.Adam(p, 0.01)),
    (nn.Adam(0.1, 0.8, 0.9, 1e-3), lambda p: torch.optim.Adam(p, 0.1, (0.8, 0.9), 1e-3)),
    (nn.AdamW(0.01), lambda p: torch.optim.AdamW(p, 0.01)),
    (nn.AdamW(0.1, decay=0.3), lambda p: torch.optim.AdamW(p, 0.1, weight_decay=0.3)),
    (nn.Adagrad(0.1), lambda p: torch.optim.Adagrad(p, 0.1)),
    (nn.Adagrad(0.3, 0.01), lambda p: torch.optim.Adagrad(p, 0.3, eps=0.01)),
    (nn.RMSprop(), lambda p: torch.optim.RMSprop(p)),
    (nn.RMSprop(0.1, 0.8, 1e-3), lambda p: torch.optim.RMSprop(p, 0.1, 0.8, 1e-3)),
]


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
@pytest.mark.parametrize("limit", [None, 0.5, 1e3])
def test_forty_steps_follow_pytorch(
    ours: nn.Optimizer, theirs: Callable[..., torch.optim.Optimizer], limit: float | None
) -> None:
    """`limit` clips by the norm of both stretches, of which only the first is decayed."""
    rng = np.random.default_rng(4)
    decayed, n = 7, 12
    weights = rng.normal(size=n).astype(np.float32)
    there = [torch.tensor(part, requires_grad=True) for part in (weights[:decayed], weights[decayed:])]
    groups = [{"params": there[0]}, {"params": there[1], "weight_decay": 0.0}]
    twin = theirs(groups)
    one = (ours if limit is None else nn.ClipByNorm(ours, limit)).decaying(decayed)
    slots = {name: np.zeros(shape, np.float32) for name, shape in one.slots(n).items()}
    scratch = nn.scratch_for(weights)
    for step in range(40):
        gradient = (rng.normal(size=n) * 10.0 ** rng.integers(-3, 2)).astype(np.float32)
        there[0].grad, there[1].grad = torch.tensor(gradient[:decayed]), torch.tensor(gradient[decayed:])
        if limit is not None:
            torch.nn.utils.clip_grad_norm_(there, limit)
        twin.step()
        one.at(step).step(weights, gradient, slots, scratch)
        assert_alike(weights, torch.cat(there), f"step {step}")


def test_an_mlp_with_adam_trains_like_pytorchs() -> None:
    """784-32-10 on 100 batches of 16: within 1e-4 of every weight."""
    model = nn.Sequential(nn.Dense(784, 32), nn.ReLU(), nn.Dense(32, 10))
    network = nn.Network(model, nn.SoftmaxCrossEntropy(), None, (784,))
    rng = np.random.default_rng(5)
    weights = first_values(network, rng)
    twin = torch.nn.Sequential(torch.nn.Linear(784, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
    with torch.no_grad():
        for name, array in weights.items():
            twin.get_parameter(name).copy_(torch.tensor(array.T))
    flat = np.concatenate([array.ravel() for array in weights.values()])
    flat_gradient = np.zeros_like(flat)
    ends = np.cumsum([array.size for array in weights.values()])[:-1]
    network.bind(
        *(
            {
                name: part.reshape(weights[name].shape)
                for name, part in zip(weights, np.split(whole, ends), strict=True)
            }
            for whole in (flat, flat_gradient)
        )
    )
    adam, scratch = nn.Adam(0.001), nn.scratch_for(flat)
    slots = {name: np.zeros(shape, np.float32) for name, shape in adam.slots(len(flat)).items()}
    theirs, loss_there = torch.optim.Adam(twin.parameters(), 0.001), torch.nn.CrossEntropyLoss()
    centres = rng.normal(size=(10, 784)).astype(np.float32)
    first_loss = loss = 0.0
    for _ in range(100):
        y = rng.integers(0, 10, 16)
        x = (centres[y] + rng.normal(0, 2, (16, 784))).astype(np.float32)
        loss_sum, _ = network.train_step(x, y, nn.Context(training=True))
        adam.step(flat, flat_gradient, slots, scratch)
        theirs.zero_grad()
        loss_there(twin(torch.tensor(x)), torch.tensor(y)).backward()
        theirs.step()
        loss = float(loss_sum) / 16
        first_loss = first_loss or loss
    assert loss < first_loss / 2, "nothing was learned, so nothing is compared"
    for name, part in zip(weights, np.split(flat, ends), strict=True):
        expected = twin.get_parameter(name).detach().numpy().T
        np.testing.assert_allclose(part.reshape(weights[name].shape), expected, rtol=0, atol=1e-4)
