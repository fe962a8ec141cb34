"""A model with its loss, bound to the arrays it computes in.

The network says which parameters it has, and is handed arrays for them: where these lie, in which order
and who averages them is the caller's affair. It does not step: weights change between its calls.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ps_common.arrays import Array
from ps_common.errors import UsageError
from ps_worker.nn.initializers import fill
from ps_worker.nn.layer import Context, Layer, Parameter, Shape, Views
from ps_worker.nn.losses import Loss
from ps_worker.nn.regularizers import Regularizer
from ps_worker.nn.tree import flatten, nest

EVALUATION = Context(training=False)


@dataclasses.dataclass(frozen=True)
class Bound:
    """Arrays that a network was bound to, to bind it to them again at once."""

    weights: Views
    gradients: Views
    decayed: tuple[list[Array], list[Array]]  # weights and gradients of what the regularizer acts on


class Network:
    """`model` for samples of `input_shape`, computing in `dtype` (float32 or float64).

    Inputs of any number type are cast to `dtype`, and not rescaled. Raises `ShapeMismatch` where a layer
    cannot take what the one before it gives, `UsageError` for a model with nothing to train.

        network = Network(model, loss, nn.L2(1e-4), (784,), "float32")
        network.bind(weights, gradients)                  # name -> view, for network.specification()
        loss_sum, output = network.train_step(x, y, nn.Context(training=True, rng=rng))
    """

    def __init__(
        self,
        model: Layer,
        loss: Loss,
        regularizer: Regularizer | None,
        input_shape: Shape,
        dtype: npt.DTypeLike = "float32",
    ) -> None:
        for role, part, kind in (("model", model, Layer), ("loss", loss, Loss)):
            if not isinstance(part, kind):
                hint = f"; write {part.__name__}(...)" if isinstance(part, type) else ""
                raise UsageError(f"the {role} must be a {kind.__name__}, got {part!r}{hint}")
        self.model, self.loss, self.regularizer = model, loss, regularizer
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        if self.dtype not in (np.float32, np.float64):
            raise UsageError(f"a network computes in float32 or float64, got {self.dtype}")
        self.input_shape = tuple(input_shape)
        self.output_shape = model.output_shape(self.input_shape)
        parameters = flatten(model.parameters(self.input_shape))
        trained = {name: p for name, p in parameters.items() if p.trained}
        if not trained:
            raise UsageError(f"the model {model!r} has nothing to train; add a layer with parameters")
        self._specification = trained | parameters
        self.use(Bound({}, {}, ([], [])))

    def specification(self) -> dict[str, Parameter]:
        """The parameters by dotted name: the trained ones first, each kind in the model's order."""
        return dict(self._specification)

    def initialise(self, arrays: Mapping[str, Array], generator: np.random.Generator) -> None:
        """Write first values for every parameter into its array, in the order of the specification."""
        for name, p in self._specification.items():
            fill(p, generator, arrays[name])

    def bind(self, weights: Mapping[str, Array], gradients: Mapping[str, Array]) -> Bound:
        """Compute with these arrays from now on: weights for every parameter, gradients for the trained.

        The arrays are kept, read and (the gradients) written in each call, never replaced.
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
        self.use(bound)
        return bound

    def use(self, bound: Bound) -> None:
        """Compute with arrays of an earlier `bind` from now on."""
        self._weights, self._gradients, self._decayed = bound.weights, bound.gradients, bound.decayed

    def train_step(self, x: Array, y: Array, context: Context) -> tuple[Array, Array]:
        """Write the gradient of (mean loss + penalty) into the bound gradients.

        Returns the sum of the samples' losses, a 0-d float64 array without the penalty, and the output.
        """
        output, cache = self.model.forward(self._cast(x), self._weights, context)
        loss_sum, gradient = self.loss.value_and_gradient(output, y)
        self.model.parameter_gradients(gradient, self._weights, self._gradients, cache)
        if self.regularizer is not None:
            self.regularizer.add_gradient(*self._decayed)
        return loss_sum, output

    def predict(self, x: Array) -> Array:
        """The output for a batch, as in evaluation: nothing is dropped, no statistics change."""
        return self.model.forward(self._cast(x), self._weights, EVALUATION)[0]

    def evaluate(self, x: Array, y: Array) -> tuple[Array, Array]:
        """The sum of the samples' losses and the output, as in evaluation."""
        output = self.predict(x)
        return self.loss.value(output, y), output

    def _cast(self, x: Array) -> Array:
        return x.astype(self.dtype, copy=False)
