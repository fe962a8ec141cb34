"""A stand-in for CuPy's arrays: NumPy computes, but only what CuPy takes, and without waiting.

An array of it is none of NumPy's. It raises where a host's array comes beside it, where a number would be
asked for (a GPU would be waited for then), and for what CuPy 13 and 14 do not know of half precision.
"""

import operator
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

ADDED_ATOMICALLY = ("int32", "uint32", "uint64", "float16", "float32", "float64")
ASKS = ("__bool__", "__float__", "__int__", "__index__", "item", "tolist")
OPERATORS = ("add", "sub", "mul", "truediv", "floordiv", "pow", "matmul", "and", "or", "xor")
COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne")


class Array:
    """On the device; `_there` is what it holds."""

    __array_ufunc__ = None  # a host's array beside it raises
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, there: Any) -> None:
        self._there = np.asarray(there)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _over(getattr(self._there, name))

    def __len__(self) -> int:
        return len(self._there)

    def __getitem__(self, key: Any) -> "Array":
        return Array(self._there[_place(key)])

    def __setitem__(self, key: Any, value: Any) -> None:
        self._there[_place(key)] = _back(value)

    def __neg__(self) -> "Array":
        return Array(-self._there)

    def __invert__(self) -> "Array":
        return Array(~self._there)

    def __abs__(self) -> "Array":
        return Array(abs(self._there))

    def get(self, out: np.ndarray | None = None) -> np.ndarray:
        assert out is None
        return self._there.copy()


class Cupy:
    """The module: any function of NumPy's, on these arrays."""

    __version__ = "14.0.1"
    add: Any
    cuda = SimpleNamespace(get_current_stream=lambda: SimpleNamespace(synchronize=lambda: None))

    def __init__(self) -> None:
        self.add = Adding()
        self.lib = SimpleNamespace(stride_tricks=_over(np.lib.stride_tricks))

    def __getattr__(self, name: str) -> Any:
        return _over(getattr(np, name))

    def asarray(self, array: Any, dtype: Any = None) -> Array:
        return Array(np.array(array._there if isinstance(array, Array) else array, dtype))

    def matmul(self, a: Array, b: Array, out: Array | None = None) -> Array:
        return _product(a, b, out)


class Adding:
    """`add`, and `add.at`, which adds atomically."""

    def __call__(self, *given: Any, **named: Any) -> Any:
        return _over(np.add)(*given, **named)

    def at(self, out: Array, indexes: Array, values: Any) -> None:
        if str(out.dtype) not in ADDED_ATOMICALLY:
            raise TypeError(f"cupy.add.at only supports {', '.join(ADDED_ATOMICALLY)}")
        np.add.at(out._there, indexes._there, _back(values))


def _product(a: Array, b: Array, out: Array | None = None) -> Array:
    if max(a.ndim, b.ndim) > 2 and "bfloat16" in (str(a.dtype), str(b.dtype)):
        raise TypeError("CuPy multiplies no stacks of matrices of bfloat16")
    product: Array = _over(np.matmul)(a, b, out=out)
    return product if out is not None else Array(product._there.astype(np.result_type(a.dtype, b.dtype)))


def _back(value: Any) -> Any:
    """What NumPy computes with in the place of what was given."""
    if isinstance(value, Array):
        return value._there
    if isinstance(value, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    if isinstance(value, tuple | list):
        return type(value)(map(_back, value))
    return value


def _place(key: Any) -> Any:
    """An index; how many numbers a mask chooses, the host would wait to hear."""
    parts = key if isinstance(key, tuple) else (key,)
    assert not any(isinstance(part, Array) and part.dtype == bool for part in parts), "a mask as index waits"
    return _back(key)


def _over(what: Any) -> Any:
    """Arrays and functions of NumPy's as those of the device; all else as it is."""
    if isinstance(what, np.ndarray | np.generic):
        return Array(what)
    if isinstance(what, tuple | list):
        return type(what)(map(_over, what))
    if isinstance(what, type) or not callable(what):
        if getattr(what, "__name__", "") == "numpy.lib.stride_tricks":
            return SimpleNamespace(as_strided=_over(what.as_strided))
        return what

    def function(*given: Any, **named: Any) -> Any:
        result = what(*map(_back, given), **{key: _back(value) for key, value in named.items()})
        return named["out"] if named.get("out") is not None else _over(result)

    return function


def _define(name: str, method: Callable[..., Any]) -> None:
    setattr(Array, name, method)


def _define_operators() -> None:
    for name in OPERATORS:
        if name == "matmul":
            _define("__matmul__", _product)
            continue
        plain = getattr(operator, f"__{name}__")
        in_place = getattr(operator, f"__i{name}__")
        _define(f"__{name}__", lambda a, b, plain=plain: Array(plain(a._there, _back(b))))
        _define(f"__r{name}__", lambda a, b, plain=plain: Array(plain(_back(b), a._there)))
        _define(f"__i{name}__", lambda a, b, in_place=in_place: _kept(a, in_place, b))
    for name in COMPARISONS:
        compare = getattr(operator, name)
        _define(f"__{name}__", lambda a, b, compare=compare: Array(compare(a._there, _back(b))))
    for name in ASKS:
        _define(name, _refuse)


def _kept(array: Array, in_place: Callable[[Any, Any], Any], value: Any) -> Array:
    part = array._there[...]  # an array even where it has no axes
    in_place(part, _back(value))
    return array


def _refuse(array: Array, *given: Any) -> Any:
    raise AssertionError("the host would wait for a number of the device")


_define_operators()
