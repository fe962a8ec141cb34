"""Shares that add up to one."""

import dataclasses

from ps_common.arrays import Array, xp_of
from ps_common.vocabulary import word
from ps_worker.nn.layer import Context, Layer, Views
from ps_worker.nn.vectors import dots


def softmax(x: Array, out: Array | None = None) -> Array:
    """e^xᵢ / Σⱼ e^xⱼ over the last axis, with no exponent above 0. `out` may be x."""
    xp = xp_of(x)
    y = xp.subtract(x, x.max(axis=-1, keepdims=True), out=out)
    xp.exp(y, out=y)
    y /= y.sum(axis=-1, keepdims=True)
    return y


def softmax_gradient(dy: Array, y: Array) -> Array:
    """dx = y (dy - Σⱼ dyⱼ yⱼ), from y = softmax(x)."""
    dx = dy - dots(dy, y)
    dx *= y
    return dx


@word
@dataclasses.dataclass(frozen=True)
class Softmax(Layer):
    """yᵢ = e^xᵢ / Σⱼ e^xⱼ over the last axis.

    Before a `SoftmaxCrossEntropy` loss leave it out: that takes logits.
    """

    def forward(self, x: Array, p: Views, context: Context) -> tuple[Array, Array]:
        y = softmax(x)
        return y, y

    def backward(self, dy: Array, p: Views, g: Views, cache: Array) -> Array:
        return softmax_gradient(dy, cache)
