"""Vectors learnt for words, users or other things that have a number."""

import dataclasses

import numpy as np

from ps_common.arrays import Array, HostArray, xp_of
from ps_common.vocabulary import word
from ps_worker.nn.bounds import check_count, check_number
from ps_worker.nn.inputs import check_indexes
from ps_worker.nn.layer import Context, Layer, Parameter, Shape, Tree, Views
from ps_worker.nn.scatter import scatter_sum


@word
@dataclasses.dataclass(frozen=True)
class Embedding(Layer):
    """y = W[x]: row x of W (vocabulary, features), for each of the indexes in a sample of any shape.

    x (n, ...) holds whole numbers from 0 to vocabulary - 1, of any dtype (floats that hold whole numbers
    will do, as long as they are exact), y is (n, ..., features). ∂W[v] = Σ dy over all places where x = v
    (Bengio et al. 2003, §3). W starts normal with `deviation`, as `torch.nn.Embedding` with 1. It does not
    decay: what is seldom seen would be forgotten.
    """

    vocabulary: int
    features: int
    deviation: float = 0.02

    def __post_init__(self) -> None:
        check_count(self, "vocabulary")
        check_count(self, "features")
        check_number(self, "deviation", above=0)

    @property
    def takes_indexes(self) -> bool:
        return True

    def parameters(self, inputs: Shape) -> Tree:
        shape = (self.vocabulary, self.features)
        return {"weight": Parameter(shape, "normal", deviation=self.deviation)}

    def output_shape(self, inputs: Shape) -> Shape:
        return (*inputs, self.features)

    def check_inputs(self, x: HostArray, where: str) -> None:
        check_indexes(
            where, x, self.vocabulary, f"Embedding({self.vocabulary}, {self.features})", "vocabulary"
        )

    def forward(self, x: Array, p: Views, context: Context) -> tuple[Array, Array]:
        indexes = x.astype(np.intp, copy=False)
        return p["weight"].take(indexes, axis=0), indexes

    def backward(self, dy: Array, p: Views, g: Views, cache: Array) -> Array:
        self.parameter_gradients(dy, p, g, cache)
        return xp_of(dy).zeros(cache.shape, dy.dtype)

    def parameter_gradients(self, dy: Array, p: Views, g: Views, cache: Array) -> None:
        scatter_sum(dy.reshape(-1, self.features), cache.reshape(-1), g["weight"])
