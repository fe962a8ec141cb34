"""What is reported about a model, as sums that add up over batches and shards.

`sums` gives float64 numbers on the output's device, without waiting for it; the master adds them in shard
order and makes the totals into a figure. So that is of the whole data set, not a mean of means.
"""

import abc
import dataclasses
from typing import ClassVar

from ps_common.arrays import Array
from ps_common.errors import ShapeMismatch
from ps_common.fields import Field
from ps_common.vocabulary import word
from ps_worker.nn.layer import Shape
from ps_worker.nn.targets import check_label, check_numbers, check_pairs, difference, pairs_up
from ps_worker.nn.totals import count, total


class Metric(abc.ABC):
    """A figure made of sums. Your own is a frozen dataclass with `name` and `sums`.

    figure: what the totals are made into, one of `ps_common.figures`: "ratio" of the first to the second,
    which is at least 0; "root" of that ratio, and "exponential" of it; "area" under the curve from counts.
    Write `figure = "root"` in your class for another than "ratio".
    """

    figure: ClassVar[str] = "ratio"

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """What it is called in logs and results."""

    @abc.abstractmethod
    def sums(self, output: Array, target: Array) -> tuple[Array, ...]:
        """The numbers that add up over batches: float64 arrays, 0-d or of several.

        For a ratio they are numerator and denominator.
        """

    def check(self, output: Shape, target: Field) -> None:
        """Raise `ShapeMismatch` unless a model with this output can be compared with this target."""
        check_numbers(type(self).__name__, target)


@word
@dataclasses.dataclass(frozen=True)
class Accuracy(Metric):
    """The share of right answers.

    For labels, shape (), and an output (classes,): whether the largest output is the label's. For targets
    0 or 1 that pair up with logits, (1,) with () or (k,) with (k,): whether the logit is above 0 where
    the target is above ½. Of a sequence, (steps,) and (steps, classes), each step is an answer. A label equal
    to `ignore` is left out, such as that of padding.
    """

    ignore: int | None = None

    def __post_init__(self) -> None:
        check_label(self, "ignore")

    @property
    def name(self) -> str:
        return "accuracy"

    def sums(self, output: Array, target: Array) -> tuple[Array, Array]:
        if pairs_up(output.shape[1:], target.shape[1:]):
            right = (output > 0) == (target.reshape(output.shape) > 0.5)
        else:
            right = output.argmax(axis=-1) == target
        if self.ignore is None:
            return total(right), count(right)
        counted = (target != self.ignore).reshape(right.shape)
        return total(right & counted), total(counted)

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
    """Σ (o - t)² / N over all N numbers of all outputs. With `skip_missing` targets of NaN are left out."""

    skip_missing: bool = False

    @property
    def name(self) -> str:
        return "mean_squared_error"

    def sums(self, output: Array, target: Array) -> tuple[Array, Array]:
        error, counted = difference(output, target, self.skip_missing)
        return total(error * error), count(error) if counted is None else total(counted)

    def check(self, output: Shape, target: Field) -> None:
        check_pairs("MeanSquaredError", output, target, "for labels use Accuracy")


@word
@dataclasses.dataclass(frozen=True)
class MeanAbsoluteError(Metric):
    """Σ |o - t| / N over all N numbers of all outputs. With `skip_missing` targets of NaN are left out."""

    skip_missing: bool = False

    @property
    def name(self) -> str:
        return "mean_absolute_error"

    def sums(self, output: Array, target: Array) -> tuple[Array, Array]:
        error, counted = difference(output, target, self.skip_missing)
        return total(abs(error)), count(error) if counted is None else total(counted)

    def check(self, output: Shape, target: Field) -> None:
        check_pairs("MeanAbsoluteError", output, target, "for labels use Accuracy")


@word
@dataclasses.dataclass(frozen=True)
class RMSE(MeanSquaredError):
    """√(Σ (o - t)² / N) over all N numbers of all outputs: in the unit of the targets."""

    figure: ClassVar[str] = "root"

    @property
    def name(self) -> str:
        return "rmse"

    def check(self, output: Shape, target: Field) -> None:
        check_pairs("RMSE", output, target, "for labels use Accuracy")
