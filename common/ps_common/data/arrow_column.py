"""One column of Arrow arrays as numbers: which types have a meaning here, and what becomes of them.

It decides what a cell counts as and refuses what is no number, date or known name, with its row. It does not
know files, row groups or where the numbers go. pyarrow is imported where it is used, as it is an extra.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from ps_common.arrays import HostArray
from ps_common.data.table import Categories, Unknown, converted, misfit
from ps_common.errors import DataError, UsageError


@dataclasses.dataclass(frozen=True)
class Place:
    """Where some cells begin: `row` counts from 0 in the file."""

    path: Path
    row: int


class ArrowColumn:
    """A column by its name and Arrow type. width: the numbers in a cell, 0 while that is not known.

    Raises `DataError` for a type that is no number, date, text or list of numbers.
    """

    def __init__(self, path: Path, name: str, kind: Any, categories: Categories | None) -> None:
        import pyarrow.types as types

        self.name, self.categories = name, categories
        own = kind.value_type if types.is_dictionary(kind) else kind
        self.is_list = types.is_list(own) or types.is_large_list(own) or types.is_fixed_size_list(own)
        self.width = (own.list_size if types.is_fixed_size_list(own) else 0) if self.is_list else 1
        cell = own.value_type if self.is_list else own
        is_text = types.is_string(cell) or types.is_large_string(cell)
        if categories is not None and not is_text:
            raise UsageError(f"{path}: column {name!r} is {kind}; only a column of text has categories")
        if is_text and categories is None:
            raise DataError(
                f"{path}: column {name!r} is {kind}, which is no number; name it in categories= to make ids "
                "of it, or leave it out of x"
            )
        is_number = types.is_integer(cell) or types.is_floating(cell) or types.is_boolean(cell)
        if not (is_text or is_number or types.is_date32(cell)):
            raise DataError(
                f"{path}: column {name!r} is {kind}; a data set holds numbers, truths, dates (date32), text "
                "with categories= and lists of these: cast it when the file is written, or leave it out of x"
            )

    def numbers(self, cells: Any, dtype: np.dtype[Any], missing: float | None, place: Place) -> HostArray:
        """The cells of an Arrow array as numbers, shape (rows, width). Raises `DataError` naming the row."""
        import pyarrow.types as types

        if types.is_dictionary(cells.type):
            cells = cells.dictionary_decode()
        if self.is_list:
            self._check_lengths(cells, place)
            cells = cells.flatten()
        values: HostArray = self._flat(cells, dtype, missing, place).reshape(-1, self.width)
        return values

    def measure(self, cells: Any, place: Place) -> None:
        """Learn from the first row how long all lists are."""
        self.width = cells.value_lengths()[0].as_py() or 0
        if not self.width:
            raise self._wrong(place, 0, "it has no list or an empty one", "leave that row or the column out")

    def _check_lengths(self, cells: Any, place: Place) -> None:
        """Every list must be there and have as many numbers as the first."""
        lengths = cells.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
        if cells.null_count:
            raise self._wrong(place, int(np.argmax(_is_null(cells))), "null is no list", "leave that row out")
        wrong = np.flatnonzero(lengths != self.width)
        if wrong.size:
            at = int(wrong[0])
            what = f"a list of {lengths[at]}, where the first row has one of {self.width}"
            raise self._wrong(place, at, what, "all samples need as many numbers: cut or pad the lists")

    def _flat(self, cells: Any, dtype: np.dtype[Any], missing: float | None, place: Place) -> HostArray:
        """Cells that are no lists, shape (n,)."""
        of = self.categories
        if cells.null_count and of is not None and of.takes_empty(missing):
            cells = cells.fill_null("")
        if not cells.null_count:
            return self._read(cells, dtype, place)
        is_null = _is_null(cells)
        filler = converted(np.array([missing], float), dtype) if missing is not None and of is None else None
        if filler is None:
            what = f"null is no {'category' if of is not None else dtype}"
            raise self._wrong(
                place, int(np.argmax(is_null)) // self.width, what, "say what it counts as: missing="
            )
        out = np.empty(len(cells), dtype)
        out[is_null] = filler
        out[~is_null] = self._read(cells.drop_null(), dtype, place, np.flatnonzero(~is_null))
        return out

    def _read(
        self, cells: Any, dtype: np.dtype[Any], place: Place, numbers: HostArray | None = None
    ) -> HostArray:
        """Cells without nulls, shape (n,). numbers: which of the column's these are, where not all are."""
        import pyarrow

        at = 0
        try:
            if self.categories is not None:
                return self.categories.ids(cells.to_pylist(), dtype)
            if pyarrow.types.is_date32(cells.type):
                cells = cells.cast(pyarrow.int32())  # days since 1970-01-01
            read = cells.to_numpy(zero_copy_only=False)
            values = converted(read, dtype)
            if values is not None:
                return values
            at = misfit(read, dtype)
        except Unknown as error:
            at = error.at
        value = cells[at].as_py()
        row = (at if numbers is None else int(numbers[at])) // self.width
        if self.categories is None:
            raise self._wrong(place, row, f"{value!r} is no {dtype}", "mend it or ask for another dtype")
        raise self._wrong(place, row, f"{value!r:.80} is no category{self.categories.hint(value)}", "mend it")

    def _wrong(self, place: Place, row: int, what: str, do: str) -> DataError:
        return DataError(f"{place.path}, row {place.row + row}, column {self.name!r}: {what}; {do}")


def _is_null(cells: Any) -> HostArray:
    flags: HostArray = cells.is_null().to_numpy(zero_copy_only=False)
    return flags
