"""The same arithmetic on CuPy as on NumPy, to rounding."""

from typing import Any

import numpy as np
import pytest

from ps_common.arrays import cupy, to_host, xp_of
from ps_worker import nn
from ps_worker.nn.blocks import BLOCK
from ps_worker.nn.precision import half_dtype
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


def indexes(*shape: int, below: int = 7) -> np.ndarray:
    return rng().integers(0, below, shape)


def pull(array: Any) -> np.ndarray:
    """To the host, and a proof that it was on the device."""
    assert xp_of(array) is cupy()
    return to_host(array)


LAYERS = [
    (nn.Dense(5, 3), (5,)),
    (nn.Dense(5, 3, bias=False), (5,)),
    (nn.Dense(5, 3), (4, 5)),
    (nn.PositionalEmbedding(6, 3), (4, 3)),
    (nn.LayerNorm(5), (4, 5)),
    (nn.CausalSelfAttention(6, 2), (4, 6)),
    (nn.TransformerBlock(6, 2, dropout=0.2), (4, 6)),
    (nn.LSTM(3, 5), (4, 3)),
    (nn.LSTM(3, 5, return_sequences=False), (4, 3)),
    (nn.GRU(3, 5), (4, 3)),
    (nn.GRU(3, 5, return_sequences=False), (4, 3)),
    (nn.GELU(), (4, 5)),
    (nn.Softmax(), (4, 5)),
    (nn.ReLU(), (5,)),
    (nn.Tanh(), (2, 3)),
    (nn.Sigmoid(), (5,)),
    (nn.Flatten(), (2, 3)),
    (nn.Reshape((2, 3)), (6,)),
    (nn.Dropout(0.5), (50,)),
    (nn.Conv2D(2, 3, 3, padding="same"), (2, 4, 5)),
    (nn.Conv2D(3, 2, (2, 3), stride=2, padding=(1, 0), bias=False), (3, 5, 6)),
    (nn.MaxPool2D(2), (2, 4, 5)),
    (nn.MaxPool2D(3, stride=2, padding=1), (2, 5, 5)),
    (nn.AvgPool2D(3, stride=2, padding=1), (2, 5, 5)),
    (nn.GlobalAveragePool2D(), (3, 4, 5)),
    (nn.BatchNorm(5), (5,)),
    (nn.BatchNorm(2), (2, 3, 4)),
    (nn.Residual(nn.Dense(5, 5), nn.Tanh()), (5,)),
    (nn.Residual(nn.Conv2D(2, 3, 3, stride=2), shortcut=nn.Conv2D(2, 3, 3, stride=2)), (2, 5, 5)),
    (nn.Sequential(nn.Reshape((1, 6, 6)), nn.Conv2D(1, 2, 3), nn.BatchNorm(2), nn.MaxPool2D(2)), (36,)),
    (nn.Sequential(nn.Flatten(), nn.Dense(6, 8), nn.ReLU(), nn.Dropout(0.3), nn.Dense(8, 2)), (2, 3)),
]


INDEXED = [
    (nn.Embedding(7, 3), indexes(N, 4)),
    (nn.Embedding(2**20, 3), indexes(N, 4)),
    (nn.MatrixFactorisation(7, 9, 3), indexes(N, 2)),
]


@pytest.mark.parametrize(("layer", "inputs"), LAYERS)
def test_layers(layer: nn.Layer, inputs: nn.Shape) -> None:
    compare(layer, normal(N, *inputs))


@pytest.mark.parametrize(("layer", "x"), INDEXED)
def test_layers_of_indexes(layer: nn.Layer, x: np.ndarray) -> None:
    compare(layer, x)


def compare(layer: nn.Layer, given: np.ndarray) -> None:
    inputs = given.shape[1:]
    start = {n: draw(p, rng()).astype(np.float32) for n, p in flatten(layer.parameters(inputs)).items()}
    found = []
    for device, x in enumerate(both(given)):
        weights = {name: both(array.copy())[device] for name, array in start.items()}
        gradients = {name: xp_of(w).full_like(w, np.nan) for name, w in weights.items()}
        p, g = nest(weights), nest(gradients)
        y, cache = layer.forward(x, p, nn.Context(training=True, rng=rng()))
        dx = layer.backward(xp_of(y).cos(y), p, g, cache)
        after = {f"{name} afterwards": w for name, w in weights.items()}  # running statistics move
        found.append({"y": y, "dx": dx, **gradients, **after})
    for name, expected in found[0].items():
        actual = pull(found[1][name])
        assert actual.dtype == expected.dtype
        np.testing.assert_allclose(actual, expected, **CLOSE, err_msg=f"{name} of {layer}")


PRECISIONS = ["float16", "bfloat16"]
HALVED = [*((layer, normal(N, *inputs)) for layer, inputs in LAYERS), *INDEXED]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("layer", "x"), HALVED)
def test_layers_in_half_precision(layer: nn.Layer, x: np.ndarray, precision: str) -> None:
    """Both passes go through, give halves, and come near those of float32."""
    module = cupy()
    assert module is not None
    if precision == "bfloat16" and int(module.__version__.partition(".")[0]) < 14:
        return  # which a replica refuses
    found = []
    for dtype in (np.dtype(np.float32), half_dtype(precision)):
        given = module.asarray(x).astype(x.dtype if layer.takes_indexes else dtype)
        weights, gradients = {}, {}
        for name, p in flatten(layer.parameters(x.shape[1:])).items():
            weights[name] = module.asarray(draw(p, rng())).astype(dtype if p.trained else np.float32)
            if p.trained:
                gradients[name] = module.full(p.shape, np.nan, dtype)
        y, cache = layer.forward(given, nest(weights), nn.Context(training=True, rng=rng()))
        dx = layer.backward(module.cos(y).astype(dtype), nest(weights), nest(gradients), cache)
        results = {"y": y, "dx": dx, **gradients}
        assert {str(result.dtype) for result in results.values()} == {str(dtype)}
        found.append({name: pull(result).astype(np.float64) for name, result in results.items()})
    for name, expected in found[0].items():
        largest = max(1.0, np.abs(expected).max(initial=0))
        assert np.abs(found[1][name] - expected).max(initial=0) < 0.1 * largest, name


LOSSES = [
    (nn.MSE(), normal(N, 3), normal(N, 3)),
    (nn.MSE(), normal(N, 1), rng().integers(0, 9, N).astype(np.uint8)),
    (nn.SoftmaxCrossEntropy(), normal(N, 4) * 50, rng().integers(0, 4, N).astype(np.uint8)),
    (nn.SoftmaxCrossEntropy(), normal(N, 4), rng().integers(0, 4, N)),
    (nn.SoftmaxCrossEntropy(ignore=2), normal(N, 5, 4), rng().integers(0, 4, (N, 5))),
    (nn.MSE(skip_missing=True), normal(N, 3), np.where(normal(N, 3) > 0, np.nan, 1)),
    (nn.SigmoidCrossEntropy(skip_missing=True), normal(N, 3), np.where(normal(N, 3) > 0, np.nan, 1)),
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
    (nn.Accuracy(ignore=2), normal(N, 5, 4), rng().integers(0, 4, (N, 5))),
    (nn.MeanSquaredError(), normal(N, 3), normal(N, 3)),
    (nn.MeanAbsoluteError(), normal(N, 1), normal(N)),
    (nn.RMSE(), normal(N, 3), normal(N, 3)),
    (nn.RMSE(skip_missing=True), normal(N, 3), np.where(normal(N, 3) > 0, np.nan, 1)),
    (nn.TopK(2), normal(N, 4), rng().integers(0, 4, N).astype(np.uint8)),
    (nn.TopK(2, ignore=3), normal(N, 5, 4), rng().integers(0, 4, (N, 5))),
    (nn.AUC(), normal(N, 1), rng().integers(0, 2, N).astype(np.uint8)),
    (nn.AUC(), normal(N, 2), rng().integers(0, 2, N)),
    (nn.Perplexity(), normal(N, 4), rng().integers(0, 4, N).astype(np.uint8)),
    (nn.BitsPerCharacter(ignore=0), normal(N, 5, 4), rng().integers(0, 4, (N, 5))),
]


@pytest.mark.parametrize(("metric", "output", "target"), METRICS)
def test_metrics(metric: nn.Metric, output: np.ndarray, target: np.ndarray) -> None:
    here = metric.sums(output, target)
    there = [pull(s) for s in metric.sums(both(output)[1], both(target)[1])]
    for a, b in zip(there, here, strict=True):
        assert a.dtype == np.float64
        assert a.shape == np.shape(b)
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_l2() -> None:
    w, g = normal(7, 5), normal(7, 5) + 1
    _, w_there = both(w)
    _, g_there = both(g)
    nn.L2(0.3).add_gradient([w], [g])
    nn.L2(0.3).add_gradient([w_there], [g_there])
    np.testing.assert_allclose(pull(g_there), g, **CLOSE)
    np.testing.assert_allclose(pull(nn.L2(0.3).penalty([w_there])), nn.L2(0.3).penalty([w]), rtol=1e-5)


OPTIMIZERS = [
    nn.SGD(0.1),
    nn.Momentum(0.1),
    nn.Nesterov(0.1),
    nn.Adam(0.1),
    nn.Adam(0.1, beta1=0, beta2=0),
    nn.AdamW(0.1),
    nn.AdamW(nn.Cosine(0.1, steps=3), decay=0.5),
    nn.Adagrad(0.1),
    nn.RMSprop(0.1),
    nn.ClipByNorm(nn.SGD(0.1), 0.5),
    nn.ClipByNorm(nn.AdamW(nn.Step(0.1, every=2)), 1e9),
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("n", [1, 10, BLOCK + 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_optimizers(optimizer: nn.Optimizer, n: int, dtype: type) -> None:
    """Each kernel against the blocks of the host: weights and slots; half of the weights are decayed."""
    gradients = rng().normal(size=(3, n)).astype(dtype)
    one = optimizer.decaying(n // 2)
    results = []
    for device, weights in enumerate(both(np.ones(n, dtype))):
        slots = {name: xp_of(weights).zeros(shape, dtype) for name, shape in one.slots(n).items()}
        for step, gradient in enumerate(gradients):
            there = both(gradient.copy())[device]
            one.at(step).step(weights, there, slots, nn.scratch_for(weights))
        results.append({"weights": weights, **slots})
    close = CLOSE if dtype is np.float32 else {"rtol": 1e-12, "atol": 1e-12}
    for name, expected in results[0].items():
        assert pull(results[1][name]).dtype == dtype
        np.testing.assert_allclose(pull(results[1][name]), expected, **close, err_msg=name)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_step_does_not_wait_for_the_gpu(optimizer: nn.Optimizer) -> None:
    """It is enqueued while the device is still at work on what was before it, as an event tells."""
    module = cupy()
    assert module is not None
    weights, gradient = module.ones(1000, np.float32), module.ones(1000, np.float32)
    slots = {name: module.zeros(shape, np.float32) for name, shape in optimizer.slots(1000).items()}
    scratch = nn.scratch_for(weights)
    optimizer.at(0).step(weights, gradient, slots, scratch)  # the kernels are compiled here
    large = module.ones((8192, 8192), np.float32)
    module.cuda.Device().synchronize()
    for _ in range(20):
        large = large @ large
    before = module.cuda.Event()
    before.record()
    optimizer.at(1).step(weights, gradient, slots, scratch)
    assert not before.done, "the step waited for what was before it"


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
