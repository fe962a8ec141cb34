"""Half precision: the same training, to its rounding; small gradients survive, too large ones do no harm."""

import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

from gpu.test_nn_gpu import INDEXED, LAYERS
from ps_common.arrays import Device
from ps_common.errors import UsageError
from ps_worker import nn
from ps_worker.nn.precision import half_dtype
from ps_worker.nn.tree import flatten, nest
from ps_worker.replica import Parts, Replica, Watch
from ps_worker.rows import HeldRows
from support_jobs import job
from support_networks import draw, first_values

TRAINING = nn.Context(training=True)


class Flat:
    """A network bound to one flat vector, as a replica binds it."""

    def __init__(self, model, loss, inputs, precision, seed=1, regularizer=None):
        self.network = nn.Network(model, loss, regularizer, inputs, precision=precision)
        start = first_values(self.network, np.random.default_rng(seed))
        self.weights = np.concatenate([array.ravel() for array in start.values()]).astype(np.float32)
        self.gradient = np.full_like(self.weights, np.nan)
        ends = np.cumsum([0, *(array.size for array in start.values())])
        views = [
            {
                name: vector[first:last].reshape(start[name].shape)
                for name, first, last in zip(start, ends[:-1], ends[1:], strict=True)
            }
            for vector in (self.weights, self.gradient)
        ]
        self.network.bind(*views, (self.weights, self.gradient))

    def step(self, x, y):
        return self.network.train_step(x, y, TRAINING)


def mlp(precision, regularizer=None):
    model = nn.Sequential(nn.Dense(64, 32), nn.Tanh(), nn.Dense(32, 10))
    return Flat(model, nn.SoftmaxCrossEntropy(), (64,), precision, regularizer=regularizer)


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    return (x / 16).astype(np.float32), y


@pytest.mark.parametrize(("precision", "error"), [("float16", 2e-3), ("bfloat16", 2e-2)])
def test_gradients_are_those_of_float32_to_the_rounding(digits, precision, error):
    """Relative to the largest: 11 and 8 digits, of sums of 64 products."""
    x, y = digits[0][:64], digits[1][:64]
    full, half = mlp(None, nn.L2(0.1)), mlp(precision, nn.L2(0.1))
    expected_loss, _ = full.step(x, y)
    loss, output = half.step(x, y)
    assert output.dtype == half.gradient.dtype == np.float32
    assert loss.dtype == np.float64
    assert loss == pytest.approx(expected_loss, rel=error)
    np.testing.assert_allclose(half.gradient, full.gradient, atol=error * abs(full.gradient).max())
    assert (half.weights == full.weights).all()
    assert half.network.evaluate(x, y)[0] == pytest.approx(full.network.evaluate(x, y)[0], rel=error)


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_a_network_learns_digits_as_well_as_in_float32(digits, precision):
    x, y = digits
    accuracies = []
    for chosen in (None, precision):
        one, rng = mlp(chosen), np.random.default_rng(5)
        for _ in range(150):
            batch = rng.choice(1400, 32, replace=False)
            one.step(x[batch], y[batch])
            nn.SGD(0.3).step(one.weights, one.gradient, {}, nn.scratch_for(one.weights))
        accuracies.append((one.network.predict(x[1400:]).argmax(axis=1) == y[1400:]).mean())
    assert accuracies[0] > 0.85
    assert accuracies[1] == pytest.approx(accuracies[0], abs=0.03)


def linear(precision):
    return Flat(nn.Sequential(nn.Dense(2, 1, bias=False)), nn.MSE(), (2,), precision)


class Tiny(nn.Loss):
    """A loss whose gradient is 1e-9, whatever comes: float16 begins at 6e-8."""

    def value_and_gradient(self, output, target):
        return np.float64(0), np.full_like(output, 1e-9)


def test_gradients_too_small_for_float16_are_scaled():
    half = linear("float16")
    half.network.loss = Tiny()
    half.step(np.ones((1, 2), np.float32), np.zeros((1, 1), np.float32))
    np.testing.assert_allclose(half.gradient, 1e-9, rtol=0.05)


def test_a_gradient_beyond_float16_counts_as_zero_and_the_next_one_counts():
    half = linear("float16")
    with pytest.warns(RuntimeWarning, match="overflow"):  # NumPy says it; a GPU does not
        half.step(np.full((1, 2), 60_000, np.float32), np.full((1, 1), 1e4, np.float32))
    assert (half.gradient == 0).all()
    half.step(np.ones((1, 2), np.float32), np.full((1, 1), 3, np.float32))
    assert half.gradient.all()


@pytest.mark.parametrize(("layer", "inputs"), LAYERS, ids=str)
def test_every_layer_keeps_to_the_dtype_it_is_given(layer, inputs):
    compare(layer, np.random.default_rng(3).normal(size=(6, *inputs)).astype(np.float32))


@pytest.mark.parametrize(("layer", "x"), INDEXED, ids=str)
def test_what_is_looked_up_by_index_is_in_half_precision(layer, x):
    shapes = flatten(layer.parameters(x.shape[1:]))
    weights = {name: np.ones(p.shape, np.float16) for name, p in shapes.items()}
    gradients = {name: np.full(p.shape, np.nan, np.float16) for name, p in shapes.items()}
    y, cache = layer.forward(x, nest(weights), TRAINING)
    layer.parameter_gradients(np.ones_like(y), nest(weights), nest(gradients), cache)
    assert y.dtype == np.float16
    assert all(np.isfinite(gradient).all() for gradient in gradients.values())


LARGE = [
    (nn.LayerNorm(384), (384,)),
    (nn.BatchNorm(3), (3, 16, 16)),
    (nn.BatchNorm(30), (30,)),
    (nn.GELU(), (50,)),
    (nn.Softmax(), (50,)),
]


@pytest.mark.parametrize(("layer", "inputs"), LARGE, ids=str)
def test_large_numbers_do_not_leave_the_range_on_the_way(layer, inputs):
    """Their squares and sums would, in float16."""
    compare(layer, np.random.default_rng(3).normal(scale=500, size=(64, *inputs)).astype(np.float16))


def compare(layer, x):
    """Values and gradients in float16 beside those in float32."""
    rng, x = np.random.default_rng(5), x.astype(np.float32)
    specification = flatten(layer.parameters(x.shape[1:]))
    weights = {name: draw(p, rng).astype(np.float32) for name, p in specification.items()}
    found = []
    for dtype in (np.dtype(np.float32), np.dtype(np.float16)):
        own = {n: w.astype(dtype if specification[n].trained else np.float32) for n, w in weights.items()}
        gradients = {n: np.zeros_like(w) for n, w in own.items() if specification[n].trained}
        context = nn.Context(training=True, rng=np.random.default_rng(4))
        y, cache = layer.forward(x.astype(dtype), nest(own), context)
        dx = layer.backward(np.cos(y).astype(dtype), nest(own), nest(gradients), cache)
        assert y.dtype == dx.dtype == dtype
        found.append({"y": y, "dx": dx, **gradients})
    for name, expected in found[0].items():
        largest = max(1.0, abs(expected).max())
        np.testing.assert_allclose(found[1][name].astype(np.float32), expected, atol=0.02 * largest)


def unit(precision):
    description = job(precision=precision, optimizer=nn.Momentum(0.1)).describe()
    replica = Replica(description, Parts.of(description), Device(), Watch())
    base = replica.initialise().vector.copy()
    rows = HeldRows(job().train.read(description.schedule.shards.rows(0)))
    first = replica.train(base, rows, 0, 0).vector.copy()
    replica.use(1)  # in another vector, as when the first is lent
    assert replica.train(base, rows, 0, 0).vector.tobytes() == first.tobytes()
    return replica.layout, first.view(np.float32)


def test_a_unit_is_pure_and_its_weights_travel_in_float32():
    layout, full = unit(None)
    half_layout, half = unit("float16")
    assert half_layout == layout
    assert (half != full).any()
    np.testing.assert_allclose(half, full, atol=5e-3)


def test_without_flat_vectors_it_is_said_what_is_missing():
    network = nn.Network(nn.Dense(2, 1), nn.MSE(), None, (2,), precision="float16")
    start = first_values(network, np.random.default_rng(0))
    with pytest.raises(ValueError, match="flat vectors of 3 weights and gradients"):
        network.bind(start, {name: w.copy() for name, w in start.items()})


def test_bfloat16_without_its_package_is_refused_with_advice(monkeypatch):
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(UsageError, match=r"needs the package ml_dtypes.*or use float16"):
        half_dtype("bfloat16")
