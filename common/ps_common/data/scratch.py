"""Memory for samples decoded from a file: ordinary up to a size, beyond it a mapped file without a name.

A nameless file cannot be left behind, whatever is killed, and the kernel writes its pages out and drops them
when memory runs short. Two processes that decode the same file each have their own.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs

from ps_common.arrays import HostArray
from ps_common.errors import DataError

HELD_BYTES = 64 << 20  # what every process may hold in memory without anybody asking why


def allocate(shape: tuple[int, ...], dtype: np.dtype[Any], folder: Path | None = None) -> HostArray:
    """An array to fill; from `HELD_BYTES` on in `folder` (None: the user's cache), else in memory.

    The disk space is taken at once. Raises `DataError` where there is not enough of it.
    """
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if size <= HELD_BYTES:
        return np.empty(shape, dtype)
    place = folder or platformdirs.user_cache_path("paramserver") / "decoded"
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place) as file:
            os.posix_fallocate(file.fileno(), 0, size)  # a full disk is an error here, and a SIGBUS later
            return np.memmap(file, dtype, "r+", 0, shape)
    except OSError as error:
        raise DataError(
            f"decoded samples take {size} bytes in {place}: {error.strerror}; free space there or choose "
            "another folder with scratch="
        ) from error
