"""Causal self-attention."""

import dataclasses
import functools
import math

import numpy as np

from ps_common.arrays import Array, xp_of
from ps_common.errors import UsageError
from ps_common.vocabulary import word
from ps_worker.nn.bounds import check_count
from ps_worker.nn.dense import Dense
from ps_worker.nn.layer import Context, Layer, Shape, Tree, Views
from ps_worker.nn.precision import stack_product
from ps_worker.nn.shapes import check_sequence
from ps_worker.nn.softmax import softmax, softmax_gradient


@word
@dataclasses.dataclass(frozen=True)
class CausalSelfAttention(Layer):
    """Each step of a sequence takes up what it needs of itself and the steps before it.

    For each of `heads` heads, with d = features / heads: A = softmax(Q Kᵀ / √d), where no step sees a later
    one, and A V; the heads side by side then go through a last `Dense`. Vaswani et al. 2017, §3.2, the masked
    kind of §3.1. x and y are (n, steps, features). Q, K and V come from one product with `qkv.weight`
    (features, 3 features), the heads of Q first, then those of K and V; so does GPT-2.
    """

    features: int
    heads: int

    def __post_init__(self) -> None:
        check_count(self, "features")
        check_count(self, "heads")
        if self.features % self.heads:
            raise UsageError(
                f"CausalSelfAttention: heads must divide features, got {self.features} features "
                f"and {self.heads} heads"
            )

    @functools.cached_property
    def qkv(self) -> Dense:
        return Dense(self.features, 3 * self.features, "normal")

    @functools.cached_property
    def output(self) -> Dense:
        return Dense(self.features, self.features, "normal")

    def parameters(self, inputs: Shape) -> Tree:
        return {"qkv": self.qkv.parameters(inputs), "output": self.output.parameters(inputs)}

    def output_shape(self, inputs: Shape) -> Shape:
        check_sequence(f"CausalSelfAttention({self.features}, {self.heads})", inputs, self.features)
        return inputs

    def forward(self, x: Array, p: Views, context: Context) -> tuple[Array, tuple[Array, ...]]:
        xp = xp_of(x)
        qkv, _ = self.qkv.forward(x, p["qkv"], context)
        q, k, v = self._heads(qkv)
        q *= 1 / math.sqrt(self.features // self.heads)
        scores = stack_product(q, k.swapaxes(2, 3))  # (n, heads, steps, steps)
        scores += _later(x.shape[1], scores)
        shares = softmax(scores, out=scores)
        taken = xp.empty_like(x)
        stack_product(shares, v, out=self._heads(taken)[0])
        y, _ = self.output.forward(taken, p["output"], context)
        return y, (x, qkv, shares, taken)

    def backward(self, dy: Array, p: Views, g: Views, cache: tuple[Array, ...]) -> Array:
        x, qkv, shares, taken = cache
        return self.qkv.backward(self._back_to_qkv(dy, p, g, qkv, shares, taken), p["qkv"], g["qkv"], x)

    def parameter_gradients(self, dy: Array, p: Views, g: Views, cache: tuple[Array, ...]) -> None:
        x, qkv, shares, taken = cache
        d_qkv = self._back_to_qkv(dy, p, g, qkv, shares, taken)
        self.qkv.parameter_gradients(d_qkv, p["qkv"], g["qkv"], x)

    def _back_to_qkv(self, dy: Array, p: Views, g: Views, qkv: Array, shares: Array, taken: Array) -> Array:
        """dV = Aᵀ dY; with S the scores and dS from dA = dY Vᵀ: dQ = dS K / √d, dK = dSᵀ Q / √d."""
        xp = xp_of(dy)
        (d_taken,) = self._heads(self.output.backward(dy, p["output"], g["output"], taken))
        q, k, v = self._heads(qkv)  # q is divided by √d already
        d_qkv = xp.empty_like(qkv)
        dq, dk, dv = self._heads(d_qkv)
        stack_product(shares.swapaxes(2, 3), d_taken, out=dv)
        d_scores = softmax_gradient(stack_product(d_taken, v.swapaxes(2, 3)), shares)
        stack_product(d_scores, k, out=dq)
        dq *= 1 / math.sqrt(self.features // self.heads)
        stack_product(d_scores.swapaxes(2, 3), q, out=dk)
        return d_qkv

    def _heads(self, array: Array) -> list[Array]:
        """(n, steps, parts · features) as views of (n, heads, steps, d), one a part."""
        n, steps, width = array.shape
        split = array.reshape(n, steps, width // self.features, self.heads, self.features // self.heads)
        return [split[:, :, i].swapaxes(1, 2) for i in range(width // self.features)]


def _later(steps: int, like: Array) -> Array:
    """(steps, steps): -∞ where the key comes later than the query, else 0."""
    xp = xp_of(like)
    return xp.triu(xp.full((steps, steps), -np.inf, like.dtype), 1)
