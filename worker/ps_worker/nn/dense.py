"""The fully connected layer."""

import dataclasses
import math
from typing import get_args

from ps_common.arrays import Array, xp_of
from ps_common.errors import ShapeMismatch, UsageError
from ps_common.vocabulary import word
from ps_worker.nn.bounds import check_count
from ps_worker.nn.layer import Context, Init, Layer, Parameter, Shape, Tree, Views
from ps_worker.nn.vectors import rows


@word
@dataclasses.dataclass(frozen=True)
class Dense(Layer):
    """y = x W + b, for x (n, ..., inputs), W (inputs, outputs), b (outputs,) and y (n, ..., outputs).

    A sample is a vector, or vectors along any axes, such as a sequence (steps, inputs): each is multiplied
    by the same W. `init` is how W starts (see `Parameter`); b starts at zero and is not decayed by a
    regularizer.
    """

    inputs: int
    outputs: int
    init: Init = "he"
    bias: bool = True

    def __post_init__(self) -> None:
        check_count(self, "inputs")
        check_count(self, "outputs")
        if self.init not in get_args(Init):
            raise UsageError(f"Dense: init must be one of {', '.join(get_args(Init))}, got {self.init!r}")

    def parameters(self, inputs: Shape) -> Tree:
        weight = Parameter((self.inputs, self.outputs), self.init, decay=True)
        return {"weight": weight, "bias": Parameter((self.outputs,))} if self.bias else {"weight": weight}

    def output_shape(self, inputs: Shape) -> Shape:
        if inputs[-1:] != (self.inputs,):
            taken = f"({self.inputs},)" if len(inputs) < 2 else f"(..., {self.inputs})"
            flat = not inputs or math.prod(inputs) == self.inputs
            advice = "put nn.Flatten() before it" if flat else f"use nn.Dense({inputs[-1]}, ...)"
            raise ShapeMismatch(
                f"Dense({self.inputs}, {self.outputs}) takes samples of shape {taken}, got {inputs}; {advice}"
            )
        return (*inputs[:-1], self.outputs)

    def forward(self, x: Array, p: Views, context: Context) -> tuple[Array, Array]:
        y = rows(x) @ p["weight"]  # one product for all vectors of all samples
        if self.bias:
            y += p["bias"]
        return y.reshape(*x.shape[:-1], self.outputs), x

    def backward(self, dy: Array, p: Views, g: Views, cache: Array) -> Array:
        """∂W = xᵀ dy, ∂b = Σ dy over all vectors of the batch, dx = dy Wᵀ."""
        self.parameter_gradients(dy, p, g, cache)
        return (rows(dy) @ p["weight"].T).reshape(cache.shape)

    def parameter_gradients(self, dy: Array, p: Views, g: Views, cache: Array) -> None:
        x, dy = rows(cache), rows(dy)
        xp_of(x).matmul(x.T, dy, out=g["weight"])
        if self.bias:
            dy.sum(axis=0, out=g["bias"])
