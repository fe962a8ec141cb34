"""Samples in a CSV file, plain or compressed with gzip or xz: parsed once, held in memory as numbers.

It decides which columns are x and y and refuses any cell that is not what its column holds, naming file,
line, column and the text. It guesses no types and fills no gaps unless it is told with what.
"""

import collections
import contextlib
import csv as stdlib_csv
import gzip
import io
import lzma
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from ps_common.arrays import HostArray
from ps_common.data.cells import Cells, Reading, check_kind
from ps_common.data.npy_file import StrPath, open_file
from ps_common.data.progress_bar import progress
from ps_common.data.table import (
    Categories,
    CategoriesOf,
    Column,
    Table,
    check_missing,
    did_you_mean,
    number_type,
    pairs_of,
)
from ps_common.errors import DataError, UsageError
from ps_common.vocabulary import Plain

_BLOCK_ROWS = 4096  # rows held as text at once, so that the text of a large file never is


def csv(
    path: StrPath,
    x: Sequence[Column] | None = None,
    y: Column | None = None,
    *,
    header: bool = True,
    delimiter: str = ",",
    dtype: str = "float32",
    y_dtype: str = "int64",
    types: Mapping[Column, str] | None = None,
    categories: CategoriesOf | None = None,
    missing: float | None = None,
) -> Table:
    """Samples in the rows of a CSV file (UTF-8; `.gz` and `.xz` are decompressed).

    x, shape (columns,) of `dtype`, is made of the columns in `x`: names (with `header=True`) or numbers
    from 0, or from -1 backwards; None takes all but y. y, shape () of `y_dtype`, is one column; None for
    none. The types are integers or floats; "nan" and "inf" are floats, "3.0" is the integer 3, blank lines
    are skipped. Every row must have as many cells as the first.

    types: by column, what its cells must be before they become `dtype`: an integer or float type, "bool"
    (true, yes, t, 1; false, no, f, 0) or "date" (as 2011-12-09; becomes days since 1970-01-01).
    categories: columns of text, which become ids from 0: a dict that gives a column its names in the order of
    ids, or None for all the names it holds, sorted; or a list of columns, for None. The source's own
    `categories` says what the ids mean; give it to the source of the test data.
    missing: the number to put into empty cells, such as 0 or nan; None refuses them. In a column of
    categories an empty cell is a category of its own, "", if that is one of the names, or if `missing` is set
    and no names are given.

    >>> train = csv("sales.csv", x=["day", "shop"], y="sold", y_dtype="float32",
    ...             types={"day": "date"}, categories=["shop"])  # doctest: +SKIP
    >>> train.categories["shop"]  # doctest: +SKIP
    ('Bath', 'York')

    Raises `DataError` for a file that is missing, damaged or holds a wrong cell, `UsageError` for a
    column, delimiter or dtype that cannot be.
    """
    file = Path(path).absolute()
    x_type, y_type = number_type(dtype, "dtype"), number_type(y_dtype, "y_dtype")
    if not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '"\r\n':
        raise UsageError(
            f"delimiter must be one character other than a quote or a line end, not {delimiter!r}"
        )
    kinds = {column: check_kind(kind, column) for column, kind in pairs_of(types, "types")}
    named = {column: Categories(column, names) for column, names in pairs_of(categories, "categories")}
    missing = check_missing(missing)
    with _text(file) as (stream, show):
        table = _Rows(file, stream, header, delimiter, missing, show)
        x = table.others(y) if x is None else x
        x_values, y_values = table.read(x, y, x_type, y_type, kinds, named)
    description: dict[str, Plain] = {
        "kind": "csv",
        "path": str(file),
        "x": list(x),
        "y": y,
        "header": header,
        "delimiter": delimiter,
        "dtype": x_type.name,
        "y_dtype": y_type.name,
        "types": [list(pair) for pair in kinds.items()] or None,
        "missing": missing,
    }
    return Table(x_values, y_values, description, str(file), named)


class _Rows:
    """The rows of one open file: knows the column names and the line number of each row."""

    def __init__(
        self,
        path: Path,
        stream: IO[str],
        header: bool,
        delimiter: str,
        missing: float | None,
        show: Callable[[], None],
    ) -> None:
        self.path, self.missing, self.show = path, missing, show
        self.reader = stdlib_csv.reader(stream, delimiter=delimiter, strict=True)
        self.rows = (row for row in self.reader if row)
        self.first: list[str] | None = None
        head = next(self.rows, None)
        if head is None:
            raise DataError(f"{path} has no rows; at least one sample is needed: write it again")
        self.width = len(head)
        self.names: list[str] | None = None
        if header:
            self.names = [name.strip() for name in head]
        else:
            self.first, self.first_line = head, self.reader.line_num
        self.times = collections.Counter(self.names or ())
        self.place = {name: i for i, name in enumerate(self.names or ())}  # of those that come once

    def read(
        self,
        x: Sequence[Column],
        y: Column | None,
        x_type: np.dtype[Any],
        y_type: np.dtype[Any],
        kinds: Mapping[Column, str],
        named: Mapping[Column, Categories],
    ) -> tuple[HostArray, HostArray | None]:
        """x, shape (rows, columns), and y, shape (rows,) or None."""
        y_index = None if y is None else self.index(y)
        if isinstance(x, str):
            raise UsageError(f"x must be a list of columns, not the text {x!r}; write [{x!r}]")
        x_indexes = [self.index(column) for column in x]
        if not x_indexes:
            raise UsageError(f"{self.path}: no column is left for x; name at least one")
        how = self.readings([*x_indexes, *([] if y_index is None else [y_index])], kinds, named)
        x_how = [how[i] for i in x_indexes]
        cells = Cells(self.path, self.names, self.missing)
        x_parts, y_parts = [], []
        for lines, block in self.blocks():
            x_parts.append(cells.numbers(lines, block, x_how, x_type))
            if y_index is not None:
                y_parts.append(cells.numbers(lines, block, [how[y_index]], y_type)[:, 0])
            self.show()
        if not x_parts:
            raise DataError(
                f"{self.path} has a header but no rows; at least one sample is needed: write it again"
            )
        x_values, y_values = np.concatenate(x_parts), np.concatenate(y_parts) if y_parts else None
        for categories in named.values():
            index = self.index(categories.column)
            columns = [x_values[:, i] for i, of in enumerate(x_indexes) if of == index]
            if y_values is not None and index == y_index:
                columns.append(y_values)
            categories.put_in_order(columns)
        return x_values, y_values

    def others(self, y: Column | None) -> list[Column]:
        """All columns but y: by name, or by number where there are no names or not all are distinct."""
        y_index = None if y is None else self.index(y)
        known: Sequence[Column] = range(self.width)
        if self.names is not None and len(self.place) == self.width:
            known = self.names
        return [known[i] for i in range(self.width) if i != y_index]

    def readings(
        self, used: list[int], kinds: Mapping[Column, str], named: Mapping[Column, Categories]
    ) -> dict[int, Reading]:
        """How each of the columns used is read."""
        how = {index: Reading(index) for index in used}
        told = [*((c, Reading(self.index(c), kind)) for c, kind in kinds.items())]
        told += [(c, Reading(self.index(c), "category", names)) for c, names in named.items()]
        for column, reading in told:
            if reading.index not in how:
                raise UsageError(f"column {column!r} has a type or categories but is not used, in x or as y")
            if how[reading.index].kind:
                raise UsageError(f"column {column!r} can have one type, or categories, and not more")
            how[reading.index] = reading
        return how

    def index(self, column: Column) -> int:
        """The number of a column given by name or number."""
        if isinstance(column, str):
            if self.names is None:
                raise UsageError(
                    f"{self.path} is read with header=False: give columns by number, not {column!r}"
                )
            if self.times[column] != 1:
                what = "no column" if column not in self.names else "more than one column"
                hint = did_you_mean(column, self.names)
                raise UsageError(f"{self.path} has {what} {column!r}; it has {', '.join(self.names)}{hint}")
            return self.place[column]
        if isinstance(column, bool) or not isinstance(column, int) or not -self.width <= column < self.width:
            raise UsageError(
                f"{self.path} has {self.width} columns, numbered from 0; there is no column {column!r}"
            )
        return column % self.width

    def blocks(self) -> Iterator[tuple[list[int], list[list[str]]]]:
        """Line numbers and rows, at most `_BLOCK_ROWS` at once."""
        lines: list[int] = []
        block: list[list[str]] = []
        if self.first is not None:
            lines, block = [self.first_line], [self.first]
        for row in self.rows:
            if len(row) != self.width:
                raise DataError(
                    f"{self.path}, line {self.reader.line_num}: {self.width} columns were expected (as in "
                    f"the first row) but {len(row)} came: {','.join(row)[:80]!r}; "
                    "mend that line or copy the file again"
                )
            lines.append(self.reader.line_num)
            block.append(row)
            if len(block) == _BLOCK_ROWS:
                yield lines, block
                lines, block = [], []
        if block:
            yield lines, block


@contextlib.contextmanager
def _text(path: Path) -> Iterator[tuple[IO[str], Callable[[], None]]]:
    """The file as text, decompressed by its suffix, and what shows how much of it has been read.

    What goes wrong while reading becomes a `DataError`.
    """
    unpack: Any = {".gz": gzip.open, ".xz": lzma.open}.get(path.suffix, contextlib.nullcontext)
    with open_file(path) as raw, unpack(raw) as opened:
        size = os.fstat(raw.fileno()).st_size
        try:
            with progress(f"reading {path.name}", size) as show:
                yield io.TextIOWrapper(opened, encoding="utf-8-sig", newline=""), lambda: show(raw.tell())
        except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
            raise DataError(f"{path} is damaged or truncated: {error}; copy it again") from error
        except UnicodeDecodeError as error:
            raise DataError(f"{path} is no UTF-8 text: {error}; convert it to UTF-8") from error
        except stdlib_csv.Error as error:
            raise DataError(f"{path} is no CSV file: {error}; check the delimiter and the quotes") from error
