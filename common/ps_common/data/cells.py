"""Cells of text as numbers: what a CSV file's columns may hold, and how each kind is read.

It decides whether a text is a number, a truth, a date or a name that has an id, and says which is not, with
its line and column. It does not know how a file becomes rows.
"""

import dataclasses
import datetime
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from ps_common.arrays import HostArray
from ps_common.data.table import Categories, Unknown, converted, misfit, number_type
from ps_common.errors import DataError, UsageError

_TRUTHS = {"true": 1, "t": 1, "yes": 1, "1": 1, "false": 0, "f": 0, "no": 0, "0": 0}
_EPOCH = datetime.date(1970, 1, 1).toordinal()


@dataclasses.dataclass(frozen=True)
class Reading:
    """How one column is read. kind: "" for what it is stored as, or "int64", "bool", "date", "category"."""

    index: int
    kind: str = ""
    categories: Categories | None = None

    def numbers(self, cells: Sequence[str], dtype: np.dtype[Any]) -> HostArray:
        """The cells as numbers of `dtype`, shape (n,). Raises `Unknown` with the first that is none."""
        if self.categories is not None:
            return self.categories.ids(cells, dtype)
        if self.kind in _WORDS:
            known = _known(cells, _WORDS[self.kind])
            read = np.fromiter((known[cell] for cell in cells), np.int64)
            values = converted(read, dtype)
            if values is None:
                raise Unknown(misfit(read, dtype))
            return values
        values = self._plain(cells, dtype)
        if values is None:
            raise Unknown(next(i for i, cell in enumerate(cells) if self._plain([cell], dtype) is None))
        return values

    def _plain(self, cells: Sequence[str], dtype: np.dtype[Any]) -> HostArray | None:
        if not self.kind:
            return parsed(cells, dtype)
        own = parsed(cells, np.dtype(self.kind))
        return None if own is None else converted(own, dtype)


class Cells:
    """Rows of text as numbers. names: of the columns, where they have any; missing: for empty cells."""

    def __init__(self, path: Path, names: list[str] | None, missing: float | None) -> None:
        self.path, self.names, self.missing = path, names, missing

    def numbers(
        self, lines: list[int], block: list[list[str]], how: list[Reading], dtype: np.dtype[Any]
    ) -> HostArray:
        """The cells of some columns as numbers, shape (rows, columns)."""
        if not any(reading.kind for reading in how):  # all at once, where all are right
            indexes = [reading.index for reading in how]
            whole = indexes == list(range(len(block[0])))
            values = parsed(block if whole else [[row[i] for i in indexes] for row in block], dtype)
            if values is not None:
                return values
        return np.stack([self.column(lines, block, reading, dtype) for reading in how], axis=1)

    def column(
        self, lines: list[int], block: list[list[str]], reading: Reading, dtype: np.dtype[Any]
    ) -> HostArray:
        """The cells of one column as numbers, shape (rows,)."""
        cells = [row[reading.index] for row in block]
        takes_empty = reading.categories is not None and reading.categories.takes_empty(self.missing)
        empty = set() if takes_empty else set(_empties(cells))
        full = [i for i in range(len(cells)) if i not in empty] if empty else range(len(cells))
        out: HostArray = np.empty(len(cells), dtype)
        if empty:
            known = self.missing is not None and reading.categories is None
            filler = converted(np.array([self.missing], float), dtype) if known else None
            if filler is None:
                self.refuse(lines[min(empty)], reading, cells[min(empty)], dtype)
            out[list(empty)] = filler
        try:
            out[full] = reading.numbers([cells[i] for i in full] if empty else cells, dtype)
        except Unknown as error:
            self.refuse(lines[full[error.at]], reading, cells[full[error.at]], dtype)
        return out

    def refuse(self, line: int, reading: Reading, text: str, dtype: np.dtype[Any]) -> NoReturn:
        """Raise `DataError` for a wrong cell."""
        name = f" ({self.names[reading.index]!r})" if self.names is not None else ""
        what, hint = str(dtype), "; an empty cell counts as what missing= says, for example missing=0"
        if reading.kind:
            what = reading.kind if reading.categories is not None else f"{reading.kind} (as {dtype})"
        if reading.categories is not None:
            hint = reading.categories.hint(text)
        elif text.strip():
            hint = ""
        raise DataError(
            f"{self.path}, line {line}, column {reading.index}{name}: {text[:80]!r} is no {what}; mend that "
            f"cell, leave the column out or ask for another {'type' if reading.kind else 'dtype'}{hint}"
        )


def check_kind(kind: object, column: object) -> str:
    """The kind, if a column can be read as that. Raises `UsageError`."""
    if isinstance(kind, str) and kind in _WORDS:
        return kind
    if not isinstance(kind, str):
        raise UsageError(f"types: column {column!r} must be given a type such as 'int64', not {kind!r}")
    return number_type(kind, f"types: column {column!r}, where it is not 'bool' or 'date',").name


def parsed(cells: Any, dtype: np.dtype[Any]) -> HostArray | None:
    """Text as numbers of a type, or None where one is none or does not fit. "3.0" is the integer 3."""
    if dtype.kind == "f":
        wide = _read_as(np.dtype("float64"), cells)
    else:
        wide = _read_as(np.dtype("uint64" if dtype == "uint64" else "int64"), cells)
        if wide is None:  # whole numbers written as floats, exact up to 2**53
            wide = _read_as(np.dtype("float64"), cells)
            if wide is None or not (np.abs(wide) <= 2**53).all():
                return None
    return None if wide is None else converted(wide, dtype)


def _read_as(dtype: np.dtype[Any], cells: Any) -> HostArray | None:
    try:
        return np.array(cells, dtype=dtype)
    except (ValueError, OverflowError):
        return None


def _known(cells: Sequence[str], number_of: Callable[[str], int | None]) -> dict[str, int]:
    """The number of each distinct cell. Raises `Unknown` with the place of the first that has none."""
    found = {cell: number_of(cell.strip()) for cell in set(cells)}
    known = {cell: number for cell, number in found.items() if number is not None}
    if len(known) < len(found):
        raise Unknown(next(i for i, cell in enumerate(cells) if cell not in known))
    return known


def _truth(cell: str) -> int | None:
    return _TRUTHS.get(cell.lower())


def _days(cell: str) -> int | None:
    """Days since 1970-01-01 of a date in ISO 8601, such as 2011-12-09."""
    try:
        return datetime.date.fromisoformat(cell).toordinal() - _EPOCH
    except ValueError:
        return None


_WORDS: dict[str, Callable[[str], int | None]] = {"bool": _truth, "date": _days}


def _empties(cells: Iterable[str]) -> list[int]:
    """The places of cells with nothing but blanks in them."""
    return [i for i, cell in enumerate(cells) if not cell or cell.isspace()]
