"""Memory that one step gives back and the next one asks for again: the process keeps it in between.

glibc returns freed memory to the kernel as soon as twice the largest array lies free, and the kernel hands it
out again page by page, each filled with zeros: a tenth or more of the time of a step, in a convolutional
network at batch 64 or in transformers. Nobody else has use for that memory while a worker trains.
It decides how much is kept. What a step needs at its peak stays what it is.
"""

import ctypes
from collections.abc import Mapping

KEPT_BYTES = 256 << 20  # free at the end of the heap, until it is returned
MAPPED_FROM_BYTES = 32 << 20  # arrays from here on are mapped and unmapped one by one: the most glibc takes
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
SETTINGS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")  # a user's own


def keep_freed_memory(environment: Mapping[str, str]) -> bool:
    """Tell the C library, once and early; whether it was told.

    It is not where the environment has settings of its own, nor where it is no glibc (musl, macOS).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or any(name in environment for name in SETTINGS):
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, MAPPED_FROM_BYTES) and mallopt(M_TRIM_THRESHOLD, KEPT_BYTES))
