"""PyTorch as the oracle: the same numbers through a layer or a loss of ours and through torch."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from ps_worker import nn
from ps_worker.nn.tree import flatten, nest
from support_networks import draw

torch.set_num_threads(1)  # the tests' matrices are small, and other tests have the other cores
CLOSE = 1e-5  # of the largest number of an array: float32 on both sides


def assert_alike(ours: Any, theirs: torch.Tensor, what: str) -> None:
    """Equal to 1e-5 of the largest number."""
    expected = theirs.detach().numpy()
    scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
    np.testing.assert_allclose(ours, expected, rtol=0, atol=CLOSE * scale, err_msg=what)


def compare_layer(
    layer: nn.Layer,
    x: np.ndarray,
    function: Callable[[torch.Tensor, Mapping[str, torch.Tensor]], torch.Tensor],
    *,
    training: bool = True,
    seed: int = 0,
) -> None:
    """Compare the value and all gradients of a layer with `function(x, parameters by dotted name)`.

    x: float32, or integers for a layer that takes indexes, whose gradient is then not asked for.
    """
    rng = np.random.default_rng(seed)
    specification = flatten(layer.parameters(x.shape[1:]))
    weights = {
        name: (draw(p, rng) + rng.normal(0, 0.2, p.shape)).astype(np.float32)
        for name, p in specification.items()
    }
    gradients = {name: np.full_like(w, np.nan) for name, w in weights.items()}
    theirs = {name: torch.tensor(w, requires_grad=specification[name].trained) for name, w in weights.items()}
    is_real = x.dtype.kind == "f"
    x_there = torch.tensor(x, requires_grad=is_real)
    context = nn.Context(training=training, rng=np.random.default_rng(seed))
    y, cache = layer.forward(x, nest(weights), context)
    y_there = function(x_there, theirs)
    assert y.shape == tuple(y_there.shape) == (len(x), *layer.output_shape(x.shape[1:]))
    assert_alike(y, y_there, f"y of {layer}")
    dy = rng.normal(size=y.shape).astype(np.float32)
    y_there.backward(torch.tensor(dy))
    dx = layer.backward(dy, nest(weights), nest(gradients), cache)
    if is_real:
        assert x_there.grad is not None
        assert_alike(dx, x_there.grad, f"dx of {layer}")
    for name, tensor in theirs.items():
        if specification[name].trained:
            assert tensor.grad is not None
            assert_alike(gradients[name], tensor.grad, f"gradient of {name} of {layer}")


def compare_loss(
    loss: nn.Loss,
    output: np.ndarray,
    target: np.ndarray,
    function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> None:
    """Compare a loss with `function(output, target)`, which gives the mean over the batch."""
    there = torch.tensor(output, requires_grad=True)
    mean = function(there, torch.tensor(target))
    mean.backward()
    assert there.grad is not None
    value, gradient = loss.value_and_gradient(output, target)
    assert_alike(np.asarray(value) / len(output), mean, f"value of {loss}")
    assert_alike(np.asarray(loss.value(output, target)) / len(output), mean, f"value alone of {loss}")
    assert_alike(gradient, there.grad, f"gradient of {loss}")
