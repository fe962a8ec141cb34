"""How outputs and targets must fit: the checks that losses and metrics share.

Shapes and dtypes are checked once, before training; values once, on the host, where data is read. What
passed is computed with in full trust, so that no step on a GPU waits for a check.
"""

import numpy as np

from ps_common.arrays import Array, HostArray
from ps_common.errors import DataError, ShapeMismatch
from ps_common.fields import Field
from ps_worker.nn.layer import Shape


def align(target: Array, output: Array) -> Array:
    """The target in the output's shape and dtype: (n,) to (n, 1), never (n, n) by broadcasting."""
    return target.reshape(output.shape).astype(output.dtype, copy=False)


def pairs_up(output: Shape, target: Shape) -> bool:
    """Whether each output has its own target number; one output of shape (1,) takes a target ()."""
    return output == target or (output == (1,) and target == ())


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


def check_values(where: str, target: HostArray, valid: HostArray, wanted: str) -> None:
    """Raise `DataError` naming the first sample and value for which `valid` is False."""
    if valid.all():
        return
    first = int(np.argmin(valid.reshape(-1)))
    sample = first // (target.size // len(target))
    raise DataError(f"{where}: sample {sample} has the target {target.reshape(-1)[first]}, but {wanted}")
