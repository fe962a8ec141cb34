"""Dropout."""

import dataclasses

import numpy as np

from ps_common.arrays import Array, xp_of
from ps_common.errors import UsageError
from ps_common.vocabulary import word
from ps_worker.nn.bounds import check_number
from ps_worker.nn.layer import Context, Layer, Views


@word
@dataclasses.dataclass(frozen=True)
class Dropout(Layer):
    """While training, each number is zero with probability `rate`, else divided by 1 - rate.

    y = x · m / (1 - rate), m ~ Bernoulli(1 - rate): "inverted" dropout (Srivastava et al. 2014, §10), so
    that evaluation, where y = x, sees the same expectation. The mask comes from the host's stream of the
    unit, so a GPU drops what a CPU would.
    """

    rate: float

    def __post_init__(self) -> None:
        check_number(self, "rate", at_least=0, below=1)

    def forward(self, x: Array, p: Views, context: Context) -> tuple[Array, Array | None]:
        if not context.training or self.rate == 0:
            return x, None
        if context.rng is None:
            raise UsageError("Dropout needs random numbers to train; use nn.Context(training=True, rng=...)")
        kept = context.rng.random(x.shape, dtype=np.float32) >= np.float32(self.rate)
        mask = xp_of(x).asarray(kept)
        return self._drop(x, mask), mask

    def backward(self, dy: Array, p: Views, g: Views, cache: Array | None) -> Array:
        return dy if cache is None else self._drop(dy, cache)

    def _drop(self, values: Array, mask: Array) -> Array:
        out = values * mask
        out *= 1 / (1 - self.rate)
        return out
