"""What is reported about a model, as sums that add up over batches and shards.

`sums` gives float64 scalars on the output's device, without waiting for it; the master adds them in shard
order and divides the totals. So the figure is that of the whole data set, not a mean of means.
"""

import abc
import dataclasses

from ps_common.arrays import Array
from ps_common.errors import ShapeMismatch
from ps_common.fields import Field
from ps_common.vocabulary import word
from ps_worker.nn.layer import Shape
from ps_worker.nn.targets import align, check_numbers, check_pairs, pairs_up
from ps_worker.nn.totals import count, total


class Metric(abc.ABC):
    """A ratio of two sums. Your own is a frozen dataclass with `name` and `sums`."""

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """What it is called in logs and results."""

    @abc.abstractmethod
    def sums(self, output: Array, target: Array) -> tuple[Array, Array]:
        """Numerator and denominator (at least 0), 0-d float64 arrays that add up over batches."""

    def check(self, output: Shape, target: Field) -> None:
        """Raise `ShapeMismatch` unless a model with this output can be compared with this target."""
        check_numbers(type(self).__name__, target)


@word
@dataclasses.dataclass(frozen=True)
class Accuracy(Metric):
    """The share of right answers.

    For labels, shape (), and an output (classes,): whether the largest output is the label's. For targets
    0 or 1 that pair up with logits, (1,) with () or (k,) with (k,): whether the logit is above 0 where
    the target is above ½.
    """

    @property
    def name(self) -> str:
        return "accuracy"

    def sums(self, output: Array, target: Array) -> tuple[Array, Array]:
        if pairs_up(output.shape[1:], target.shape[1:]):
            right = (output > 0) == (target.reshape(output.shape) > 0.5)
        else:
            right = output.argmax(axis=-1) == target
        return total(right), count(right)

    def check(self, output: Shape, target: Field) -> None:
        check_numbers("Accuracy", target)
        if not pairs_up(output, target.shape) and output[:-1] != target.shape:
            raise ShapeMismatch(
                f"Accuracy needs one label for the model's output {output}, or one 0 or 1 for each of its "
                f"numbers, got {target}; turn one-hot rows into labels with argmax"
            )


@word
@dataclasses.dataclass(frozen=True)
class MeanSquaredError(Metric):
    """Σ (o - t)² / N over all N numbers of all outputs."""

    @property
    def name(self) -> str:
        return "mean_squared_error"

    def sums(self, output: Array, target: Array) -> tuple[Array, Array]:
        error = output - align(target, output)
        return total(error * error), count(error)

    def check(self, output: Shape, target: Field) -> None:
        check_pairs("MeanSquaredError", output, target, "for labels use Accuracy")


@word
@dataclasses.dataclass(frozen=True)
class MeanAbsoluteError(Metric):
    """Σ |o - t| / N over all N numbers of all outputs."""

    @property
    def name(self) -> str:
        return "mean_absolute_error"

    def sums(self, output: Array, target: Array) -> tuple[Array, Array]:
        error = output - align(target, output)
        return total(abs(error)), count(error)

    def check(self, output: Shape, target: Field) -> None:
        check_pairs("MeanAbsoluteError", output, target, "for labels use Accuracy")
