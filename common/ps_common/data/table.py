"""Columns of a table as numbers: what CSV and Parquet sources share.

It decides when a value fits a type and which integer a category is. Conversions are exact or refused,
but that floats are rounded to the type asked for. Where the cells come from is for the files' own modules.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ps_common.arrays import HostArray
from ps_common.data.source import Columns
from ps_common.errors import UsageError
from ps_common.spelling import nearest
from ps_common.vocabulary import Plain

Column = str | int
CategoriesOf = Mapping[Column, Sequence[str] | None] | Sequence[Column]
_REMAP_ROWS = 1 << 16  # ids put in order at once, so that a column larger than memory passes through


class Table(Columns):
    """Samples made of columns. `categories`: the names that the ids of a column count, by column."""

    categories: dict[Column, tuple[str, ...]]

    def __init__(
        self,
        x: HostArray,
        y: HostArray | None,
        description: dict[str, Plain],
        origin: str,
        categories: Mapping[Column, "Categories"],
    ) -> None:
        self.categories = {column: tuple(of.names) for column, of in categories.items()}
        pairs: Plain = [[column, list(names)] for column, names in self.categories.items()]
        super().__init__(x, y, {**description, "categories": pairs or None}, origin)


class Categories:
    """The names in one column and their ids. names: all there may be, in the order of ids; None: those met.

    Names that were not given are sorted at the end: until `put_in_order` an id says which came how early.
    """

    def __init__(self, column: Column, names: Sequence[str] | None) -> None:
        self.column = column
        self._given = names is not None
        self._ids = {name: i for i, name in enumerate(names or ())}
        if names is not None and (not names or len(self._ids) < len(names) or isinstance(names, str)):
            raise UsageError(
                f"categories of {column!r} must be a list of distinct names, at least one, not {names!r:.80}"
            )

    @property
    def names(self) -> list[str]:
        return list(self._ids)

    def takes_empty(self, missing: float | None) -> bool:
        """Whether an empty cell is one of the categories; it is wanted as one where `missing` is set."""
        return "" in self._ids or (not self._given and missing is not None)

    def ids(self, names: Iterable[str], dtype: np.dtype[Any]) -> HostArray:
        """The ids of names, shape (n,). Raises `Unknown` with the first that is no category."""
        ids = self._ids
        if self._given:
            found = np.fromiter((ids.get(name, -1) for name in names), np.int64)
            if found.size and found.min() < 0:
                raise Unknown(int(np.argmin(found)))
        else:
            found = np.fromiter((ids.setdefault(name, len(ids)) for name in names), np.int64)
        most = np.iinfo(dtype).max if dtype.kind in "iu" else 2 ** (np.finfo(dtype).nmant + 1)
        if len(ids) - 1 > most:
            raise UsageError(
                f"column {self.column!r} has more than {most} categories, too many for {dtype}: "
                "ask for another dtype"
            )
        return found.astype(dtype)

    def hint(self, name: str) -> str:
        """What to say of a name that is none of them."""
        if self._given:
            return f"; its categories were given{nearest(name, self._ids)}"
        return "; set missing=0, and empty cells are a category of their own"

    def put_in_order(self, columns: Sequence[HostArray]) -> None:
        """Sort the names that were met, and give each id in whole columns, shape (rows,), its new place."""
        if self._given:
            return
        place = {name: i for i, name in enumerate(sorted(self._ids))}
        new = np.array([place[name] for name in self._ids], np.int64)
        for values in columns:
            for at in range(0, len(values), _REMAP_ROWS):
                part = values[at : at + _REMAP_ROWS]
                part[...] = new[part.astype(np.int64)]
        self._ids = place


class Unknown(Exception):
    """A cell is not what its column holds; `at` is its place among those to be read. It stays in here."""

    def __init__(self, at: int) -> None:
        super().__init__(at)
        self.at = at


def pairs_of(setting: object, name: str) -> list[tuple[Column, Any]]:
    """Columns and what is said of them: from a dict, pairs (its plain form), or columns alone (with None)."""
    if setting is None:
        return []
    if isinstance(setting, Mapping):
        return list(setting.items())
    if isinstance(setting, str) or not isinstance(setting, Sequence):
        raise UsageError(f"{name} must be a dict by column, not {setting!r}")
    pairs = [tuple(one) if isinstance(one, list | tuple) else (one, None) for one in setting]
    if not all(len(pair) == 2 and isinstance(pair[0], str | int) for pair in pairs):
        raise UsageError(f"{name} must be a dict by column, not {setting!r:.80}")
    return pairs


def number_type(name: str, setting: str) -> np.dtype[Any]:
    """The dtype called so. Raises `UsageError` unless it is an integer or float type of this machine."""
    try:
        dtype = np.dtype(name)
    except TypeError:
        dtype = np.dtype(object)
    if dtype.kind not in "iuf" or not dtype.isnative or dtype.itemsize > 8:
        raise UsageError(
            f"{setting} must be an integer or float type such as 'float32' or 'int64', not {name!r}"
        )
    return dtype


def check_missing(missing: object) -> float | int | None:
    """The number that stands for a missing cell, or None. Raises `UsageError` for anything else."""
    if missing is None or (isinstance(missing, int | float) and not isinstance(missing, bool)):
        return missing
    raise UsageError(
        f"missing must be the number to put into empty cells, or None to refuse them: {missing!r}"
    )


def converted(values: HostArray, dtype: np.dtype[Any]) -> HostArray | None:
    """Numbers in another type; None where one does not fit: too large, or no integer where it must be one."""
    if dtype == values.dtype:
        return values
    if values.dtype.kind == "c":
        return None
    if dtype.kind == "u" and values.dtype.kind in "if" and values.size and values.min() < 0:
        return None
    try:
        with np.errstate(over="raise", invalid="raise"):
            out = values.astype(dtype)
    except FloatingPointError:
        return None
    return out if dtype.kind == "f" or np.array_equal(out, values) else None


def misfit(values: npt.NDArray[Any], dtype: np.dtype[Any]) -> int:
    """The place of the first number, in flat order, that does not fit a type."""
    flat = values.reshape(-1)
    low, high = 0, len(flat)  # the first is in here; halves, for whole blocks are tried at the speed of NumPy
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if converted(flat[low:middle], dtype) is None else (middle, high)
    return low


def did_you_mean(column: object, known: Sequence[str]) -> str:
    """A hint to end a message with, where one of the columns is called nearly so."""
    hint = nearest(str(column), known)
    return hint if "did you mean" in hint else ""
