"""Arrays that a user brings, of any library with DLPack, as parts of one flat vector.

Each is looked at anew whenever it is read or written: so its library can finish what it has begun with it,
and it may lie elsewhere than the last time. Nothing is kept.
"""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np

from ps_common.arrays import Array, Device, HostArray, cupy, to_device, to_host, xp_of
from ps_common.errors import DataError, UsageError
from ps_common.layout import DTYPES, Entry, Layout

ON_HOST = (1, 3)  # DLPack's kDLCPU and kDLCUDAHost
IMMUTABLE = ("jax", "jaxlib")


class Brought:
    """One array, a list or tuple of them, or a dict by name; their layout.

    Names are the dict's, else "0", "1", ...; one array alone is called "0". Raises `UsageError` for what is
    no array of real numbers, or cannot be seen.
    """

    def __init__(self, arrays: Any) -> None:
        self._arrays = _named(arrays)
        self._views = {name: _view(name, array) for name, array in self._arrays.items()}
        self.layout = Layout(Entry(name, tuple(v.shape), v.dtype.name) for name, v in self._views.items())

    def require_writable(self) -> None:
        """Raise `UsageError` for an array that cannot be changed in place."""
        for name, array in self._arrays.items():
            is_immutable = type(array).__module__.split(".")[0] in IMMUTABLE
            if is_immutable or (
                isinstance(self._views[name], np.ndarray) and not _is_writable(self._views[name])
            ):
                raise UsageError(
                    f"array {name} (a {type(array).__name__}) cannot be changed in place; paramserver.jax is "
                    "for JAX, and pull() without arrays returns new ones"
                )

    def require_finite(self) -> None:
        """Raise `DataError` for an array that holds what is no number."""
        for name, view in self._views.items():
            if not _is_finite(view):
                raise DataError(
                    f"array {name} holds NaN or infinity; the learning rate may be too high, or data wrong"
                )

    def copy_to(self, vector: HostArray) -> None:
        """Write every array to its part of a flat vector on the host."""
        for name, part in self.layout.views(vector).items():
            view = self._views[name]
            if xp_of(view) is np:
                part[...] = view
            else:
                to_host(xp_of(view).ascontiguousarray(view), out=part)

    def copy_from(self, vector: HostArray) -> None:
        """Write every part of a flat vector to its array."""
        for name, part in self.layout.views(vector).items():
            view = self._views[name]
            if xp_of(view) is np:
                view[...] = part
            else:
                view[...] = to_device(part, Device(view.device.id))
                xp_of(view).cuda.get_current_stream().synchronize()  # others see it whole


def like(arrays: Any, layout: Layout, vector: HostArray) -> Any:
    """New NumPy arrays with the values of a flat vector, held as `arrays` were: one, a list, a dict."""
    made = {name: view.copy() for name, view in layout.views(vector).items()}
    if isinstance(arrays, Mapping):
        return {name: made[name] for name in arrays}
    if isinstance(arrays, list | tuple):
        return type(arrays)(made[str(i)] for i in range(len(arrays)))
    return made["0"]


def _named(arrays: Any) -> dict[str, Any]:
    if isinstance(arrays, Mapping):
        wrong = [name for name in arrays if not (isinstance(name, str) and 0 < len(name) <= 512)]
        if wrong:
            raise UsageError(f"arrays are named by strings of 1 to 512 characters, not by {wrong[0]!r}")
        named = dict(arrays)
    elif isinstance(arrays, list | tuple):
        named = {str(i): array for i, array in enumerate(arrays)}
    else:
        named = {"0": arrays}
    if not named:
        raise UsageError("there are no arrays")
    return named


def _view(name: str, array: Any) -> Array:
    """An array as NumPy or CuPy see it where it lies."""
    if isinstance(array, np.ndarray):
        view: Array = array
    elif hasattr(array, "__dlpack__") and hasattr(array, "__dlpack_device__"):
        view = _imported(name, array.detach() if hasattr(array, "detach") else array)
    else:
        raise UsageError(
            f"array {name} is a {type(array).__name__}; give arrays of NumPy, CuPy, PyTorch or another "
            "library with DLPack, in a list or a dict if there are several"
        )
    if view.dtype.name not in DTYPES or not view.dtype.isnative:
        raise UsageError(f"array {name} is {view.dtype}; what is averaged is {', '.join(DTYPES)}")
    return view


def _imported(name: str, array: Any) -> Array:
    kind, index = array.__dlpack_device__()
    try:
        if int(kind) in ON_HOST:
            view = np.from_dlpack(array)
            if not _is_writable(view) and hasattr(
                array, "numpy"
            ):  # DLPack before 1.0 cannot say that it may be
                view = np.asarray(array.numpy())
            return view
        module = cupy()
        if module is None:
            raise UsageError(f"array {name} lies on device {index} of kind {kind}; install CuPy to reach it")
        with module.cuda.Device(index):
            return module.from_dlpack(array)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        raise UsageError(f"array {name} (a {type(array).__name__}) cannot be seen: {error}") from error


def _is_finite(values: Array) -> bool:
    """Whether there is no NaN and no infinity. The sum of squares tells, in one pass, unless it overflows."""
    xp = xp_of(values)
    with np.errstate(over="ignore", invalid="ignore"), values.device if xp is not np else nullcontext():
        flat = values.reshape(-1)
        return bool(xp.isfinite(xp.dot(flat, flat)) or xp.isfinite(flat).all())


def _is_writable(view: HostArray) -> bool:
    return bool(view.flags.writeable)
