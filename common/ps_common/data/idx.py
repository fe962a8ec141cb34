"""The IDX format, in which MNIST is published: a magic number, the dimensions, then the bare numbers.

Format: LeCun, Cortes and Burges, "The MNIST database of handwritten digits". Bytes 0-1 are 0, byte 2 is
the type, byte 3 the number of dimensions; then each dimension as a big-endian uint32, then the values,
big-endian, last dimension fastest. Plain files are mapped, gzip ones read into memory.
"""

import gzip
import math
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from ps_common.arrays import HostArray
from ps_common.data.npy_file import StrPath, open_file
from ps_common.errors import DataError

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: StrPath) -> HostArray:
    """The array in an IDX file, read-only; mapped from a plain file, in memory from a gzip one.

    Raises `DataError` for a missing file, another magic number, a cut header or any number of bytes but
    the one the header asks for.
    """
    file = Path(path).absolute()
    with open_file(file) as raw:
        if raw.read(2) == b"\x1f\x8b":  # gzip's own magic number (RFC 1952); the name need not end in .gz
            raw.seek(0)
            try:
                content = gzip.GzipFile(fileobj=raw).read()
            except (EOFError, OSError, zlib.error) as error:
                raise DataError(f"{file} is damaged or truncated: {error}; copy it again") from error
            dtype, shape, start = _header(file, content[: 4 + 4 * 255])
            _check_bytes(file, start + math.prod(shape) * dtype.itemsize, len(content))
            return np.frombuffer(content, dtype, offset=start).reshape(shape)
        raw.seek(0)
        dtype, shape, start = _header(file, raw.read(4 + 4 * 255))
        _check_bytes(file, start + math.prod(shape) * dtype.itemsize, os.fstat(raw.fileno()).st_size)
    if math.prod(shape) == 0:
        return np.empty(shape, dtype)
    return np.memmap(file, dtype, "r", start, shape)


def _header(path: Path, head: bytes) -> tuple[np.dtype[Any], tuple[int, ...], int]:
    """dtype, shape and the number of header bytes."""
    if len(head) < 4:
        raise DataError(
            f"{path} should begin with 4 bytes of magic number but has {len(head)} bytes; copy it again"
        )
    code, dimensions = head[2], head[3]
    if head[:2] != b"\0\0" or code not in _TYPES or dimensions == 0:
        raise DataError(
            f"{path} is no IDX file: it begins with {head[:4].hex(' ')}, expected 00 00, a type "
            f"({', '.join(f'{c:02x}' for c in _TYPES)}) and at least 01 dimensions"
        )
    start = 4 + 4 * dimensions
    if len(head) < start:
        raise DataError(
            f"{path} should have {start} bytes of header for {dimensions} dimensions but has {len(head)}; "
            "copy it again"
        )
    shape = tuple(int(n) for n in np.frombuffer(head[4:start], ">u4"))
    return np.dtype(_TYPES[code]), shape, start


def _check_bytes(path: Path, expected: int, actual: int) -> None:
    if expected != actual:
        raise DataError(
            f"{path} should have {expected} bytes by its header but has {actual}: "
            f"it is {'truncated' if actual < expected else 'too long'}; copy it again"
        )
