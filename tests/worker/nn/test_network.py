"""The network: its parameters, its bound arrays, and the gradient of the whole."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from ps_common.arrays import Array
from ps_common.errors import ShapeMismatch, UsageError
from ps_worker import nn
from ps_worker.nn.layer import Tree, Views
from support_gradients import assert_close, numeric_gradient
from support_networks import first_values

MODEL = nn.Sequential(nn.Flatten(), nn.Dense(6, 5), nn.Tanh(), nn.Dense(5, 3, bias=False))
TRAINING = nn.Context(training=True)


@dataclasses.dataclass(frozen=True)
class Shift(nn.Layer):
    """y = x - (running mean); the mean moves while training and is not stepped."""

    def parameters(self, inputs: nn.Shape) -> Tree:
        return {"mean": nn.Parameter(inputs, "zeros", trained=False)}

    def forward(self, x: Array, p: Views, context: nn.Context) -> tuple[Array, Any]:
        if context.training:
            p["mean"][...] = 0.5 * p["mean"] + 0.5 * x.mean(axis=0)
        return x - p["mean"], None

    def backward(self, dy: Array, p: Views, g: Views, cache: Any) -> Array:
        return dy


@dataclasses.dataclass(frozen=True)
class First(nn.Dense):
    """A layer whose dx nobody needs."""

    def backward(self, dy: Array, p: Views, g: Views, cache: Any) -> Array:
        raise AssertionError("dx was computed for nobody")


def bound(network: nn.Network, seed: int = 0) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Views into one flat vector each, as a replica has them; gradients start as NaN."""
    specification = network.specification()
    sizes = [math.prod(p.shape) for p in specification.values()]
    flat, flat_gradient = (np.full(sum(sizes), np.nan, network.dtype) for _ in range(2))
    weights, gradients, start = {}, {}, 0
    initial = first_values(network, np.random.default_rng(seed))
    for (name, p), size in zip(specification.items(), sizes, strict=True):
        weights[name] = flat[start : start + size].reshape(p.shape)
        weights[name][...] = initial[name]
        if p.trained:
            gradients[name] = flat_gradient[start : start + size].reshape(p.shape)
        start += size
    network.bind(weights, gradients)
    return weights, gradients


def test_specification_has_the_decayed_first_then_the_other_trained() -> None:
    model = nn.Sequential(Shift(), nn.Dense(4, 3), nn.Dense(3, 2), Shift())
    network = nn.Network(model, nn.MSE(), None, (4,))
    specification = network.specification()
    assert list(specification) == ["1.weight", "2.weight", "1.bias", "2.bias", "0.mean", "3.mean"]
    assert [p.trained for p in specification.values()] == [True, True, True, True, False, False]
    assert network.decayed == 4 * 3 + 3 * 2
    assert network.output_shape == (2,)


def test_initial_values_follow_the_stream_in_the_networks_dtype() -> None:
    networks = [nn.Network(MODEL, nn.MSE(), None, (2, 3), dtype) for dtype in ("float32", "float64")]
    narrow, wide = (first_values(network, np.random.default_rng(5)) for network in networks)
    other = first_values(networks[0], np.random.default_rng(6))
    assert list(narrow) == ["1.weight", "3.weight", "1.bias"]
    for name, array in narrow.items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, wide[name].astype(np.float32))
    assert (narrow["1.weight"] != other["1.weight"]).all()
    np.testing.assert_array_equal(narrow["1.bias"], np.zeros(5))


@pytest.mark.parametrize("regularizer", [None, nn.L2(0.3)])
@pytest.mark.parametrize("loss", [nn.MSE(), nn.SoftmaxCrossEntropy(), nn.SigmoidCrossEntropy()])
def test_the_gradient_is_that_of_mean_loss_and_penalty(loss: nn.Loss, regularizer: nn.L2 | None) -> None:
    network = nn.Network(MODEL, loss, regularizer, (2, 3), "float64")
    weights, gradients = bound(network)
    rng = np.random.default_rng(1)
    x = rng.normal(size=(4, 2, 3))
    y = rng.integers(0, 3, 4) if isinstance(loss, nn.SoftmaxCrossEntropy) else rng.random((4, 3))
    loss_sum, output = network.train_step(x, y, TRAINING)

    def objective() -> float:
        value = float(network.evaluate(x, y)[0]) / 4
        if regularizer is not None:
            value += float(regularizer.penalty([weights["1.weight"], weights["3.weight"]]))
        return value

    assert_close(loss_sum, network.evaluate(x, y)[0], "loss")
    assert_close(output, network.predict(x), "output")
    for name, w in weights.items():
        assert_close(gradients[name], numeric_gradient(objective, w), name)


@pytest.mark.parametrize("model", [First(2, 1), nn.Sequential(First(2, 3), nn.ReLU(), nn.Dense(3, 1))])
def test_the_first_layer_computes_no_gradient_of_the_data(model: nn.Layer) -> None:
    network = nn.Network(model, nn.MSE(), None, (2,))
    _, gradients = bound(network)
    network.train_step(np.ones((3, 2)), np.zeros(3), TRAINING)
    assert all(np.isfinite(g).all() for g in gradients.values())


def test_biases_do_not_decay() -> None:
    x, y = np.ones((2, 2, 3)), np.zeros(2, np.int64)
    found = []
    for regularizer in (None, nn.L2(10.0)):
        network = nn.Network(MODEL, nn.SoftmaxCrossEntropy(), regularizer, (2, 3), "float64")
        weights, gradients = bound(network)
        weights["1.bias"][...] = 1
        network.train_step(x, y, TRAINING)
        found.append(gradients)
    np.testing.assert_array_equal(found[0]["1.bias"], found[1]["1.bias"])
    assert (found[0]["1.weight"] != found[1]["1.weight"]).all()


def test_bound_arrays_are_read_anew_in_each_call() -> None:
    network = nn.Network(nn.Dense(2, 1), nn.MSE(), None, (2,))
    weights, _ = bound(network)
    x = np.ones((1, 2), np.float32)
    weights["weight"][...] = 3
    assert network.predict(x).tolist() == [[6]]
    weights["weight"][...] = 5
    assert network.predict(x).tolist() == [[10]]


@pytest.mark.parametrize("dtype", ["uint8", "int64", "bool", "float64"])
def test_inputs_of_any_number_type_are_cast_and_not_rescaled(dtype: str) -> None:
    network = nn.Network(nn.Dense(2, 1), nn.MSE(), None, (2,))
    weights, gradients = bound(network)
    weights["weight"][...] = 1
    x = np.array([[200, 100], [0, 1]]).astype(dtype)
    output = network.predict(x)
    assert output.dtype == np.float32
    np.testing.assert_array_equal(output, x.astype(np.float32).sum(axis=1, keepdims=True))
    network.train_step(x, np.zeros(2), TRAINING)
    assert np.isfinite(gradients["weight"]).all()


def test_statistics_move_in_training_only() -> None:
    network = nn.Network(nn.Sequential(Shift(), nn.Dense(2, 1)), nn.MSE(), None, (2,))
    weights, gradients = bound(network)
    x, y = np.full((3, 2), 4, np.float32), np.zeros(3, np.float32)
    network.evaluate(x, y)
    assert weights["0.mean"].tolist() == [0, 0]
    network.train_step(x, y, TRAINING)
    assert weights["0.mean"].tolist() == [2, 2]
    assert set(gradients) == {"1.weight", "1.bias"}


def test_dropout_drops_in_training_only() -> None:
    network = nn.Network(nn.Sequential(nn.Dropout(0.5), nn.Dense(100, 1)), nn.MSE(), None, (100,), "float64")
    weights, _ = bound(network)
    weights["1.weight"][...] = 1
    x, y = np.ones((1, 100)), np.zeros(1)
    assert network.predict(x).tolist() == [[100]]
    dropped = [
        network.train_step(x, y, nn.Context(training=True, rng=np.random.default_rng(s)))[1]
        for s in (1, 1, 2)
    ]
    assert dropped[0] == dropped[1] != dropped[2]


@pytest.mark.parametrize(
    "optimizer",
    [
        nn.SGD(0.5),
        nn.Momentum(0.1),
        nn.Nesterov(0.1),
        nn.Adam(0.05),
        nn.AdamW(0.05),
        nn.Adagrad(0.1),
        nn.RMSprop(0.01),
    ],
    ids=lambda o: type(o).__name__,
)
def test_training_learns_xor(optimizer: nn.Optimizer) -> None:
    model = nn.Sequential(nn.Dense(2, 8, init="xavier"), nn.Tanh(), nn.Dense(8, 1, init="xavier"))
    network = nn.Network(model, nn.SigmoidCrossEntropy(), None, (2,))
    weights, gradients = bound(network)
    flat, flat_gradient = weights["0.weight"].base, gradients["0.weight"].base
    slots = {name: np.zeros(shape, np.float32) for name, shape in optimizer.slots(len(flat)).items()}
    x, y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.uint8), np.array([0, 1, 1, 0], np.uint8)
    for _ in range(500):
        network.train_step(x, y, TRAINING)
        optimizer.step(flat, flat_gradient, slots, nn.scratch_for(flat))
    loss_sum, output = network.evaluate(x, y)
    assert float(loss_sum) < 0.2
    assert nn.Accuracy().sums(output, y)[0] == 4


def test_shapes_are_checked_before_training() -> None:
    with pytest.raises(ShapeMismatch, match=r"layer 1: Dense\(6, 5\) .* \(6,\), got \(8,\)"):
        nn.Network(MODEL, nn.MSE(), None, (2, 4))


@pytest.mark.parametrize(
    ("model", "loss", "dtype", "message"),
    [
        (nn.ReLU(), nn.MSE(), "float32", "has nothing to train"),
        (Shift(), nn.MSE(), "float32", "has nothing to train"),
        (nn.Dense(3, 1), nn.MSE(), "float16", "float32 or float64, got float16"),
        (nn.Dense(3, 1), nn.MSE, "float32", r"the loss must be a Loss, got .*; write MSE\(\.\.\.\)"),
        ("mlp", nn.MSE(), "float32", "the model must be a Layer, got 'mlp'"),
    ],
)
def test_what_cannot_be_a_network_is_refused(model: Any, loss: Any, dtype: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        nn.Network(model, loss, None, (3,), dtype)


def test_bind_refuses_arrays_that_do_not_fit() -> None:
    network = nn.Network(nn.Dense(3, 1), nn.MSE(), None, (3,))
    good = first_values(network, np.random.default_rng(0))
    gradients = {name: np.empty_like(array) for name, array in good.items()}
    network.bind(good, gradients)
    with pytest.raises(ValueError, match="gradients must be given for"):
        network.bind(good, {"weight": gradients["weight"]})
    with pytest.raises(ValueError, match=r"weights: weight must be \(3, 1\) float32, got \(1, 3\) float32"):
        network.bind(good | {"weight": np.empty((1, 3), np.float32)}, gradients)
    with pytest.raises(ValueError, match=r"got .* float64"):
        network.bind(good, gradients | {"bias": np.empty(1)})
