"""The data sets that are no samples yet: one text, and two tables of columns to make samples from.

They are handed over as they were published; windows, features and splits are the user's to choose.
"""

import array
import csv
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ps_common.arrays import HostArray
from ps_common.data.progress_bar import progress
from ps_common.datasets.cache import StrPath, fetch
from ps_common.datasets.catalogue import entry
from ps_common.errors import UsageError

_SHOWN_LINES = 1 << 14  # between two movements of the bar
_Table = dict[str, HostArray]


def text(name: str, *, cache: StrPath | None = None) -> str:
    """The text of a data set: "shakespeare" is 42 works, 5,057,198 characters of 84 kinds, end to end.

    The works follow each other in the order of their file names with nothing between them. Raises
    `UsageError` for a data set that is no text, and as `fetch` does.
    """
    _check_form(name, "text")
    (path,) = fetch(name, cache).values()
    return path.read_text(encoding="ascii")


def table(name: str, *, cache: StrPath | None = None) -> _Table:
    """The columns of a data set, each an array of shape (rows,), by name.

    "stocks", 12,154 rows: `ticker` str, `date` datetime64[D], `open` `high` `low` `close`
    `adjusted_close` float64, `volume` int64.

    "online-retail", 1,067,371 rows: `invoice` str (those with a C are cancellations), `stock_code` str,
    `quantity` int64, `time` datetime64[m], `price` float64, `customer` int64 (-1 where unknown),
    `country` str. The free text of each article is left out: it would take 150 MB. About 4 s.

    Raises `UsageError` for a data set that is no table, and as `fetch` does.
    """
    _check_form(name, "table")
    (path,) = fetch(name, cache).values()
    return _READERS[name](path)


def _check_form(name: str, form: str) -> None:
    wanted = entry(name)
    if wanted.form != form:
        raise UsageError(f"{name} is no {form}; read it with datasets.{wanted.form}({name!r})")


class _Column:
    """The cells of one column as text: each distinct one once, and its number in every row.

    Columns repeat themselves (a million order lines hold 48,000 moments), so a cell is kept and converted
    once: less than half the time and a third of the memory of lists of all cells.
    """

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.rows = array.array("i")

    def append(self, cell: str) -> None:
        self.rows.append(self.numbers.setdefault(cell, len(self.numbers)))

    def convert(self, to: Callable[[str], Any], dtype: npt.DTypeLike | None = None) -> HostArray:
        """The whole column, shape (rows,), each distinct cell converted by `to`."""
        values: HostArray = np.array([to(cell) for cell in self.numbers], dtype)
        return np.take(values, np.asarray(self.rows))


def _columns(path: Path) -> dict[str, _Column]:
    """The columns of a compressed CSV file by their names."""
    unpack: Any = lzma.open if path.suffix == ".xz" else gzip.open
    size = path.stat().st_size
    with (
        path.open("rb") as raw,
        unpack(raw, "rt", encoding="utf-8", newline="") as stream,
        progress(f"reading {path.name}", size) as show,
    ):
        rows = csv.reader(stream)
        columns = {name: _Column() for name in next(rows)}
        appends = [column.append for column in columns.values()]
        for row in rows:
            for append, cell in zip(appends, row, strict=True):
                append(cell)
            if rows.line_num % _SHOWN_LINES == 0:
                show(raw.tell())
    return columns


def _stocks(path: Path) -> _Table:
    columns = _columns(path)
    prices = {"open": "Open", "high": "High", "low": "Low", "close": "Close", "adjusted_close": "Adj Close"}
    return {
        "ticker": columns["Ticker"].convert(str),
        "date": columns["Date"].convert(str, "datetime64[D]"),
        **{name: columns[published].convert(float) for name, published in prices.items()},
        "volume": columns["Volume"].convert(int, np.int64),
    }


def _online_retail(path: Path) -> _Table:
    columns = _columns(path)
    return {
        "invoice": columns["Invoice"].convert(str),
        "stock_code": columns["StockCode"].convert(str),
        "quantity": columns["Quantity"].convert(int, np.int64),
        "time": columns["InvoiceDate"].convert(_minute, "datetime64[m]"),
        "price": columns["Price"].convert(float),
        "customer": columns["Customer ID"].convert(lambda cell: int(float(cell)) if cell else -1, np.int64),
        "country": columns["Country"].convert(str),
    }


def _minute(moment: str) -> np.datetime64:
    """A moment written like 12/1/2009 7:45: month, day, year, hour, minute."""
    date, clock = moment.split()
    month, day, year = map(int, date.split("/"))
    hour, minute = map(int, clock.split(":"))
    return np.datetime64(f"{year}-{month:02}-{day:02}T{hour:02}:{minute:02}", "m")


_READERS: dict[str, Callable[[Path], _Table]] = {"stocks": _stocks, "online-retail": _online_retail}
