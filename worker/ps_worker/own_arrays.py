"""The arrays of a class of the user's own: which there are, and how values get into them and out.

They may be of NumPy, CuPy, PyTorch or whatever else NumPy can look at. The class is asked for them anew
whenever they are read or written, so that it may put others in their place. What the values mean and
when they are exchanged is the replica's affair.
"""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from ps_common.arrays import Array, HostArray, to_host, xp_of
from ps_common.errors import JobCodeError, UsageError
from ps_common.layout import DIMENSIONS_MAX, Entry

METHODS = {"parameters": "weight", "buffers": "buffer", "state": "slot"}  # and the role of what they give
STATE = "state."  # how those of `state` are called in the layout, beside parameters of the same names
DTYPES = ("float32", "float64")


class OwnArrays:
    """The arrays of `model` by their names in a layout. `entries`: what there is.

    Raises `UsageError` for what cannot be averaged: nothing, other dtypes, names or memory met twice.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._called = type(model).__name__
        self._takes_values = callable(getattr(model, "load", None))
        self.entries: dict[str, Entry] = {}
        arrays = {method: self._given(method) for method in METHODS}
        if not arrays["parameters"]:
            raise UsageError(f"{self._called}.parameters() gives no arrays: there is nothing to train")
        for method, given in arrays.items():
            for name, array in given.items():
                self._enter(method, name, array)
        if not self._takes_values:
            self._require_writable({k: v for given in arrays.values() for k, v in given.items()})

    def read(self, into: Mapping[str, Array]) -> None:
        """Copy the values of the arrays that are named in `into`."""
        missing = dict.fromkeys(into)
        for method in METHODS:
            for name, array in self._given(method).items():
                if (view := into.get(_key(method, name))) is not None:
                    self._check_shape(method, name, array)
                    view[...] = _look(array)
                    del missing[_key(method, name)]
        if missing:
            entry = self.entries[next(iter(missing))]
            method = next(method for method, role in METHODS.items() if role == entry.role)
            raise JobCodeError(f"{self._called}.{method}() gives {entry} no more; names and shapes must stay")

    def write(self, values: Mapping[str, HostArray]) -> None:
        """Copy values into the arrays that are named; others stay as they are."""
        if self._takes_values:
            given: dict[str, dict[str, HostArray]] = {role: {} for role in METHODS.values()}
            for key, value in values.items():
                role = self.entries[key].role
                given[role][key.removeprefix(STATE) if role == "slot" else key] = value
            self._model.load(*given.values())
            return
        for method in METHODS:
            for name, array in self._given(method).items():
                if _key(method, name) in values:
                    self._check_shape(method, name, array)
                    _write(array, values[_key(method, name)])

    def _given(self, method: str) -> dict[str, Any]:
        """What a method gives, by name; nothing where the class has no such method."""
        ask = getattr(self._model, method, None)
        given = ask() if ask is not None else {}
        if isinstance(given, list | tuple):
            given = {str(i): array for i, array in enumerate(given)}
        if not isinstance(given, Mapping):
            raise UsageError(
                f"{self._called}.{method}() must give a dict from names to arrays, or a list of arrays, "
                f"not a {type(given).__name__}"
            )
        return dict(given)

    def _enter(self, method: str, name: Any, array: Any) -> None:
        where = f"{self._called}.{method}(): {name}"
        if not isinstance(name, str) or not 0 < len(name) <= 500 or name == "__metadata__":
            raise UsageError(f"{where!r}: a name must be a text of 1 to 500 characters")
        shape, dtype = _shape(array, where), _dtype(array)
        if dtype not in DTYPES:
            raise UsageError(
                f"{where} {shape} is {dtype}; what is averaged must be float32 or float64: keep weights so, "
                "and cast where you compute"
            )
        if len(shape) > DIMENSIONS_MAX:
            raise UsageError(f"{where} has {len(shape)} dimensions, more than {DIMENSIONS_MAX}")
        key = _key(method, name)
        if key in self.entries:
            raise UsageError(
                f"{where} {shape}: the name stands in {self.entries[key]} already; give it another"
            )
        self.entries[key] = Entry(key, shape, dtype, METHODS[method])

    def _require_writable(self, arrays: dict[str, Any]) -> None:
        """No two may lie in the same memory, and each must be one that is written in place."""
        seen: list[tuple[int, str, HostArray]] = []
        for name, array in arrays.items():
            host = _in_place(array)
            if host is None:
                raise UsageError(
                    f"{self._called}: {name} {tuple(array.shape)} cannot be written in place; give the class "
                    "a method load(parameters, buffers, state) that takes new values"
                )
            if isinstance(host, np.ndarray):
                seen.append((host.__array_interface__["data"][0], name, host))
        for (_, one, a), (_, other, b) in itertools.pairwise(sorted(seen, key=lambda entry: entry[:2])):
            if np.shares_memory(a, b):
                raise UsageError(
                    f"{self._called}: {one} {a.shape} and {other} {b.shape} lie in the same memory; give "
                    "such an array once"
                )

    def _check_shape(self, method: str, name: str, array: Any) -> None:
        entry = self.entries.get(_key(method, name))
        shape, dtype = tuple(array.shape), _dtype(array)
        if entry is None or (shape, dtype) != (entry.shape, entry.dtype):
            raise JobCodeError(
                f"{self._called}.{method}(): {name} has become {shape} {dtype}; it began as "
                f"{entry or 'no array at all'}, and names, shapes and dtypes must stay"
            )


def _key(method: str, name: str) -> str:
    return f"{STATE}{name}" if method == "state" else name


def _shape(array: Any, where: str) -> tuple[int, ...]:
    if not hasattr(array, "shape") or not hasattr(array, "dtype"):
        raise UsageError(f"{where} is a {type(array).__name__}, not an array")
    return tuple(int(n) for n in array.shape)


def _dtype(array: Any) -> str:
    return str(array.dtype).removeprefix("torch.")


def _is_cupy(array: Any) -> bool:
    return type(array).__module__.split(".")[0] == "cupy"


def _look(array: Any) -> HostArray:
    """The values on the host: a view where that is possible."""
    if isinstance(array, np.ndarray) or _is_cupy(array):
        return to_host(array)
    return np.asarray(array.detach() if hasattr(array, "detach") else array)


def _in_place(array: Any) -> Array | None:
    """What to write into in order to write into an array; None where there is no such thing."""
    if _is_cupy(array):
        return array
    try:
        view = _look(array)
    except (TypeError, ValueError, RuntimeError):  # of a device that NumPy cannot see
        return None
    return view if view.flags.writeable and (view is array or not view.flags.owndata) else None


def _write(array: Any, value: HostArray) -> None:
    if _is_cupy(array):
        xp = xp_of(array)
        array[...] = xp.asarray(value)  # `array.set` takes contiguous arrays only
        xp.cuda.get_current_stream().synchronize()  # the class may compute on a stream of its own
    else:
        _look(array)[...] = value
