"""What training makes small.

A loss gives the sum of the per-sample losses over a batch, so that batches and shards add up exactly to
their data set, and the gradient of the batch's mean, so that the learning rate means the same for every
batch size. The sum is a float64 scalar of the output's device: asking for it does not wait for the GPU.

Some numbers may not count: labels to ignore, targets that are missing. The gradient is then that of the mean
over what counts in the batch, as PyTorch's is, and the sum is that mean times the batch's samples, so that it
is divided by samples like any other; over several batches it is a mean of means. A batch of which nothing
counts has the loss 0.
"""

import abc
import dataclasses

import numpy as np

from ps_common.arrays import Array, HostArray, xp_of
from ps_common.errors import ShapeMismatch
from ps_common.fields import Field
from ps_common.vocabulary import word
from ps_worker.nn.activations import sigmoid
from ps_worker.nn.layer import Shape
from ps_worker.nn.targets import (
    align,
    check_label,
    check_numbers,
    check_pairs,
    check_values,
    difference,
    missing,
    present,
)
from ps_worker.nn.totals import mean_total, weight_in_mean
from ps_worker.nn.vectors import rows


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

    An output of shape (1,) takes targets of shape () as well. With `skip_missing` targets may be NaN, and
    do not count then: see the top of this file.
    """

    skip_missing: bool = False

    def value_and_gradient(self, output: Array, target: Array) -> tuple[Array, Array]:
        error, counted = difference(output, target, self.skip_missing)
        loss = mean_total(error * error, len(output), counted)
        error *= 2 * weight_in_mean(error, counted)
        return loss, error

    def value(self, output: Array, target: Array) -> Array:
        error, counted = difference(output, target, self.skip_missing)
        return mean_total(error * error, len(output), counted)

    def check(self, output: Shape, target: Field) -> None:
        check_pairs("MSE", output, target, "make the last layer as wide as the target")

    def check_targets(self, target: HostArray, output: Shape, where: str) -> None:
        valid = np.isfinite(target) | missing(target, self.skip_missing)
        check_values(where, target, valid, "MSE needs finite numbers")


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

    Samples may be sequences, or have any more axes: from logits (steps, classes) and labels (steps,) the loss
    of a sample is the mean over its steps. A label equal to `ignore` does not count, such as that of padding:
    as `ignore_index` of `torch.nn.CrossEntropyLoss`, see the top of this file. Logits of any size are safe.
    Labels are integers of any dtype (floats that hold whole numbers will do). The gradient is
    (softmax(o) - one_hot(label)) / the number of labels in the batch.
    """

    ignore: int | None = None

    def __post_init__(self) -> None:
        check_label(self, "ignore")

    def value_and_gradient(self, output: Array, target: Array) -> tuple[Array, Array]:
        log_share = log_softmax(rows(output))
        chosen, counted = self._chosen(target)
        each = -log_share[chosen]
        gradient = xp_of(output).exp(log_share)
        gradient[chosen] -= 1
        weight = weight_in_mean(each, counted)
        gradient *= weight if counted is None else weight[:, None]
        return mean_total(each, len(output), counted), gradient.reshape(output.shape)

    def value(self, output: Array, target: Array) -> Array:
        chosen, counted = self._chosen(target)
        return mean_total(-log_softmax(rows(output))[chosen], len(output), counted)

    def _chosen(self, target: Array) -> tuple[tuple[Array, Array], Array | None]:
        """The index of each row's label, and which of these count (None: all)."""
        xp, labels = xp_of(target), target.reshape(-1).astype(np.intp, copy=False)
        if self.ignore is None:
            return (xp.arange(len(labels)), labels), None
        counted = labels != self.ignore
        return (xp.arange(len(labels)), xp.where(counted, labels, 0)), counted

    def check(self, output: Shape, target: Field) -> None:
        check_numbers("SoftmaxCrossEntropy", target)
        if not output or output[-1] < 2:
            raise ShapeMismatch(
                f"SoftmaxCrossEntropy needs a model whose output is (classes,) for each label, with at least "
                f"2 classes, the model gives {output} for the labels {target}; "
                "for two classes from one output use SigmoidCrossEntropy"
            )
        if target.shape != output[:-1]:
            same = target.shape == output
            advice = "turn one-hot rows into labels with argmax" if same else "let both be of the same steps"
            raise ShapeMismatch(
                f"SoftmaxCrossEntropy takes one label for each {output[-1:]} of the model's output {output}, "
                f"shape {output[:-1]}, got {target}; {advice}"
            )

    def check_targets(self, target: HostArray, output: Shape, where: str) -> None:
        classes = output[-1]
        valid = (target >= 0) & (target < classes)
        if target.dtype.kind == "f":
            valid &= np.floor(target) == target
        if self.ignore is not None:
            valid |= target == self.ignore
        ignored = "" if self.ignore is None else f", and ignores {self.ignore}"
        wanted = f"a model with {classes} outputs knows the labels 0 to {classes - 1}{ignored}"
        check_values(where, target, valid, wanted)


@word
@dataclasses.dataclass(frozen=True)
class SigmoidCrossEntropy(Loss):
    """-t log σ(o) - (1 - t) log(1 - σ(o)), the mean over the k logits of a sample's output.

    Targets are 0 or 1, or a probability between; as `torch.nn.BCEWithLogitsLoss`. Computed as
    max(o, 0) - o t + log(1 + e^-|o|), so that logits of any size are safe. The gradient is
    (σ(o) - t) / (n k). An output of shape (1,) takes targets of shape () as well. With `skip_missing`
    targets may be NaN, and do not count then: see the top of this file.
    """

    skip_missing: bool = False

    def value_and_gradient(self, output: Array, target: Array) -> tuple[Array, Array]:
        t, counted = present(align(target, output), self.skip_missing)
        gradient = sigmoid(output)
        gradient -= t
        gradient *= weight_in_mean(output, counted)
        return self._total(output, t, counted), gradient

    def value(self, output: Array, target: Array) -> Array:
        t, counted = present(align(target, output), self.skip_missing)
        return self._total(output, t, counted)

    def _total(self, output: Array, t: Array, counted: Array | None) -> Array:
        xp = xp_of(output)
        each = xp.maximum(output, 0) - output * t + xp.log1p(xp.exp(-xp.abs(output)))
        return mean_total(each, len(output), counted)

    def check(self, output: Shape, target: Field) -> None:
        check_pairs("SigmoidCrossEntropy", output, target, "for labels 0 to k - 1 use SoftmaxCrossEntropy")

    def check_targets(self, target: HostArray, output: Shape, where: str) -> None:
        valid = (target >= 0) & (target <= 1) | missing(target, self.skip_missing)
        check_values(where, target, valid, "SigmoidCrossEntropy needs 0, 1 or a number between")
