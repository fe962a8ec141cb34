"""A sample in another shape."""

import dataclasses
import math

from ps_common.arrays import Array
from ps_common.errors import ShapeMismatch, UsageError
from ps_common.vocabulary import word
from ps_worker.nn.layer import Context, Layer, Shape, Views


@word
@dataclasses.dataclass(frozen=True)
class Reshape(Layer):
    """The same numbers in the same order as (n, *shape): `Reshape((1, 28, 28))` of 784 makes an image."""

    shape: Shape

    def __post_init__(self) -> None:
        shape = tuple(self.shape) if isinstance(self.shape, tuple | list) else ()
        if not shape or not all(type(size) is int and size > 0 for size in shape):
            raise UsageError(f"Reshape: shape must be whole numbers >= 1, as (1, 28, 28), got {self.shape!r}")
        object.__setattr__(self, "shape", shape)

    def output_shape(self, inputs: Shape) -> Shape:
        wanted, given = math.prod(self.shape), math.prod(inputs)
        if wanted != given:
            raise ShapeMismatch(
                f"Reshape({self.shape}) takes samples of {wanted} numbers, got {inputs}, which are {given}; "
                "give it the shape that the data have"
            )
        return self.shape

    def forward(self, x: Array, p: Views, context: Context) -> tuple[Array, Shape]:
        return x.reshape(len(x), *self.shape), x.shape

    def backward(self, dy: Array, p: Views, g: Views, cache: Shape) -> Array:
        return dy.reshape(cache)
