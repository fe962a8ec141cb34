"""Where in a sequence a vector stands."""

import dataclasses

from ps_common.arrays import Array
from ps_common.errors import ShapeMismatch
from ps_common.vocabulary import word
from ps_worker.nn.bounds import check_count
from ps_worker.nn.layer import Context, Layer, Parameter, Shape, Tree, Views
from ps_worker.nn.shapes import check_sequence


@word
@dataclasses.dataclass(frozen=True)
class PositionalEmbedding(Layer):
    """y[t] = x[t] + W[t], for x and y (n, steps, features) and W (length, features), learnt.

    Gehring et al. 2017, §3.1, as in GPT. Sequences may be shorter than `length`, not longer.
    """

    length: int
    features: int

    def __post_init__(self) -> None:
        check_count(self, "length")
        check_count(self, "features")

    def parameters(self, inputs: Shape) -> Tree:
        return {"weight": Parameter((self.length, self.features), "normal")}

    def output_shape(self, inputs: Shape) -> Shape:
        owner = f"PositionalEmbedding({self.length}, {self.features})"
        check_sequence(owner, inputs, self.features)
        if inputs[0] > self.length:
            raise ShapeMismatch(
                f"{owner} knows {self.length} places, the samples {inputs} have {inputs[0]} steps; "
                f"give length={inputs[0]}, or cut the sequences"
            )
        return inputs

    def forward(self, x: Array, p: Views, context: Context) -> tuple[Array, None]:
        return x + p["weight"][: x.shape[1]], None

    def backward(self, dy: Array, p: Views, g: Views, cache: None) -> Array:
        steps = dy.shape[1]
        dy.sum(axis=0, out=g["weight"][:steps])
        g["weight"][steps:] = 0
        return dy
