"""Samples in any object with `len()` and `[]`: a data set of PyTorch or Hugging Face, a list of tuples.

It decides how an item becomes x and y: which part of it, and as which array. Shapes and dtypes are those of
the first item, and every other one is held to them when it is read. The object stays where it is.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from ps_common.arrays import HostArray
from ps_common.data.source import Rows, Source, check_column, check_rows
from ps_common.data.table import converted, did_you_mean, number_type
from ps_common.errors import DataError, JobCodeError, UsageError
from ps_common.fields import Field
from ps_common.vocabulary import Plain

Key = str | int


class Indexed(Protocol):
    """What is asked of the object; `__getitems__(list of numbers)`, where it has it, is used for speed."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Any: ...


def items(
    of: Indexed,
    x: Key | None = None,
    y: Key | None = None,
    *,
    dtype: str | None = None,
    y_dtype: str | None = None,
) -> Source:
    """Samples that are the items of an object, `of[0]` to `of[len(of) - 1]`.

    An item is a tuple, of which 0 is x and 1 is y unless `x` and `y` say otherwise; a dict, of which `x` and
    `y` name the keys (y=None: no targets); or anything else, which is x itself. x and y are numbers,
    arrays, images or nested lists: whatever `numpy.asarray` takes, on the host. All have the shape and dtype
    of the first; with `dtype` and `y_dtype` they are converted, where the numbers fit.

    An item must be the same each time it is asked for: random changes of a sample belong into the
    model. The items cannot be opened on another machine: let the master send them (stream mode).

    >>> train = items(torchvision.datasets.MNIST("."), dtype="float32")  # doctest: +SKIP
    >>> train = items(datasets.load_dataset("mnist")["train"], "image", "label")  # doctest: +SKIP

    Raises `UsageError` for an object without length or a key that its items lack, `DataError` for an
    item that is no numbers or unlike the first, `JobCodeError` where the object itself raises.
    """
    return _Items(of, x, y, dtype, y_dtype)


class _Items(Source):
    def __init__(
        self, of: Indexed, x: Key | None, y: Key | None, dtype: str | None, y_dtype: str | None
    ) -> None:
        self._of = of
        self._what = f"the {type(of).__name__} of the job"
        if not hasattr(of, "__len__") or not hasattr(of, "__getitem__"):
            raise UsageError(
                f"{self._what} needs len() and []; read a stream of samples into a list or a file first"
            )
        self.samples = len(of)
        if self.samples < 1:
            raise DataError(f"{self._what} has no items; at least one sample is needed")
        (first,) = self._get([0])
        self._keys = _keys(first, x, y)
        self._types = {
            "x": None if dtype is None else number_type(dtype, "dtype"),
            "y": None if y_dtype is None else number_type(y_dtype, "y_dtype"),
        }
        parts = self._parts(0, first)
        for name, values in parts.items():
            check_column(name, values[None], f"item 0 of {self._what}")
        self.fields = tuple(Field(name, values.dtype.name, values.shape) for name, values in parts.items())

    def read(self, rows: Rows) -> tuple[HostArray, ...]:
        check_rows(rows, self.samples)
        wanted = list(range(*rows.indices(self.samples)) if isinstance(rows, slice) else rows.tolist())
        out = tuple(np.empty((len(wanted), *field.shape), field.dtype) for field in self.fields)
        for place, (index, item) in enumerate(zip(wanted, self._get(wanted), strict=True)):
            parts = self._parts(index, item)
            for field, values in zip(self.fields, out, strict=True):
                part = parts[field.name]
                if part.shape != field.shape or part.dtype.name != field.dtype:
                    came = Field(field.name, part.dtype.name, part.shape)
                    raise DataError(
                        f"item {index} of {self._what} has {came}, but item 0 has {field}; all samples must "
                        "be alike: crop, pad or convert them, or give dtype= and y_dtype="
                    )
                values[place] = part
        return out

    def plain(self) -> dict[str, Plain]:
        return {"kind": "items"}

    def _get(self, wanted: list[int]) -> Sequence[Any]:
        """The items of these numbers. Raises `JobCodeError` for what the object raises."""
        index = wanted[:1]
        try:
            if len(wanted) > 1 and hasattr(self._of, "__getitems__"):
                index = wanted
                return list(self._of.__getitems__(wanted))
            got = []
            for one in wanted:
                index = [one]
                got.append(self._of[one])
        except Exception as error:
            which = f"item {index[0]}" if len(index) == 1 else f"{len(index)} items from {index[0]} on"
            raise JobCodeError(f"{self._what} raised {type(error).__name__} for {which}: {error}") from error
        return got

    def _parts(self, index: int, item: Any) -> dict[str, HostArray]:
        """x and y of an item as arrays."""
        parts = {}
        for name, key in self._keys.items():
            where = f"item {index} of {self._what}" + ("" if key is None else f", {key!r}")
            try:
                part = item if key is None else item[key]
            except (KeyError, IndexError, TypeError) as error:
                raise DataError(
                    f"{where}, is not there, as it is in item 0; all items must be alike"
                ) from error
            parts[name] = _array(part, self._types[name], where)
        return parts


def _keys(item: Any, x: Key | None, y: Key | None) -> dict[str, Key | None]:
    """Which part of an item is x and which is y, where there is one."""
    if isinstance(item, Mapping):
        if x is None:
            raise UsageError(
                f"the items are dicts with {', '.join(map(repr, item))}: say which are x and y, for example "
                f"data.items(samples, x={next(iter(item), 'image')!r}, y='label')"
            )
        keys = {"x": x} if y is None else {"x": x, "y": y}
        for key in keys.values():
            if key not in item:
                known = [str(one) for one in item]
                raise UsageError(
                    f"the items have no {key!r}; they have {', '.join(known)}{did_you_mean(key, known)}"
                )
        return dict(keys)
    if not isinstance(item, tuple):
        if x is not None or y is not None:
            raise UsageError(
                f"the items are {type(item).__name__}, neither tuples nor dicts: there is no x={x!r}, y={y!r}"
            )
        return {"x": None}
    keys = {"x": 0 if x is None else x, "y": 1 if y is None else y}
    if len(item) == 1 and y is None:
        del keys["y"]
    for key in keys.values():
        if not isinstance(key, int) or not -len(item) <= key < len(item):
            raise UsageError(f"the items are tuples of {len(item)}; there is no {key!r} in them")
    return dict(keys)


def _array(part: Any, dtype: np.dtype[Any] | None, where: str) -> HostArray:
    """A part of an item as an array of numbers in native byte order."""
    try:
        values: HostArray = np.asarray(part)
    except Exception as error:  # of any library: a tensor on a GPU or one that wants gradients, a ragged list
        raise DataError(
            f"{where} is a {type(part).__name__}, which NumPy cannot take: {error}; give arrays on the host"
        ) from error
    if values.dtype.kind not in "biufc":
        raise DataError(
            f"{where} is a {type(part).__name__} (dtype {values.dtype}), not numbers; convert it in the data "
            "set"
        )
    if dtype is None:
        return values.astype(values.dtype.newbyteorder("="), copy=False)
    fits = converted(values, dtype)
    if fits is None:
        raise DataError(f"{where} holds numbers that are no {dtype}; ask for another dtype")
    return fits
