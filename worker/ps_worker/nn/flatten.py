"""A sample of any shape as a vector."""

import dataclasses
import math

from ps_common.arrays import Array
from ps_common.vocabulary import word
from ps_worker.nn.layer import Context, Layer, Shape, Views


@word
@dataclasses.dataclass(frozen=True)
class Flatten(Layer):
    """(n, a, b, ...) to (n, a·b·...); a sample that is one number becomes a vector of one."""

    def output_shape(self, inputs: Shape) -> Shape:
        return (math.prod(inputs),)

    def forward(self, x: Array, p: Views, context: Context) -> tuple[Array, Shape]:
        return x.reshape(len(x), math.prod(x.shape[1:])), x.shape

    def backward(self, dy: Array, p: Views, g: Views, cache: Shape) -> Array:
        return dy.reshape(cache)
