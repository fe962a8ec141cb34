"""What inputs must be: values are checked once, on the host, where data is read.

What passed is computed with in full trust, so that no step on a GPU waits for a check.
"""

import numpy as np

from ps_common.arrays import HostArray
from ps_common.errors import DataError


class WrongNumber(DataError):
    """A number in the data that cannot be: in which sample of those checked, and where in that, flat.

    at: None where what was checked is not all of a sample.
    """

    def __init__(self, message: str, sample: int, at: int | None) -> None:
        super().__init__(message)
        self.sample, self.at = sample, at


def check_finite(where: str, x: HostArray) -> None:
    """Raise `DataError` naming the first sample of `x` that holds NaN or infinity."""
    if x.dtype.kind == "f":
        _check(where, x, np.isfinite(x), "a model takes finite numbers; fill in or leave out")


def check_indexes(where: str, x: HostArray, size: int, owner: str, field: str) -> None:
    """Raise `DataError` naming the first sample of `x` that holds anything but a number of 0 to size - 1.

    owner, field: the layer that looks up, and its setting that is the size.
    """
    valid = (x >= 0) & (x < size)
    if x.dtype.kind == "f":
        valid &= np.floor(x) == x
    if valid.all():
        return
    largest = float(x.max(initial=0))  # may be NaN or infinity
    is_short = size <= largest < np.inf
    advice = f"give {field}={largest + 1:.0f}, or mend the data" if is_short else "mend the data"
    _check(where, x, valid, f"{owner} looks up whole numbers from 0 to {size - 1}; {advice}")


def _check(where: str, x: HostArray, valid: HostArray, wanted: str) -> None:
    if valid.all():
        return
    first = int(np.argmin(valid.reshape(-1)))
    sample, at = divmod(first, x.size // len(x))
    place = f" at {tuple(map(int, np.unravel_index(at, x.shape[1:])))}" if x.ndim > 1 else ""
    message = f"{where}: sample {sample} has the input {x.reshape(-1)[first]}{place}, but {wanted}"
    raise WrongNumber(message, sample, at if x.ndim > 1 else None)
