"""Samples in .npy files, mapped into memory: rows are read from the disk only when they are asked for.

The header is read and the file's length checked against it before anything is mapped, so that a damaged
or truncated file is refused with both byte counts. Nothing in such a file is ever unpickled.
"""

import dataclasses
import math
import os
import tokenize
from pathlib import Path
from typing import IO, Any

import numpy as np

from ps_common.arrays import HostArray
from ps_common.data.source import Columns, Source
from ps_common.errors import DataError
from ps_common.vocabulary import Plain

StrPath = str | os.PathLike[str]

# What NumPy lets out of its parser of headers, an expression of Python, when the bytes are not one.
_DAMAGED = (ValueError, TypeError, EOFError, OSError, SyntaxError, tokenize.TokenError)


@dataclasses.dataclass(frozen=True)
class NpyHeader:
    """What the head of an .npy stream says: the array's form and the bytes before and in its data."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran_order: bool
    header_bytes: int

    @property
    def data_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def npy(x_path: StrPath, y_path: StrPath | None = None) -> Source:
    """Samples in one .npy file, or in two: x of shape (n, ...) and y of shape (n,) or (n, ...).

    The files are mapped, not read, so they may be larger than memory; they must not change while a job
    runs. Raises `DataError` for a file that is missing, damaged, empty or holds anything but numbers.
    """
    x_file = Path(x_path).absolute()
    y_file = None if y_path is None else Path(y_path).absolute()
    description: dict[str, Plain] = {
        "kind": "npy",
        "x_path": str(x_file),
        "y_path": None if y_file is None else str(y_file),
    }
    origin = str(x_file) if y_file is None else f"{x_file} and {y_file}"
    return Columns(mapped(x_file), None if y_file is None else mapped(y_file), description, origin)


def read_header(stream: IO[bytes], origin: str) -> NpyHeader:
    """The header at the stream's position, which is then the start of the data. Raises `DataError`."""
    start = stream.tell()
    try:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
        elif version == (2, 0):
            shape, fortran_order, dtype = np.lib.format.read_array_header_2_0(stream)
        else:
            raise ValueError(
                f"npy format {version[0]}.{version[1]} is only needed for records, which are no samples"
            )
    except _DAMAGED as error:
        raise DataError(
            f"{origin} is no .npy file or its header is damaged: {error}; write it again with numpy.save"
        ) from error
    if dtype.hasobject:
        raise DataError(
            f"{origin} holds Python objects (dtype {dtype}), which are never loaded since they can run code; "
            "save an array of numbers instead"
        )
    if any(n < 0 for n in shape):
        raise DataError(f"{origin}: the header says shape {shape}; write the file again with numpy.save")
    return NpyHeader(shape, dtype, fortran_order, stream.tell() - start)


def map_array(path: Path, header: NpyHeader, offset: int) -> HostArray:
    """The array whose data begin `offset` bytes into the file, mapped read-only (empty ones are made)."""
    if header.data_bytes == 0:
        return np.empty(header.shape, header.dtype)
    order = "F" if header.fortran_order else "C"
    return np.memmap(path, header.dtype, "r", offset, header.shape, order)  # type: ignore[call-overload,no-any-return]


def open_file(path: Path) -> IO[bytes]:
    """Open to read bytes. Raises `DataError` that says what to do where that fails."""
    try:
        return path.open("rb")
    except OSError as error:
        raise DataError(
            f"cannot open {path}: {error.strerror}; a source is opened on every machine that uses it, "
            "so the file must be there too (or let the master send the data: stream mode)"
        ) from error


def mapped(path: Path) -> HostArray:
    """The array in an .npy file, mapped read-only. Raises `DataError` where the file is not whole."""
    with open_file(path) as stream:
        header = read_header(stream, str(path))
        actual = os.fstat(stream.fileno()).st_size
    expected = header.header_bytes + header.data_bytes
    if actual != expected:
        raise DataError(
            f"{path} should have {expected} bytes ({header.shape} {header.dtype} after {header.header_bytes} "
            f"bytes of header) but has {actual}: it is {'truncated' if actual < expected else 'too long'}; "
            "copy or save it again"
        )
    return map_array(path, header, header.header_bytes)
