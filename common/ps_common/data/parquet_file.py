"""Samples in Parquet files: decoded once, a few rows at a time, into arrays that any rows are read from.

Shuffled batches touch every row group, and a row group can only be decoded whole. To decode when a row is
asked for would be to decode a group a sample; so each is decoded once, when the source is opened. It
decides which columns are x and y. pyarrow (the extra `parquet`) does the decoding.
"""

import contextlib
import importlib.util
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ps_common.arrays import HostArray
from ps_common.data.arrow_column import ArrowColumn, Place
from ps_common.data.npy_file import StrPath, open_file
from ps_common.data.progress_bar import progress
from ps_common.data.scratch import allocate
from ps_common.data.table import (
    Categories,
    CategoriesOf,
    Table,
    check_missing,
    did_you_mean,
    number_type,
    pairs_of,
)
from ps_common.errors import DataError, UsageError
from ps_common.vocabulary import Plain

BATCH_BYTES = 8 << 20  # decoded rows held at once beside the arrays they are put into


def parquet(
    path: StrPath | Sequence[StrPath],
    x: Sequence[str] | None = None,
    y: str | None = None,
    *,
    dtype: str = "float32",
    y_dtype: str = "int64",
    categories: CategoriesOf | None = None,
    missing: float | None = None,
    scratch: StrPath | None = None,
) -> Table:
    """Samples in the rows of Parquet files; a folder is all its `*.parquet` files, in the order of names.

    x, shape (numbers,) of `dtype`, is the columns in `x`, one after another; None takes all but y. A column
    of lists, all of one length, gives a vector. y, shape () or (numbers,) of `y_dtype`, is one column; None
    for none. Numbers and truths are converted, dates become days since 1970-01-01. Text becomes ids:
    `categories` and `missing` (for nulls) are as in `data.csv`.

    Only these columns are read, a few MiB at a time. The samples are kept decoded: up to 64 MiB in memory,
    more in a nameless file in the folder `scratch` (None: the user's cache), as large as the samples.

    >>> train = parquet("trips.parquet", ["distance", "hour"], "fare", y_dtype="float32")  # doctest: +SKIP

    Raises `UsageError` where pyarrow is not installed, `DataError` for a file that is missing or damaged, a
    column that is not there or holds anything else, with the file, the row (from 0) and the column.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise UsageError(
            "Parquet files are read with pyarrow; install it: pip install 'paramserver[parquet]'"
        )
    if isinstance(x, str):
        raise UsageError(f"x must be a list of columns, not the text {x!r}; write [{x!r}]")
    files = _Files(_paths(path))
    types = [number_type(dtype, "dtype"), number_type(y_dtype, "y_dtype")]
    named = {column: Categories(column, names) for column, names in pairs_of(categories, "categories")}
    missing = check_missing(missing)
    x_columns, y_columns = files.columns(x, y, named)
    folder = None if scratch is None else Path(scratch).absolute()
    x_values = _Target(x_columns, types[0], files.samples, folder)
    y_values = _Target(y_columns, types[1], files.samples, folder) if y_columns else None
    columns = {column.name: column.width for column in (*x_columns, *y_columns)}
    with contextlib.closing(files.batches(set(columns), _rows_at_once(sum(columns.values())))) as batches:
        for at, place, batch in batches:
            for target in (x_values, y_values):
                if target is not None:
                    target.fill(at, batch, missing, place)
    for column, of in named.items():
        of.put_in_order([ids for t in (x_values, y_values) if t is not None for ids in t.ids_of(column)])
    description: dict[str, Plain] = {
        "kind": "parquet",
        "path": [str(file) for file in files.paths],
        "x": [column.name for column in x_columns],
        "y": y,
        "dtype": types[0].name,
        "y_dtype": types[1].name,
        "missing": missing,
    }
    y_array = None if y_values is None else y_values.array if y_columns[0].is_list else y_values.array[:, 0]
    return Table(x_values.array, y_array, description, files.origin, named)


class _Target:
    """The array that some columns are put into, one after another: shape (rows, numbers)."""

    def __init__(
        self, columns: list[ArrowColumn], dtype: np.dtype[Any], rows: int, folder: Path | None
    ) -> None:
        self.columns = columns
        self.array = allocate((rows, sum(column.width for column in columns)), dtype, folder)

    def fill(self, at: int, batch: Any, missing: float | None, place: Place) -> None:
        """Put the cells of a record batch into the rows from `at` on."""
        rows, left = self.array[at : at + batch.num_rows], 0
        for column in self.columns:
            cells = batch.column(column.name)
            rows[:, left : left + column.width] = column.numbers(cells, rows.dtype, missing, place)
            left += column.width

    def ids_of(self, name: object) -> list[HostArray]:
        """The columns of the array that hold a column of text, shape (rows,) each."""
        found, left = [], 0
        for column in self.columns:
            if column.name == name:
                found += [self.array[:, left + i] for i in range(column.width)]
            left += column.width
        return found


class _Files:
    """Parquet files whose columns agree; none is kept open. samples: the rows of all."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        self.origin = str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
        self._schemas, self._rows = [], []
        for path in paths:
            with _opened(path) as file:
                self._schemas.append(file.schema_arrow)
                self._rows.append(file.metadata.num_rows)
        self.samples = sum(self._rows)
        if not self.samples:
            raise DataError(f"{self.origin} has no rows; at least one sample is needed: write it again")

    def columns(
        self, x: Sequence[str] | None, y: str | None, named: Mapping[Any, Categories]
    ) -> tuple[list[ArrowColumn], list[ArrowColumn]]:
        """The columns of x and of y: all files have them, as the same type."""
        y_names = [] if y is None else [y]
        x_names = [name for name in self._schemas[0].names if name != y] if x is None else list(x)
        if not x_names:
            raise UsageError(f"{self.origin}: no column is left for x; name at least one")
        for unused in named.keys() - {*x_names, *y_names}:
            raise UsageError(f"column {unused!r} has categories but is not used, in x or as y")
        known = {name: self._column(name, named.get(name)) for name in (*x_names, *y_names)}
        lists = {name for name, column in known.items() if not column.width}
        if lists:  # how long they are, only the first row says
            with contextlib.closing(self.batches(lists, 1)) as batches:
                _, place, batch = next(batches)
            for name in lists:
                known[name].measure(batch.column(name), place)
        return [known[name] for name in x_names], [known[name] for name in y_names]

    def batches(self, names: set[str], rows: int) -> Generator[tuple[int, Place, Any], None, None]:
        """Some columns of all rows, at most `rows` in a record batch, each with the row it begins with."""
        at = 0
        with progress(f"reading {self.paths[0].name}", self.samples) as show:
            for path, schema in zip(self.paths, self._schemas, strict=True):
                first = at
                with _opened(path) as file:
                    columns = [name for name in schema.names if name in names]
                    for batch in file.iter_batches(rows, columns=columns):
                        yield at, Place(path, at - first), batch
                        at += batch.num_rows
                        show(at)

    def _column(self, name: str, categories: Categories | None) -> ArrowColumn:
        for path, schema in zip(self.paths, self._schemas, strict=True):
            if schema.names.count(name) != 1:
                what = "more than one" if name in schema.names else "no"
                raise DataError(
                    f"{path} has {what} column {name!r}; it has {', '.join(schema.names)}"
                    f"{did_you_mean(name, schema.names)}"
                )
            kind, first = schema.field(name).type, self._schemas[0].field(name).type
            if kind != first:
                raise DataError(
                    f"column {name!r} is {first} in {self.paths[0]} but {kind} in {path}; all files of a "
                    "source must agree: write one of them again"
                )
        return ArrowColumn(self.paths[0], name, first, categories)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A Parquet file; what goes wrong while reading becomes a `DataError`."""
    import pyarrow
    import pyarrow.parquet

    open_file(path).close()  # says what to do where that fails
    try:
        with pyarrow.parquet.ParquetFile(path, memory_map=True, pre_buffer=False) as file:
            yield file
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(
            f"{path} is no Parquet file, or damaged or truncated: {error}; copy it again"
        ) from error


def _rows_at_once(numbers: int) -> int:
    """As many rows as take `BATCH_BYTES`; not more than 65,536, as text takes more than the id it becomes."""
    return max(1, min(BATCH_BYTES // (8 * numbers), 1 << 16))


def _paths(path: StrPath | Sequence[StrPath]) -> list[Path]:
    paths: list[StrPath] = [path] if isinstance(path, str | os.PathLike) else list(path)
    given = [Path(one).absolute() for one in paths]
    files = [file for one in given for file in (sorted(one.glob("*.parquet")) if one.is_dir() else [one])]
    if not files:
        raise DataError(f"there is no *.parquet file in {', '.join(map(str, given)) or 'an empty list'}")
    return files
