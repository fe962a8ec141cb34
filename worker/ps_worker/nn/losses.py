"""What training makes small.

A loss gives the sum of the per-sample losses over a batch, so that batches and shards add up exactly to
their data set, and the gradient of the batch's mean, so that the learning rate means the same for every
batch size. The sum is a float64 scalar of the output's device: asking for it does not wait for the GPU.
"""

import abc
import dataclasses
import math

import numpy as np

from ps_common.arrays import Array, HostArray, xp_of
from ps_common.errors import ShapeMismatch
from ps_common.fields import Field
from ps_common.vocabulary import word
from ps_worker.nn.activations import sigmoid
from ps_worker.nn.layer import Shape
from ps_worker.nn.targets import align, check_numbers, check_pairs, check_values
from ps_worker.nn.totals import total


class Loss(abc.ABC):
    """A loss over a batch: output is (n, *output_shape), target (n, *field_shape).

    Your own is a frozen dataclass with `value_and_gradient`; the others have defaults.
    """

    @abc.abstractmethod
    def value_and_gradient(self, output: Array, target: Array) -> tuple[Array, Array]:
        """Return (Σ loss over samples, ∂ mean loss / ∂ output)."""

    def value(self, output: Array, target: Array) -> Array:
        """Return Σ loss over samples."""
        return self.value_and_gradient(output, target)[0]

    def check(self, output: Shape, target: Field) -> None:
        """Raise `ShapeMismatch` unless a model with this output can be compared with this target."""
        check_numbers(type(self).__name__, target)

    def check_targets(self, target: HostArray, output: Shape, where: str) -> None:
        """Raise `DataError` naming the first sample whose target cannot be. `where` says which data."""
        check_values(where, target, np.isfinite(target), f"{type(self).__name__} needs finite numbers")


@word
@dataclasses.dataclass(frozen=True)
class MSE(Loss):
    """Σ (o - t)² / k over the k numbers of a sample's output: as `torch.nn.MSELoss`.

    An output of shape (1,) takes targets of shape () as well.
    """

    def value_and_gradient(self, output: Array, target: Array) -> tuple[Array, Array]:
        error = output - align(target, output)
        loss = self._total(error)
        error *= 2 / max(output.size, 1)
        return loss, error

    def value(self, output: Array, target: Array) -> Array:
        return self._total(output - align(target, output))

    def _total(self, error: Array) -> Array:
        return total(error * error, over=math.prod(error.shape[1:]))

    def check(self, output: Shape, target: Field) -> None:
        check_pairs("MSE", output, target, "make the last layer as wide as the target")


def log_softmax(x: Array) -> Array:
    """xᵢ - log Σⱼ e^xⱼ over the last axis, with no exponent above 0."""
    xp = xp_of(x)
    shifted = x - x.max(axis=-1, keepdims=True)
    shifted -= xp.log(xp.exp(shifted).sum(axis=-1, keepdims=True))
    return shifted


@word
@dataclasses.dataclass(frozen=True)
class SoftmaxCrossEntropy(Loss):
    """-log softmax(o)[label], from logits o of shape (classes,) and labels 0 … classes - 1.

    Logits of any size are safe. Labels are integers of any dtype (floats that hold whole numbers will
    do). The gradient is (softmax(o) - one_hot(label)) / n.
    """

    def value_and_gradient(self, output: Array, target: Array) -> tuple[Array, Array]:
        log_share = log_softmax(output)
        chosen = self._chosen(output, target)
        loss = total(-log_share[chosen])
        gradient = xp_of(output).exp(log_share)
        gradient[chosen] -= 1
        gradient *= 1 / max(len(output), 1)
        return loss, gradient

    def value(self, output: Array, target: Array) -> Array:
        return total(-log_softmax(output)[self._chosen(output, target)])

    def _chosen(self, output: Array, target: Array) -> tuple[Array, Array]:
        """The index of each row's label."""
        return xp_of(output).arange(len(output)), target.astype(np.intp, copy=False)

    def check(self, output: Shape, target: Field) -> None:
        check_numbers("SoftmaxCrossEntropy", target)
        if target.shape != ():
            raise ShapeMismatch(
                f"SoftmaxCrossEntropy takes one label a sample, shape (), got {target}; "
                "turn one-hot rows into labels with argmax"
            )
        if len(output) != 1 or output[0] < 2:
            raise ShapeMismatch(
                f"SoftmaxCrossEntropy needs a model whose output is (classes,) with at least 2 classes, "
                f"the model gives {output} for the labels {target}; "
                "for two classes from one output use SigmoidCrossEntropy"
            )

    def check_targets(self, target: HostArray, output: Shape, where: str) -> None:
        valid = (target >= 0) & (target < output[0])
        if target.dtype.kind == "f":
            valid &= np.floor(target) == target
        check_values(
            where, target, valid, f"a model with {output[0]} outputs knows the labels 0 to {output[0] - 1}"
        )


@word
@dataclasses.dataclass(frozen=True)
class SigmoidCrossEntropy(Loss):
    """-t log σ(o) - (1 - t) log(1 - σ(o)), the mean over the k logits of a sample's output.

    Targets are 0 or 1, or a probability between; as `torch.nn.BCEWithLogitsLoss`. Computed as
    max(o, 0) - o t + log(1 + e^-|o|), so that logits of any size are safe. The gradient is
    (σ(o) - t) / (n k). An output of shape (1,) takes targets of shape () as well.
    """

    def value_and_gradient(self, output: Array, target: Array) -> tuple[Array, Array]:
        t = align(target, output)
        gradient = sigmoid(output)
        gradient -= t
        gradient *= 1 / max(output.size, 1)
        return self._total(output, t), gradient

    def value(self, output: Array, target: Array) -> Array:
        return self._total(output, align(target, output))

    def _total(self, output: Array, t: Array) -> Array:
        xp = xp_of(output)
        each = xp.maximum(output, 0) - output * t + xp.log1p(xp.exp(-xp.abs(output)))
        return total(each, over=math.prod(output.shape[1:]))

    def check(self, output: Shape, target: Field) -> None:
        check_pairs("SigmoidCrossEntropy", output, target, "for labels 0 to k - 1 use SoftmaxCrossEntropy")

    def check_targets(self, target: HostArray, output: Shape, where: str) -> None:
        check_values(
            where, target, (target >= 0) & (target <= 1), "SigmoidCrossEntropy needs 0, 1 or a number between"
        )
