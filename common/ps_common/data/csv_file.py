"""Samples in a CSV file, plain or compressed with gzip or xz: parsed once, held in memory as numbers.

It decides which columns are x and y and refuses any cell that is not the number asked for, naming file,
line, column and the text. It does not guess types, fill gaps or translate text labels.
"""

import contextlib
import csv as stdlib_csv
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from ps_common.arrays import HostArray
from ps_common.data.npy_file import StrPath, open_file
from ps_common.data.source import Columns, Source
from ps_common.errors import DataError, UsageError
from ps_common.vocabulary import Plain

Column = str | int
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
) -> Source:
    """Samples in the rows of a CSV file (UTF-8; `.gz` and `.xz` are decompressed).

    x, shape (columns,) of `dtype`, is made of the columns in `x`: names (with `header=True`) or numbers
    from 0, or from -1 backwards; None takes all but y. y, shape () of `y_dtype`, is one column; None for
    none. The types are integers or floats; "nan" and "inf" are floats, "3.0" is the integer 3, an empty
    cell is an error, blank lines are skipped. Every row must have as many cells as the first.

    Raises `DataError` for a file that is missing, damaged or holds a wrong cell, `UsageError` for a
    column, delimiter or dtype that cannot be.
    """
    file = Path(path).absolute()
    types = [_number_type(dtype, "dtype"), _number_type(y_dtype, "y_dtype")]
    if not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '"\r\n':
        raise UsageError(
            f"delimiter must be one character other than a quote or a line end, not {delimiter!r}"
        )
    with _text(file) as stream:
        x_values, y_values = _Table(file, stream, header, delimiter).read(x, y, *types)
    description: dict[str, Plain] = {
        "kind": "csv",
        "path": str(file),
        "x": None if x is None else list(x),
        "y": y,
        "header": header,
        "delimiter": delimiter,
        "dtype": types[0].name,
        "y_dtype": types[1].name,
    }
    return Columns(x_values, y_values, description, str(file))


class _Table:
    """The rows of one open file: knows the column names and the line number of each row."""

    def __init__(self, path: Path, stream: IO[str], header: bool, delimiter: str) -> None:
        self.path = path
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

    def read(
        self, x: Sequence[Column] | None, y: Column | None, x_type: np.dtype[Any], y_type: np.dtype[Any]
    ) -> tuple[HostArray, HostArray | None]:
        """x, shape (rows, columns), and y, shape (rows,) or None."""
        y_index = None if y is None else self.index(y)
        if x is None:
            x_indexes = [i for i in range(self.width) if i != y_index]
        elif isinstance(x, str):
            raise UsageError(f"x must be a list of columns, not the text {x!r}; write [{x!r}]")
        else:
            x_indexes = [self.index(column) for column in x]
        if not x_indexes:
            raise UsageError(f"{self.path}: no column is left for x; name at least one")
        x_parts, y_parts = [], []
        for lines, block in self.blocks():
            x_parts.append(self.numbers(lines, block, x_indexes, x_type))
            if y_index is not None:
                y_parts.append(self.numbers(lines, block, [y_index], y_type)[:, 0])
        if not x_parts:
            raise DataError(
                f"{self.path} has a header but no rows; at least one sample is needed: write it again"
            )
        return np.concatenate(x_parts), np.concatenate(y_parts) if y_parts else None

    def index(self, column: Column) -> int:
        """The number of a column given by name or number."""
        if isinstance(column, str):
            if self.names is None:
                raise UsageError(
                    f"{self.path} is read with header=False: give columns by number, not {column!r}"
                )
            if self.names.count(column) != 1:
                what = "no column" if column not in self.names else "more than one column"
                raise UsageError(f"{self.path} has {what} {column!r}; it has {', '.join(self.names)}")
            return self.names.index(column)
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

    def numbers(
        self, lines: list[int], block: list[list[str]], indexes: list[int], dtype: np.dtype[Any]
    ) -> HostArray:
        """The cells of some columns as numbers, shape (rows, columns)."""
        picked = block if indexes == list(range(self.width)) else [[row[i] for i in indexes] for row in block]
        values = _parsed(picked, dtype)
        if values is not None:
            return values
        for line, row in zip(lines, picked, strict=True):  # one is wrong: find it
            for index, text in zip(indexes, row, strict=True):
                if _parsed(text, dtype) is None:
                    name = f" ({self.names[index]!r})" if self.names is not None else ""
                    raise DataError(
                        f"{self.path}, line {line}, column {index}{name}: {text[:80]!r} is no {dtype}; "
                        "mend that cell, leave the column out or ask for another dtype"
                    )
        raise AssertionError("a block of cells failed that are all right one by one")


def _parsed(cells: Any, dtype: np.dtype[Any]) -> HostArray | None:
    """Text as numbers of a type, or None where one is none or does not fit. "3.0" is the integer 3."""
    if dtype.kind == "f":
        wide = _read_as(np.dtype("float64"), cells)
    else:
        wide = _read_as(np.dtype("uint64" if dtype == "uint64" else "int64"), cells)
        if wide is None:  # whole numbers written as floats, exact up to 2**53
            wide = _read_as(np.dtype("float64"), cells)
            if wide is None or not (np.abs(wide) <= 2**53).all():
                return None
    if wide is None:
        return None
    try:
        with np.errstate(over="raise", invalid="raise"):
            values = wide.astype(dtype)
    except FloatingPointError:
        return None
    return values if dtype.kind == "f" or np.array_equal(values, wide) else None


def _read_as(dtype: np.dtype[Any], cells: Any) -> HostArray | None:
    try:
        return np.array(cells, dtype=dtype)
    except (ValueError, OverflowError):
        return None


def _number_type(name: str, setting: str) -> np.dtype[Any]:
    try:
        dtype = np.dtype(name)
    except TypeError:
        dtype = np.dtype(object)
    if dtype.kind not in "iuf" or not dtype.isnative or dtype.itemsize > 8:
        raise UsageError(
            f"{setting} must be an integer or float type such as 'float32' or 'int64', not {name!r}"
        )
    return dtype


@contextlib.contextmanager
def _text(path: Path) -> Iterator[IO[str]]:
    """The file as text, decompressed by its suffix; what goes wrong while reading becomes a `DataError`."""
    unpack: Any = {".gz": gzip.open, ".xz": lzma.open}.get(path.suffix, contextlib.nullcontext)
    with open_file(path) as raw, unpack(raw) as opened:
        try:
            yield io.TextIOWrapper(opened, encoding="utf-8-sig", newline="")
        except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
            raise DataError(f"{path} is damaged or truncated: {error}; copy it again") from error
        except UnicodeDecodeError as error:
            raise DataError(f"{path} is no UTF-8 text: {error}; convert it to UTF-8") from error
        except stdlib_csv.Error as error:
            raise DataError(f"{path} is no CSV file: {error}; check the delimiter and the quotes") from error
