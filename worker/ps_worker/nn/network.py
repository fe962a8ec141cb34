"""A model with its loss, bound to the arrays it computes in.

The network says which parameters it has, and is handed arrays for them: where these lie, in which order
and who averages them is the caller's affair. It does not step: weights change between its calls.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ps_common.arrays import Array
from ps_common.errors import UsageError
from ps_worker.nn.initializers import fill
from ps_worker.nn.layer import Context, Layer, Parameter, Shape, Views
from ps_worker.nn.losses import Loss
from ps_worker.nn.precision import Halves, half_dtype
from ps_worker.nn.regularizers import Regularizer
from ps_worker.nn.tree import flatten, nest

EVALUATION = Context(training=False)


@dataclasses.dataclass(frozen=True)
class Bound:
    """Arrays that a network was bound to, to bind it to them again at once."""

    weights: Views  # what the model computes with, and writes to
    gradients: Views
    decayed: tuple[list[Array], list[Array]]  # weights and gradients of what the regularizer acts on
    flat: tuple[Array, Array] = (None, None)  # weights and gradient, of which half-precision copies are made


class Network:
    """`model` for samples of `input_shape`, computing in `dtype` (float32 or float64).

    Inputs of any number type are cast to `dtype`, and not rescaled; indexes stay as they are. Raises
    `ShapeMismatch` where a layer cannot take what the one before it gives, `UsageError` for a model with
    nothing to train.

        network = Network(model, loss, nn.L2(1e-4), (784,), "float32")
        network.bind(weights, gradients)                  # name -> view, for network.specification()
        loss_sum, output = network.train_step(x, y, nn.Context(training=True, rng=rng))

    precision: "float16" or "bfloat16" to compute layers in that, from weights kept in float32; the loss, the
    output and what is averaged but not trained stay in float32.
    """

    def __init__(
        self,
        model: Layer,
        loss: Loss,
        regularizer: Regularizer | None,
        input_shape: Shape,
        dtype: npt.DTypeLike = "float32",
        precision: str | None = None,
    ) -> None:
        for role, part, kind in (("model", model, Layer), ("loss", loss, Loss)):
            if not isinstance(part, kind):
                hint = f"; write {part.__name__}(...)" if isinstance(part, type) else ""
                raise UsageError(f"the {role} must be a {kind.__name__}, got {part!r}{hint}")
        self.model, self.loss, self.regularizer = model, loss, regularizer
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        if self.dtype not in (np.float32, np.float64):
            raise UsageError(f"a network computes in float32 or float64, got {self.dtype}")
        self._computes_in = self.dtype if precision is None else half_dtype(precision)
        self._precision = precision
        self._halves: Halves | None = None
        self.input_shape = tuple(input_shape)
        self.output_shape = model.output_shape(self.input_shape)
        parameters = flatten(model.parameters(self.input_shape))
        trained = {name: p for name, p in parameters.items() if p.trained}
        if not trained:
            raise UsageError(f"the model {model!r} has nothing to train; add a layer with parameters")
        decayed = {name: p for name, p in trained.items() if p.decay}
        self._specification = decayed | trained | parameters
        self.use(Bound({}, {}, ([], [])))

    def specification(self) -> dict[str, Parameter]:
        """The parameters by dotted name, each kind in the model's order.

        Those that are decayed come first, then what else is trained, then the rest: so what an optimizer
        steps is one stretch of the replica's vector, and what it decays another.
        """
        return dict(self._specification)

    @property
    def decayed(self) -> int:
        """How many numbers are decayed: the first of all."""
        return sum(math.prod(p.shape) for p in self._specification.values() if p.trained and p.decay)

    def initialise(self, arrays: Mapping[str, Array], generator: np.random.Generator) -> None:
        """Write first values for every parameter into its array, in the order of the specification."""
        for name, p in self._specification.items():
            fill(p, generator, arrays[name])

    def bind(
        self,
        weights: Mapping[str, Array],
        gradients: Mapping[str, Array],
        flat: tuple[Array, Array] = (None, None),
    ) -> Bound:
        """Compute with these arrays from now on: weights for every parameter, gradients for the trained.

        The arrays are kept, read and (the gradients) written in each call, never replaced.
        flat: the vectors (n,) of which the trained weights and their gradients are views, one after another
        in the order of the specification; needed with a precision.
        """
        trained = {name: p for name, p in self._specification.items() if p.trained}
        for what, arrays, wanted in (
            ("weights", weights, self._specification),
            ("gradients", gradients, trained),
        ):
            if arrays.keys() != wanted.keys():
                raise ValueError(f"{what} must be given for {list(wanted)}, got {list(arrays)}")
            for name, p in wanted.items():
                if arrays[name].shape != p.shape or arrays[name].dtype != self.dtype:
                    raise ValueError(
                        f"{what}: {name} must be {p.shape} {self.dtype}, "
                        f"got {arrays[name].shape} {arrays[name].dtype}"
                    )
        names = [name for name, p in trained.items() if p.decay]
        decayed = ([weights[name] for name in names], [gradients[name] for name in names])
        bound = Bound(nest(weights), nest(gradients), decayed)
        if self._precision is not None:
            bound = self._with_halves(weights, decayed, flat)
        self.use(bound)
        return bound

    def _with_halves(
        self,
        weights: Mapping[str, Array],
        decayed: tuple[list[Array], list[Array]],
        flat: tuple[Array, Array],
    ) -> Bound:
        """Bound to half-precision copies of the flat vectors in place of the trained arrays."""
        trained = {name: p.shape for name, p in self._specification.items() if p.trained}
        size = sum(map(math.prod, trained.values()))
        if self._precision is None or any(vector is None or vector.shape != (size,) for vector in flat):
            raise ValueError(f"with a precision flat vectors of {size} weights and gradients are needed")
        if self._halves is None:
            self._halves = Halves.of(self._precision, flat[0])
        halved, gradients, at = dict(weights), {}, 0
        for name, shape in trained.items():
            part = slice(at, at := at + math.prod(shape))
            halved[name] = self._halves.weights[part].reshape(shape)
            gradients[name] = self._halves.gradient[part].reshape(shape)
        return Bound(nest(halved), nest(gradients), decayed, flat)

    def use(self, bound: Bound) -> None:
        """Compute with arrays of an earlier `bind` from now on."""
        self._weights, self._gradients, self._decayed = bound.weights, bound.gradients, bound.decayed
        self._flat_weights, self._flat_gradient = bound.flat

    def train_step(self, x: Array, y: Array, context: Context) -> tuple[Array, Array]:
        """Write the gradient of (mean loss + penalty) into the bound gradients.

        Returns the sum of the samples' losses, a 0-d float64 array without the penalty, and the output.
        """
        output, cache = self._forward(x, context)
        loss_sum, gradient = self.loss.value_and_gradient(output, y)
        if self._halves is not None:
            gradient = self._halves.scaled(gradient)
        self.model.parameter_gradients(gradient, self._weights, self._gradients, cache)
        if self._halves is not None:
            self._halves.give_back(self._flat_gradient)
        if self.regularizer is not None:
            self.regularizer.add_gradient(*self._decayed)
        return loss_sum, output

    def predict(self, x: Array) -> Array:
        """The output for a batch, as in evaluation: nothing is dropped, no statistics change."""
        return self._forward(x, EVALUATION)[0]

    def evaluate(self, x: Array, y: Array) -> tuple[Array, Array]:
        """The sum of the samples' losses and the output, as in evaluation."""
        output = self.predict(x)
        return self.loss.value(output, y), output

    def _forward(self, x: Array, context: Context) -> tuple[Array, Any]:
        """The output, in full precision, and the cache."""
        if self._halves is None:
            return self.model.forward(self._cast(x), self._weights, context)
        self._halves.weights[...] = self._flat_weights
        output, cache = self.model.forward(self._cast(x), self._weights, context)
        return output.astype(self.dtype), cache

    def _cast(self, x: Array) -> Array:
        return x if self.model.takes_indexes else x.astype(self._computes_in, copy=False)
