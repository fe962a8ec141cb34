"""How outputs and targets must fit: the checks that losses and metrics share.

Shapes and dtypes are checked once, before training; values once, on the host, where data is read. What
passed is computed with in full trust, so that no step on a GPU waits for a check.
"""

import numpy as np

from ps_common.arrays import Array, HostArray, xp_of
from ps_common.errors import ShapeMismatch, UsageError
from ps_common.fields import Field
from ps_worker.nn.inputs import WrongNumber
from ps_worker.nn.layer import Shape


def align(target: Array, output: Array) -> Array:
    """The target in the output's shape and dtype: (n,) to (n, 1), never (n, n) by broadcasting."""
    return target.reshape(output.shape).astype(output.dtype, copy=False)


def present(target: Array, skip_missing: bool) -> tuple[Array, Array | None]:
    """The target with 0 in the place of NaN, and where there was none; without `skip_missing` as it is."""
    if not skip_missing:
        return target, None
    counted = target == target  # NaN alone is not equal to itself
    return xp_of(target).where(counted, target, 0), counted


def difference(output: Array, target: Array, skip_missing: bool) -> tuple[Array, Array | None]:
    """o - t, and which of these count (None: all); 0 where one does not."""
    t, counted = present(align(target, output), skip_missing)
    error = output - t
    if counted is not None:
        error *= counted
    return error, counted


def missing(target: HostArray, skip_missing: bool) -> HostArray | bool:
    """Which targets are NaN and may be."""
    return np.isnan(target) if skip_missing else False


def pairs_up(output: Shape, target: Shape) -> bool:
    """Whether each output has its own target number; one output of shape (1,) takes a target ()."""
    return output == target or (output == (1,) and target == ())


def check_label(owner: object, field: str) -> None:
    """Raise `UsageError` unless the field of `owner` is None or a whole number."""
    value = getattr(owner, field)
    if value is not None and type(value) is not int:
        raise UsageError(f"{type(owner).__name__}: {field} must be a whole number or None, got {value!r}")


def check_numbers(owner: str, target: Field) -> None:
    """Raise `ShapeMismatch` unless the target's dtype is one of numbers."""
    if np.dtype(target.dtype).kind not in "biuf":
        raise ShapeMismatch(
            f"{owner} needs numbers as targets, got {target}; encode them as integers or floats"
        )


def check_pairs(owner: str, output: Shape, target: Field, instead: str) -> None:
    """Raise `ShapeMismatch` unless outputs and targets pair up; `instead` is what to do."""
    check_numbers(owner, target)
    if not pairs_up(output, target.shape):
        raise ShapeMismatch(
            f"{owner} compares each output with its own target: the model gives {output} a sample, "
            f"the data {target}; {instead}"
        )


def check_labels(owner: str, output: Shape, target: Field) -> None:
    """Raise `ShapeMismatch` unless there is one label for each output (classes,)."""
    check_numbers(owner, target)
    if not output or target.shape != output[:-1]:
        raise ShapeMismatch(
            f"{owner} needs one label for each (classes,) of the model's output {output}, got {target}; "
            "turn one-hot rows into labels with argmax"
        )


def check_values(where: str, target: HostArray, valid: HostArray, wanted: str) -> None:
    """Raise `DataError` naming the first sample and value for which `valid` is False."""
    if valid.all():
        return
    first = int(np.argmin(valid.reshape(-1)))
    sample, at = divmod(first, target.size // len(target))
    message = f"{where}: sample {sample} has the target {target.reshape(-1)[first]}, but {wanted}"
    raise WrongNumber(message, sample, at)
