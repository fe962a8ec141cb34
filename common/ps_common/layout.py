"""A model is one flat vector: which parameter lies where in it, and how it is cut into chunks.

Entries are grouped so that everything of one role and one dtype lies in one contiguous **run**: an
averaging or an optimizer step is then a vector operation on a run. Weights come first, then what is
averaged but not trained, then the optimizer's slots. Runs begin at multiples of 64 bytes.
"""

import dataclasses
import functools
import hashlib
import itertools
import math
from collections.abc import Iterable, Mapping
from typing import Any

import msgpack
import numpy as np

from ps_common.arrays import Array, HostArray
from ps_common.errors import LayoutMismatch

ROLES = ("weight", "buffer", "slot")  # trained; averaged but not trained; the optimizer's state
DTYPES = ("float16", "float32", "float64")
ALIGNMENT = 64  # a cache line, and what wide vector loads like
MODEL_BYTES_MAX = 2**40  # a layout from a peer that asks for more is refused before a byte is allocated
TENSORS_MAX = 1_000_000
DIMENSIONS_MAX = 32
CHUNKS_MAX = 2**20  # the largest model in chunks of the default size; of each something is remembered


@dataclasses.dataclass(frozen=True)
class Entry:
    """One array: `weight` of `shape` in elements, with its role."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    role: str = "weight"

    @functools.cached_property
    def size(self) -> int:
        return math.prod(self.shape)

    @functools.cached_property
    def nbytes(self) -> int:
        return self.size * np.dtype(self.dtype).itemsize

    def __str__(self) -> str:
        return f"{self.name} {self.shape} {self.dtype} {self.role}"


@dataclasses.dataclass(frozen=True)
class Run:
    """A contiguous stretch of one role and dtype: `start` in bytes, `size` in elements."""

    role: str
    dtype: str
    start: int
    size: int

    @property
    def stop(self) -> int:
        return self.start + self.size * np.dtype(self.dtype).itemsize


@dataclasses.dataclass(frozen=True)
class ChunkSpan:
    """The bytes `start` to `stop` of the vector, all of one dtype: the atom of averaging and transfer."""

    index: int
    dtype: str
    start: int
    stop: int

    @property
    def nbytes(self) -> int:
        return self.stop - self.start

    def of(self, vector: Array) -> Array:
        """This chunk of a flat vector, as a 1-d view of its dtype."""
        return vector[self.start : self.stop].view(self.dtype)


class Layout:
    """Names, shapes, dtypes and offsets of everything in one flat vector of `nbytes` bytes.

    A vector is a 1-d uint8 array (NumPy or CuPy) of that length; `views` gives its named parts.
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        given = list(entries)
        order = {key: i for i, key in enumerate(dict.fromkeys((e.role, e.dtype) for e in given))}
        self.entries = tuple(sorted(given, key=lambda e: (ROLES.index(e.role), order[e.role, e.dtype])))
        offsets: list[int] = []
        runs: list[Run] = []
        at = 0
        for (role, dtype), group in itertools.groupby(self.entries, key=lambda e: (e.role, e.dtype)):
            first = at = -(-at // ALIGNMENT) * ALIGNMENT
            for entry in group:
                offsets.append(at)
                at += entry.nbytes
            runs.append(Run(role, dtype, first, (at - first) // np.dtype(dtype).itemsize))
        self.offsets = tuple(offsets)  # in bytes, one an entry
        self.runs = tuple(runs)
        self.nbytes = at

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Layout) and self.entries == other.entries

    def __hash__(self) -> int:
        return hash(self.entries)

    @functools.cached_property
    def digest(self) -> str:
        return hashlib.sha256(msgpack.packb(self.to_plain())).hexdigest()

    @property
    def parameters(self) -> int:
        """Number of trained parameters."""
        return sum(run.size for run in self.runs if run.role == "weight")

    def empty(self) -> HostArray:
        """A new flat vector on the host, zeroed."""
        return np.zeros(self.nbytes, np.uint8)

    def views(self, vector: Array, role: str | None = None) -> dict[str, Array]:
        """Each entry (of one role) as a view of its shape and dtype into `vector`."""
        return {
            e.name: vector[at : at + e.nbytes].view(e.dtype).reshape(e.shape)
            for e, at in zip(self.entries, self.offsets, strict=True)
            if role in (None, e.role)
        }

    def run_views(self, vector: Array, role: str) -> list[Array]:
        """The runs of a role as 1-d views."""
        return [vector[r.start : r.stop].view(r.dtype) for r in self.runs if r.role == role]

    def chunks(self, chunk_bytes: int, start: int = 0, stop: int | None = None) -> tuple[ChunkSpan, ...]:
        """The runs, or what of them lies in the bytes `start` to `stop`, in pieces of at most `chunk_bytes`.

        chunk_bytes, start: multiples of 64. The pieces of a stretch are counted from 0.
        """
        spans: list[ChunkSpan] = []
        for run in self._runs_between(start, self.nbytes if stop is None else stop):
            for at in range(run.start, run.stop, chunk_bytes):
                spans.append(ChunkSpan(len(spans), run.dtype, at, min(at + chunk_bytes, run.stop)))
        return tuple(spans)

    def check_chunks(self, chunk_bytes: int) -> None:
        """Raise `LayoutMismatch` where the vector falls into more chunks than anybody keeps account of."""
        if self.nbytes > CHUNKS_MAX * chunk_bytes:
            raise LayoutMismatch(
                f"a layout of {self.nbytes} bytes has more than {CHUNKS_MAX} chunks of {chunk_bytes} bytes"
            )

    def cuts(self, servers: int) -> tuple[tuple[int, int], ...]:
        """The vector cut into as many stretches of equal size, to 64 bytes: first byte and end of each."""
        step = ALIGNMENT * servers
        ends = [min(self.nbytes, -(-self.nbytes * i // step) * ALIGNMENT) for i in range(servers + 1)]
        return tuple(itertools.pairwise(ends))

    def part(self, start: int, stop: int) -> "Layout":
        """The layout of the bytes `start` (a multiple of 64) to `stop` alone, an entry a run."""
        runs = self._runs_between(start, stop)
        return Layout(Entry(str(i), (run.size,), run.dtype, run.role) for i, run in enumerate(runs))

    def _runs_between(self, start: int, stop: int) -> list[Run]:
        """What of the runs lies in these bytes."""
        inside = []
        for run in self.runs:
            first, last = max(start, run.start), min(stop, run.stop)
            if first < last:
                size = (last - first) // np.dtype(run.dtype).itemsize
                inside.append(Run(run.role, run.dtype, first, size))
        return inside

    def weights_sha256(self, vector: HostArray) -> str:
        """SHA-256 of the weights alone: what two runs are compared by."""
        digest = hashlib.sha256()
        for view in self.run_views(vector, "weight"):
            digest.update(np.ascontiguousarray(view).data)
        return digest.hexdigest()

    def to_plain(self) -> list[list[Any]]:
        return [[e.name, list(e.shape), e.dtype, e.role] for e in self.entries]

    @classmethod
    def from_plain(cls, plain: Any) -> "Layout":
        """The layout a peer or a file describes. Raises `LayoutMismatch` for anything that is none."""
        if not isinstance(plain, list) or not 1 <= len(plain) <= TENSORS_MAX:
            raise LayoutMismatch(
                f"a layout is a list of 1 to {TENSORS_MAX} entries, not {type(plain).__name__}"
            )
        entries = [_entry(item) for item in plain]
        if len({e.name for e in entries}) != len(entries):
            raise LayoutMismatch("a layout names an entry twice")
        total = sum(e.nbytes for e in entries)
        if total > MODEL_BYTES_MAX:
            raise LayoutMismatch(f"a layout of {total} bytes is over the limit of {MODEL_BYTES_MAX}")
        return cls(entries)

    def require(self, other: "Layout", who: str) -> None:
        """Raise `LayoutMismatch` naming the first entry in which another layout differs."""
        mine, theirs = _by_name(self), _by_name(other)
        for name in dict.fromkeys([*mine, *theirs]):
            if mine.get(name) != theirs.get(name):
                raise LayoutMismatch(
                    f"{mine.get(name, f'{name}: absent')} on the master, {who} has "
                    f"{theirs.get(name, 'no such entry')}; start every worker from the same job"
                )
        if self != other:
            raise LayoutMismatch(
                f"{who} has the master's entries in another order; use one version everywhere"
            )


def _by_name(layout: Layout) -> Mapping[str, Entry]:
    return {entry.name: entry for entry in layout.entries}


def _entry(item: Any) -> Entry:
    match item:
        case [str(name), list(shape), str(dtype), str(role)] if (
            0 < len(name) <= 512
            and name != "__metadata__"  # a file of weights has its own meaning for it
            and len(shape) <= DIMENSIONS_MAX
            and all(type(n) is int and n >= 0 for n in shape)
            and math.prod(n or 1 for n in shape) <= MODEL_BYTES_MAX  # an array of none of them is still made
            and dtype in DTYPES
            and role in ROLES
        ):
            return Entry(name, tuple(shape), dtype, role)
    raise LayoutMismatch(
        f"a layout's entry is [name, shape, dtype, role] with dtype one of {DTYPES} and role one of {ROLES}, "
        f"not {str(item)[:200]}"
    )
