"""Elementwise functions: y and dx have the shape of x."""

import dataclasses

from ps_common.arrays import Array, xp_of
from ps_common.vocabulary import word
from ps_worker.nn.layer import Context, Layer, Views


def sigmoid(x: Array) -> Array:
    """1 / (1 + e⁻ˣ), with no exponent above 0: nothing overflows and small values keep their precision."""
    xp = xp_of(x)
    return xp.exp(xp.minimum(x, 0)) / (1 + xp.exp(-xp.abs(x)))


@word
@dataclasses.dataclass(frozen=True)
class ReLU(Layer):
    """y = max(x, 0); the slope at 0 is 0."""

    def forward(self, x: Array, p: Views, context: Context) -> tuple[Array, Array]:
        y = xp_of(x).maximum(x, 0)
        return y, y

    def backward(self, dy: Array, p: Views, g: Views, cache: Array) -> Array:
        y = cache
        return dy * (y > 0)


@word
@dataclasses.dataclass(frozen=True)
class Tanh(Layer):
    """y = tanh x, dx = dy (1 - y²)."""

    def forward(self, x: Array, p: Views, context: Context) -> tuple[Array, Array]:
        y = xp_of(x).tanh(x)
        return y, y

    def backward(self, dy: Array, p: Views, g: Views, cache: Array) -> Array:
        y = cache
        return dy * (1 - y * y)


@word
@dataclasses.dataclass(frozen=True)
class Sigmoid(Layer):
    """y = 1 / (1 + e⁻ˣ), dx = dy y (1 - y).

    Before a `SoftmaxCrossEntropy` or `SigmoidCrossEntropy` loss leave it out: these take logits.
    """

    def forward(self, x: Array, p: Views, context: Context) -> tuple[Array, Array]:
        y = sigmoid(x)
        return y, y

    def backward(self, dy: Array, p: Views, g: Views, cache: Array) -> Array:
        y = cache
        return dy * (y * (1 - y))
