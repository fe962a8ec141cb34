"""What a layer is: a description that computes, and holds no arrays.

A layer is a frozen dataclass, so it travels as plain data and two equal layers are interchangeable. Its
parameters are views into the replica's flat vector, handed to it by name in each call; what `forward`
wants to remember for `backward` it returns as `cache`. A layer knows shapes of samples, never the
batch, the device, the vector it lives in or the layers around it.
"""

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np

from ps_common.arrays import Array, HostArray
from ps_common.errors import UsageError
from ps_worker.nn.inputs import check_finite

Shape = tuple[int, ...]
"""The shape of one sample: no batch axis. `()` is one number."""

Init = Literal["xavier", "he", "normal", "zeros", "ones"]
"""How a parameter starts; `Parameter` says what each means."""

Tree = dict[str, "Parameter | Tree"]
"""A layer's parameters by name; those of a composite one level down, under the name of the part."""

Views = Mapping[str, Any]
"""A tree of the same names with arrays at its leaves: weights, or their gradients."""


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One array of weights: its shape, how it starts and what training does with it.

    `init` is one of

    - `"xavier"`: uniform in ±√(6 / (fan_in + fan_out)), Glorot & Bengio 2010, for tanh and sigmoid;
    - `"he"`: normal with deviation √(2 / fan_in), He et al. 2015, for ReLU;
    - `"normal"`: normal with the given `deviation`, by default 0.02 as in GPT (Radford et al. 2018, §4.1);
    - `"zeros"`, `"ones"`.

    `fan_in` and `fan_out` are how many numbers flow into one output and out of one input. For a matrix
    (inputs, outputs) they follow from the shape; for other shapes `"xavier"` and `"he"` need them given.
    `trained` is False for what is averaged like a weight but not stepped by the optimizer (running
    statistics): it has no gradient. `decay` says whether a regularizer applies: weights yes, biases no.
    """

    shape: Shape
    init: Init = "zeros"
    trained: bool = True
    decay: bool = False
    fan_in: int | None = None
    fan_out: int | None = None
    deviation: float = 0.02

    def __post_init__(self) -> None:
        if not all(isinstance(size, int) and size > 0 for size in self.shape):
            raise UsageError(f"a parameter's shape must be of whole numbers > 0, got {self.shape}")
        if self.init not in get_args(Init):
            raise UsageError(
                f"a parameter's init must be one of {', '.join(get_args(Init))}, got {self.init!r}"
            )
        if len(self.shape) == 2:
            object.__setattr__(self, "fan_in", self.fan_in or self.shape[0])
            object.__setattr__(self, "fan_out", self.fan_out or self.shape[1])
        if self.init in ("xavier", "he") and not (self.fan_in and self.fan_out):
            raise UsageError(
                f"a parameter of shape {self.shape} with init {self.init!r} needs fan_in and fan_out; "
                "they follow from the shape only for a matrix (inputs, outputs)"
            )


@dataclasses.dataclass(frozen=True)
class Context:
    """What a forward pass may ask: whether it trains, and the host's random stream for this unit."""

    training: bool
    rng: np.random.Generator | None = None


class Layer(abc.ABC):
    """A differentiable function of a batch and of named parameters.

    Your own layer is a frozen dataclass with `forward` and `backward`; `parameters` if it has any and
    `output_shape` if it changes shapes. Shapes below: x is (n, *inputs), y and dy (n, *outputs).

        @dataclasses.dataclass(frozen=True)
        class Scale(nn.Layer):
            def parameters(self, inputs):
                return {"scale": nn.Parameter(inputs, "ones")}

            def forward(self, x, p, context):
                return x * p["scale"], x

            def backward(self, dy, p, g, cache):
                x = cache
                (dy * x).sum(axis=0, out=g["scale"])
                return dy * p["scale"]

    Write with `xp = ps_common.arrays.xp_of(x)` in place of `numpy` and it runs on the GPU as well.

    With a plan's `precision`, x, dy, g and the trained of p are in half precision, what is not trained in
    float32. Return y in the dtype of x and dx in that of dy, and take sums over many numbers, squares and
    other powers of `precision.widened(x)`, which is in float32: numbers of float16 end at 65,504.
    """

    @property
    def takes_indexes(self) -> bool:
        """Whether `x` is numbers of rows, classes or words: then a network hands it on as it came.

        Other inputs are cast to the network's dtype, in which large whole numbers are rounded. A layer
        that takes indexes has no gradient for them: its `backward` returns zeros.
        """
        return False

    def parameters(self, inputs: Shape) -> Tree:
        """The parameters for samples of this shape; names hold no dot. None by default."""
        return {}

    def output_shape(self, inputs: Shape) -> Shape:
        """The shape of one output. Raises `ShapeMismatch` for inputs this layer cannot take."""
        return inputs

    def check_inputs(self, x: HostArray, where: str) -> None:
        """Raise `DataError` naming the first sample of which this, as the first layer, can make nothing.

        `where` says which data. By default NaN and infinity are refused.
        """
        check_finite(where, x)

    @abc.abstractmethod
    def forward(self, x: Array, p: Views, context: Context) -> tuple[Array, Any]:
        """Return (y, cache). `x` belongs to the caller: do not write into it."""

    @abc.abstractmethod
    def backward(self, dy: Array, p: Views, g: Views, cache: Any) -> Array:
        """Return dx = ∂loss/∂x from dy = ∂loss/∂y, and write ∂loss/∂p into the arrays of `g`.

        `g` has the names of `p`, less those that are not trained. Overwrite its arrays, do not add:
        they hold leftovers. `dy` belongs to the caller: do not write into it.
        """

    def parameter_gradients(self, dy: Array, p: Views, g: Views, cache: Any) -> None:
        """`backward` for the first layer of a network, where nobody asks for dx.

        Override it where dx is dear.
        """
        self.backward(dy, p, g, cache)
