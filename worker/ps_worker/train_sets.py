"""What a user hands to `batches`: how many samples it has, and those of some rows, held as it holds them.

An array or anything else that takes arrays of row numbers, a tuple, list or dict of such, a source of
`paramserver.data`, or just a number of samples.
"""

from collections.abc import Mapping
from typing import Any

from ps_common.errors import UsageError
from ps_worker.batches import Rows


def count(train_set: Any) -> int:
    """Its samples. Raises `UsageError` where its parts have different numbers of them."""
    if isinstance(train_set, int):
        return train_set
    if not isinstance(train_set, tuple | list | Mapping):
        return len(train_set)
    columns = list(train_set.values()) if isinstance(train_set, Mapping) else list(train_set)
    lengths = {len(column) for column in columns}
    if len(lengths) != 1:
        raise UsageError(f"every part of the data needs as many samples; they have {sorted(lengths)}")
    return lengths.pop()


def read(train_set: Any, rows: Rows) -> Any:
    """The samples of these rows; the rows themselves of a number of samples."""
    if isinstance(train_set, int):
        return rows
    if isinstance(train_set, Mapping):
        return {name: column[rows] for name, column in train_set.items()}
    if isinstance(train_set, tuple | list):
        return tuple(column[rows] for column in train_set)
    return train_set.read(rows) if hasattr(train_set, "read") else train_set[rows]
