"""What every source of samples offers, and the one that most others end in: arrays held side by side.

A source names its fields ("x", then "y" where there is one), reads any rows of them, describes itself
as plain data and has a fingerprint by which two machines can tell that they hold the same samples.
"""

import abc
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from ps_common.arrays import HostArray
from ps_common.data.progress_bar import progress
from ps_common.errors import DataError, UsageError
from ps_common.fields import Field
from ps_common.vocabulary import Plain

Rows = slice | npt.NDArray[np.int64]

FINGERPRINT_WHOLE_BYTES = (
    64 << 20
)  # hashed whole up to here: 0.3 s from a disk of 200 MB/s, 10 ms from memory
FINGERPRINT_SAMPLES = 1024  # beyond it, this many: one damaged region of 0.1 % of the rows is still met
_READ_BYTES = 4 << 20  # read at once while hashing, so that a data set larger than memory passes through


class Source(abc.ABC):
    """A fixed number of samples, each with the same fields, read by row number.

    `samples` is at least 1; `fields` are called "x" and, where there are targets, "y".
    """

    samples: int
    fields: tuple[Field, ...]

    @abc.abstractmethod
    def read(self, rows: Rows) -> tuple[HostArray, ...]:
        """The asked rows, in the asked order: one fresh C-contiguous array of native byte order a field.

        `rows` is a slice or integers, shape (n,), each in 0..samples-1 (no counting from the end: a wrong
        number is an `IndexError`, not another sample). Each array has shape (n, *field.shape), is the
        caller's to change and keeps no file open.
        """

    @abc.abstractmethod
    def plain(self) -> dict[str, Plain]:
        """The description as plain data, from which `open_source` opens the same samples elsewhere."""

    def fingerprint(self) -> str:
        """32 hex digits (XXH3-128) of the fields' names, dtypes and shapes, the number of samples, the rows.

        All rows where they are 64 MiB or less in total; beyond that 1,024 rows, evenly spaced from the
        first to the last, so a difference in fewer than 0.1 % of the rows may be missed. It guards
        against mix-ups, not against malice: XXH3 is no cryptographic hash.
        """
        digest = xxhash.xxh3_128()
        digest.update(f"{self.samples} samples; {'; '.join(map(str, self.fields))}".encode())
        sample_bytes = sum(field.sample_bytes for field in self.fields)
        if self.samples * sample_bytes <= FINGERPRINT_WHOLE_BYTES:
            rows = np.arange(self.samples)
        else:
            rows = np.linspace(0, self.samples - 1, FINGERPRINT_SAMPLES).astype(np.int64)
            rows = np.unique(rows)  # fewer than 1,024 samples of more than 64 KiB each: every row once
        step = max(1, _READ_BYTES // sample_bytes)
        with progress(f"fingerprint of {self.samples} samples", len(rows)) as show:
            for start in range(0, len(rows), step):
                for values in self.read(rows[start : start + step]):
                    little = values.astype(values.dtype.newbyteorder("<"), copy=False)
                    digest.update(little.reshape(-1).view(np.uint8).data)
                show(start + step)
        return digest.hexdigest()

    def __len__(self) -> int:
        return self.samples

    def __repr__(self) -> str:
        return f"<{self.plain()['kind']} source: {self.samples} samples, {', '.join(map(str, self.fields))}>"


class Columns(Source):
    """A source whose fields are arrays, in memory or mapped from a file, of equal length.

    `columns` holds x, shape (samples, ...), and y, or y None. `description` is what `plain` returns,
    `origin` says in messages where the arrays came from ("the array", or a file's path).
    """

    def __init__(self, x: HostArray, y: HostArray | None, description: dict[str, Plain], origin: str) -> None:
        columns = {"x": x} if y is None else {"x": x, "y": y}
        for name, values in columns.items():
            check_column(name, values, origin)
        if y is not None and len(x) != len(y):
            raise DataError(
                f"{origin}: x has {len(x)} samples and y has {len(y)}; every sample needs one row in both"
            )
        self.samples = len(x)
        self._columns = tuple(columns.values())
        self.fields = tuple(Field(name, v.dtype.name, v.shape[1:]) for name, v in columns.items())
        self._description = description

    def read(self, rows: Rows) -> tuple[HostArray, ...]:
        check_rows(rows, self.samples)
        return tuple(_fresh(column[rows]) for column in self._columns)

    def plain(self) -> dict[str, Plain]:
        return dict(self._description)


def arrays(x: npt.ArrayLike, y: npt.ArrayLike | None = None) -> Source:
    """Samples that lie in memory: `x` of shape (n, ...), `y` of shape (n,) or (n, ...) or absent.

    Numbers only (bool, int, float, complex); another byte order is converted as rows are read. The arrays
    are not copied, so do not change them while a job runs. They cannot be opened on another machine: let the
    master send them (stream mode) or save them to a file. Raises `DataError` for no samples, different
    lengths or anything but numbers.
    """
    return Columns(
        np.asarray(x), None if y is None else np.asarray(y), {"kind": "arrays"}, "the arrays of the job"
    )


def check_rows(rows: Rows, samples: int) -> None:
    """Raises `TypeError` for rows that are neither a slice nor integers and `IndexError` for any outside."""
    if isinstance(rows, slice):
        return
    if not isinstance(rows, np.ndarray) or rows.dtype.kind not in "iu" or rows.ndim != 1:
        raise TypeError(f"rows must be a slice or a 1-d array of integers, not {rows!r}")
    if rows.size and (int(rows.min()) < 0 or int(rows.max()) >= samples):
        raise IndexError(f"rows {rows.min()}..{rows.max()} were asked of a source of {samples} samples")


def check_seed(seed: object) -> int:
    """The seed, if it is an integer of at least 0. Raises `UsageError`."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise UsageError(f"seed must be an integer of at least 0, not {seed!r}")
    return int(seed)


def check_column(name: str, values: HostArray, origin: str) -> None:
    if values.dtype.kind not in "biufc":
        raise DataError(
            f"{origin}: {name} has dtype {values.dtype}; a data set holds numbers (bool, int, float or "
            "complex): convert it first, for example x.astype('float32')"
        )
    if values.ndim == 0:
        raise DataError(f"{origin}: {name} is a single number; its first axis must count the samples")
    if len(values) == 0:
        raise DataError(f"{origin}: {name} has shape {values.shape}: no samples; at least one is needed")
    if values.size == 0:
        raise DataError(f"{origin}: {name} has shape {values.shape}: its samples have no values")


def _fresh(values: HostArray) -> HostArray:
    """A C-contiguous copy in native byte order, without ties to a mapped file."""
    native: np.dtype[Any] = values.dtype.newbyteorder("=")
    return np.array(values, dtype=native, order="C", copy=True, subok=False)
