"""Gradients by central finite differences: the oracle for every `backward`."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ps_worker.nn import Context, Layer
from ps_worker.nn.tree import flatten, nest
from support_networks import draw

STEP = 1e-5  # error of the difference: STEP² · f''' / 6 + 1e-16 · f / STEP, about 1e-10


def numeric_gradient(value: Callable[[], float], array: np.ndarray) -> np.ndarray:
    """∂ value() / ∂ array, one element after another; the array is left as it was."""
    gradient = np.empty_like(array)
    for index in np.ndindex(array.shape):
        kept = array[index]
        array[index] = kept + STEP
        above = value()
        array[index] = kept - STEP
        below = value()
        array[index] = kept
        gradient[index] = (above - below) / (2 * STEP)
    return gradient


def assert_close(actual: Any, expected: Any, what: str) -> None:
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-8, err_msg=what)


def check_layer(layer: Layer, x: np.ndarray, seed: int = 0) -> None:
    """Compare all gradients of a layer at x with finite differences, for a random ∂loss/∂y.

    Parameters are drawn away from their initial zeros; gradients start as NaN, so a layer that adds
    where it should write is seen. A random layer draws the same numbers in every pass. For integers, which
    a layer takes as indexes, dx must be zero. Running statistics have no gradient, and may change. Whatever
    the order in memory of x and dy, the numbers are the same: a layer of images hands on views.
    """
    rng = np.random.default_rng(seed)
    specification = flatten(layer.parameters(x.shape[1:]))
    weights = {name: draw(p, rng) + rng.normal(0, 0.5, p.shape) for name, p in specification.items()}
    trained = [name for name, p in specification.items() if p.trained]
    gradients = {name: np.full(specification[name].shape, np.nan) for name in trained}
    p, g = nest(weights), nest(gradients)
    given_x, given_weights = x.copy(), {name: weights[name].copy() for name in trained}

    def forward() -> tuple[np.ndarray, Any]:
        return layer.forward(x, p, Context(training=True, rng=np.random.default_rng(seed)))

    y, cache = forward()
    assert y.shape == (len(x), *layer.output_shape(x.shape[1:]))
    dy = rng.normal(size=y.shape)
    given_dy = dy.copy()

    def value() -> float:
        return float((forward()[0] * dy).sum())

    dx = layer.backward(dy, p, g, cache)
    is_real = x.dtype.kind == "f"
    assert_close(dx, numeric_gradient(value, x) if is_real else np.zeros(x.shape), f"dx of {layer}")
    numeric = {name: numeric_gradient(value, weights[name]) for name in trained}
    for name in trained:
        assert_close(gradients[name], numeric[name], f"gradient of {name} of {layer}")

    for array in gradients.values():
        array.fill(np.nan)
    layer.parameter_gradients(dy, p, g, forward()[1])
    for name in trained:
        assert_close(gradients[name], numeric[name], f"gradient alone of {name} of {layer}")

    y_other, cache = layer.forward(np.asfortranarray(x), p, Context(True, np.random.default_rng(seed)))
    assert_close(y_other, y, f"y of {layer} for x in another order in memory")
    dx_other = layer.backward(np.asfortranarray(dy), p, g, cache)
    assert_close(dx_other, dx, f"dx of {layer} for x and dy in another order in memory")

    np.testing.assert_array_equal(x, given_x, "the layer wrote into x")
    np.testing.assert_array_equal(dy, given_dy, "the layer wrote into dy")
    for name, w in given_weights.items():
        np.testing.assert_array_equal(weights[name], w, f"the layer wrote into {name}")
