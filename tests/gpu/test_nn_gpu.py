"""The same arithmetic on CuPy as on NumPy, to rounding."""

from typing import Any

import numpy as np
import pytest

from ps_common.arrays import cupy, to_host, xp_of
from ps_worker import nn
from ps_worker.nn.blocks import BLOCK
from ps_worker.nn.tree import flatten, nest
from support_networks import draw, first_values

pytestmark = pytest.mark.skipif(cupy() is None, reason="no CUDA device")

N = 6
CLOSE = {"rtol": 1e-4, "atol": 1e-5}  # float32, sums of at most 20 terms


def both(array: np.ndarray) -> tuple[np.ndarray, Any]:
    module = cupy()
    assert module is not None
    return array, module.asarray(array)


def rng() -> np.random.Generator:
    return np.random.default_rng(2)


def normal(*shape: int) -> np.ndarray:
    return rng().normal(size=shape).astype(np.float32)


def pull(array: Any) -> np.ndarray:
    """To the host, and a proof that it was on the device."""
    assert xp_of(array) is cupy()
    return to_host(array)


LAYERS = [
    (nn.Dense(5, 3), (5,)),
    (nn.Dense(5, 3, bias=False), (5,)),
    (nn.ReLU(), (5,)),
    (nn.Tanh(), (2, 3)),
    (nn.Sigmoid(), (5,)),
    (nn.Flatten(), (2, 3)),
    (nn.Dropout(0.5), (50,)),
    (nn.Sequential(nn.Flatten(), nn.Dense(6, 8), nn.ReLU(), nn.Dropout(0.3), nn.Dense(8, 2)), (2, 3)),
]


@pytest.mark.parametrize(("layer", "inputs"), LAYERS)
def test_layers(layer: nn.Layer, inputs: nn.Shape) -> None:
    start = {n: draw(p, rng()).astype(np.float32) for n, p in flatten(layer.parameters(inputs)).items()}
    found = []
    for device, x in enumerate(both(normal(N, *inputs))):
        weights = {name: both(array)[device] for name, array in start.items()}
        gradients = {name: xp_of(w).full_like(w, np.nan) for name, w in weights.items()}
        p, g = nest(weights), nest(gradients)
        y, cache = layer.forward(x, p, nn.Context(training=True, rng=rng()))
        dx = layer.backward(xp_of(y).cos(y), p, g, cache)
        found.append({"y": y, "dx": dx, **gradients})
    for name, expected in found[0].items():
        actual = pull(found[1][name])
        assert actual.dtype == expected.dtype
        np.testing.assert_allclose(actual, expected, **CLOSE, err_msg=f"{name} of {layer}")


LOSSES = [
    (nn.MSE(), normal(N, 3), normal(N, 3)),
    (nn.MSE(), normal(N, 1), rng().integers(0, 9, N).astype(np.uint8)),
    (nn.SoftmaxCrossEntropy(), normal(N, 4) * 50, rng().integers(0, 4, N).astype(np.uint8)),
    (nn.SoftmaxCrossEntropy(), normal(N, 4), rng().integers(0, 4, N)),
    (nn.SigmoidCrossEntropy(), normal(N, 3) * 50, rng().integers(0, 2, (N, 3)).astype(np.uint8)),
    (nn.SigmoidCrossEntropy(), normal(N, 1), rng().integers(0, 2, N)),
]


@pytest.mark.parametrize(("loss", "output", "target"), LOSSES)
def test_losses(loss: nn.Loss, output: np.ndarray, target: np.ndarray) -> None:
    value, gradient = loss.value_and_gradient(output, target)
    value_there, gradient_there = loss.value_and_gradient(both(output)[1], both(target)[1])
    alone = pull(loss.value(both(output)[1], both(target)[1]))
    assert pull(value_there).shape == alone.shape == ()
    assert pull(value_there).dtype == np.float64
    assert pull(gradient_there).dtype == np.float32
    np.testing.assert_allclose(pull(value_there), value, rtol=1e-5)
    np.testing.assert_allclose(alone, value, rtol=1e-5)
    np.testing.assert_allclose(pull(gradient_there), gradient, **CLOSE)


METRICS = [
    (nn.Accuracy(), normal(N, 4), rng().integers(0, 4, N).astype(np.uint8)),
    (nn.Accuracy(), normal(N, 1), rng().integers(0, 2, N)),
    (nn.MeanSquaredError(), normal(N, 3), normal(N, 3)),
    (nn.MeanAbsoluteError(), normal(N, 1), normal(N)),
]


@pytest.mark.parametrize(("metric", "output", "target"), METRICS)
def test_metrics(metric: nn.Metric, output: np.ndarray, target: np.ndarray) -> None:
    here = metric.sums(output, target)
    there = [pull(s) for s in metric.sums(both(output)[1], both(target)[1])]
    assert all(s.shape == () and s.dtype == np.float64 for s in there)
    np.testing.assert_allclose(there, here, rtol=1e-5)


def test_l2() -> None:
    w, g = normal(7, 5), normal(7, 5) + 1
    _, w_there = both(w)
    _, g_there = both(g)
    nn.L2(0.3).add_gradient([w], [g])
    nn.L2(0.3).add_gradient([w_there], [g_there])
    np.testing.assert_allclose(pull(g_there), g, **CLOSE)
    np.testing.assert_allclose(pull(nn.L2(0.3).penalty([w_there])), nn.L2(0.3).penalty([w]), rtol=1e-5)


@pytest.mark.parametrize("optimizer", [nn.SGD(0.1), nn.Momentum(0.1), nn.Nesterov(0.1), nn.Adam(0.1)])
@pytest.mark.parametrize("n", [10, BLOCK + 3])
def test_optimizers(optimizer: nn.Optimizer, n: int) -> None:
    gradients = rng().normal(size=(3, n)).astype(np.float32)
    results = []
    for device, weights in enumerate(both(np.ones(n, np.float32))):
        slots = {name: xp_of(weights).zeros(shape, np.float32) for name, shape in optimizer.slots(n).items()}
        for gradient in gradients:
            optimizer.step(weights, both(gradient.copy())[device], slots, nn.scratch_for(weights))
        results.append(weights)
    np.testing.assert_allclose(pull(results[1]), results[0], **CLOSE)


def test_a_network_trains_alike() -> None:
    """Twenty steps of a small classifier, uint8 inputs, on views into one flat vector."""
    model = nn.Sequential(nn.Dense(8, 16), nn.ReLU(), nn.Dropout(0.2), nn.Dense(16, 3))
    network = nn.Network(model, nn.SoftmaxCrossEntropy(), nn.L2(0.01), (8,))
    start = first_values(network, rng())
    sizes = np.cumsum([0, *(array.size for array in start.values())])
    flat = np.concatenate([array.ravel() for array in start.values()])
    x, y = rng().integers(0, 5, (20, N, 8)).astype(np.uint8), rng().integers(0, 3, (20, N))
    results = []
    for device, weights in enumerate(both(flat)):
        gradient = xp_of(weights).full_like(weights, np.nan)
        views = [
            {n: v[a:b].reshape(start[n].shape) for n, a, b in zip(start, sizes[:-1], sizes[1:], strict=True)}
            for v in (weights, gradient)
        ]
        network.bind(*views)
        context = nn.Context(training=True, rng=rng())
        for batch, labels in zip(x, y, strict=True):
            loss_sum, _ = network.train_step(both(batch)[device], both(labels)[device], context)
            nn.SGD(0.05).step(weights, gradient, {}, nn.scratch_for(weights))
        results.append((weights, loss_sum))
    np.testing.assert_allclose(pull(results[1][0]), results[0][0], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(pull(results[1][1]), results[0][1], rtol=1e-3)
