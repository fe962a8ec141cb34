"""A model on a small scale: as many chunks as the real one has, each of a few bytes that stand for many.

The machines exchange the very messages they would exchange outside; what they weigh, links and costs are
charged by `scale`. So ten thousand workers with a large model fit into the memory of one process.
"""

import dataclasses

from paramserver.settings import Settings
from ps_common.layout import ALIGNMENT, Entry, Layout

LEAST_BYTES = 1024  # of a stretch: cut to 64 bytes, two of them differ by a sixteenth at most


def scale_for(layout: Layout, settings: Settings, servers: int) -> int:
    """How many bytes one byte can stand for: a power of two."""
    most = min(settings.chunk_bytes // ALIGNMENT, layout.nbytes // (LEAST_BYTES * servers))
    scale = 1 << max(0, most.bit_length() - 1)
    while settings.chunk_bytes % (ALIGNMENT * scale):
        scale //= 2
    return scale


def small_layout(layout: Layout, scale: int) -> Layout:
    """The same runs, each with one element where there were `scale`, rounded up: as many chunks."""
    runs = enumerate(layout.runs)
    return Layout(Entry(str(i), (-(-run.size // scale),), run.dtype, run.role) for i, run in runs if run.size)


def small_settings(settings: Settings, scale: int) -> Settings:
    chunk_bytes, held_bytes = settings.chunk_bytes // scale, max(1, settings.held_bytes // scale)
    return dataclasses.replace(settings, chunk_bytes=chunk_bytes, held_bytes=held_bytes)
