"""NumPy or CuPy: the only place that imports cupy, and the two named ways between host and device.

Everything else works on whichever module its arrays come from: `xp = xp_of(x)`.
"""

import dataclasses
import functools
import re
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from ps_common.errors import UsageError

Array = Any  # numpy.ndarray or cupy.ndarray: the same code serves both
HostArray = npt.NDArray[Any]


@functools.cache
def cupy() -> ModuleType | None:
    """CuPy, if it is installed and finds a device; None otherwise."""
    try:
        import cupy as module
    except ImportError:
        return None
    try:
        return module if module.cuda.runtime.getDeviceCount() > 0 else None
    except module.cuda.runtime.CUDARuntimeError:
        return None


def xp_of(array: Array) -> Any:
    """The module an array belongs to: numpy or cupy."""
    return np if is_on_host(array) else cupy()


def is_on_host(array: Array) -> bool:
    """Whether an array is NumPy's."""
    return isinstance(array, np.ndarray | np.generic)


@functools.cache
def kernel(name: str, reads: str, writes: str, body: str) -> Any:
    """One pass over vectors on a GPU, where the steps of a formula one by one would each read and write all.

    body: CUDA C++ for the element of index `i`. reads, writes: the names in it with their types, as
    `cupy.ElementwiseKernel` has them: `T g` is the element of an array or a number, T the type of the
    arrays; `raw T x` a whole array, read as `x[0]`. What is written may be read as well. The kernel is
    called with all of them in this order, and only where there is CuPy; it is compiled once, and kept.

        kernel("sgd", "T g, T rate", "T w", "w -= rate * g")(gradient, 0.1, weights)
    """
    module = cupy()
    assert module is not None, "arrays that are not NumPy's are CuPy's"
    return module.ElementwiseKernel(reads, writes, body, f"paramserver_{name}")


def to_host(array: Array, out: HostArray | None = None) -> HostArray:
    """Copy device to host, into `out` if given; a host array is returned as it is."""
    return np.asarray(array) if xp_of(array) is np else np.asarray(array.get(out=out))


def to_device(array: HostArray, device: "Device") -> Array:
    """Copy host to the device; for the CPU the array is returned as it is."""
    return array if device.index is None else device.xp.asarray(array)


@dataclasses.dataclass(frozen=True)
class Device:
    """Where a replica computes: the CPU (`index` None) or one CUDA device."""

    index: int | None = None

    @property
    def xp(self) -> Any:
        return np if self.index is None else cupy()

    def __str__(self) -> str:
        return "cpu" if self.index is None else f"cuda:{self.index}"

    @property
    def model(self) -> str:
        """What the driver calls it, for people; empty for the CPU."""
        if self.index is None:
            return ""
        name = self.xp.cuda.runtime.getDeviceProperties(self.index)["name"]
        return name.decode(errors="replace") if isinstance(name, bytes) else str(name)

    def use(self) -> None:
        """Make this the current device of the calling thread."""
        if self.index is not None:
            self.xp.cuda.Device(self.index).use()

    def release(self) -> None:
        """Give the memory pools back to the driver."""
        if self.index is not None:
            self.xp.get_default_memory_pool().free_all_blocks()
            self.xp.get_default_pinned_memory_pool().free_all_blocks()


def devices(name: str) -> list[Device]:
    """Where the workers of one machine compute, in turn; `cuda`, and `auto` with a GPU: on all it has.

    Raises `UsageError`, as `device` does.
    """
    first = device(name)
    if first.index is None or ":" in name:
        return [first]
    return [Device(index) for index in range(int(first.xp.cuda.runtime.getDeviceCount()))]


def device(name: str) -> Device:
    """The device called `auto`, `cpu`, `cuda` or `cuda:i`. Raises `UsageError` where there is none."""
    if name == "cpu":
        return Device()
    module = cupy()
    if name == "auto":
        return Device() if module is None else Device(0)
    match = re.fullmatch(r"cuda(?::(\d+))?", name)
    if match is None:
        raise UsageError(f"device {name!r} is not known; use auto, cpu, cuda or cuda:0")
    if module is None:
        raise UsageError(
            f"device {name!r} was asked for, but CuPy finds no CUDA device here; "
            "install paramserver[cuda12] or [cuda13] and a driver, or use --device cpu"
        )
    index, count = int(match[1] or 0), int(module.cuda.runtime.getDeviceCount())
    if index >= count:
        raise UsageError(
            f"device {name!r} was asked for, but this machine has {count} (cuda:0 to cuda:{count - 1})"
        )
    return Device(index)
