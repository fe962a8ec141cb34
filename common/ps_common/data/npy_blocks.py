"""Samples in a folder of .npy files, each a block of them: mapped one by one as their rows are asked for.

It decides which files are blocks of x and of y, that they go together, and which block a row is in. Headers
are all read when the source is opened; only a few files are kept mapped, as each takes a file descriptor.
"""

import functools
import os
from pathlib import Path

import numpy as np

from ps_common.arrays import HostArray
from ps_common.data.npy_file import StrPath, mapped
from ps_common.data.source import Rows, Source, check_column, check_rows
from ps_common.errors import DataError
from ps_common.fields import Field
from ps_common.vocabulary import Plain

MAPPED_MAX = 64  # files kept mapped: a process has often no more than 1,024 descriptors for everything


def npy_folder(path: StrPath) -> Source:
    """Samples in the .npy files of a folder, one block of them after another, in the order of names.

    Either the folder holds folders x and y, or files x_*.npy and y_*.npy; without y there are no targets.
    A block of x, shape (n, ...), has its y of the same name, shape (n,) or (n, ...). All blocks must agree in
    dtype and shape but for n. Names are put in order as text is: number them 001, 002, ...

    The files are mapped, not read, so they may be larger than memory; they must not change while a job
    runs. Raises `DataError` for a file that is missing, damaged, empty or holds anything but numbers, and for
    blocks that do not go together, naming both files.
    """
    return Blocks(Path(path).absolute())


class Blocks(Source):
    """A source whose fields are each cut into arrays in files, at the same rows."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        files = _blocks(folder)
        checked = {name: _Checked(name, list(paths.values())) for name, paths in files.items()}
        if "y" in files:
            _check_pairs(files["x"], files["y"], checked["x"].sizes, checked["y"].sizes)
        self._files = tuple(list(paths.values()) for paths in files.values())
        self.fields = tuple(checked[name].field for name in files)
        self._ends = np.cumsum(checked["x"].sizes, dtype=np.int64)
        self.samples = int(self._ends[-1])
        self._map = functools.lru_cache(MAPPED_MAX)(mapped)

    def read(self, rows: Rows) -> tuple[HostArray, ...]:
        check_rows(rows, self.samples)
        wanted = np.arange(*rows.indices(self.samples)) if isinstance(rows, slice) else rows.astype(np.int64)
        out = tuple(np.empty((len(wanted), *field.shape), field.dtype) for field in self.fields)
        block_of = np.searchsorted(self._ends, wanted, side="right")
        for block in np.unique(block_of).tolist():
            places = np.flatnonzero(block_of == block)
            inside = wanted[places] - (self._ends[block - 1] if block else 0)
            for values, files in zip(out, self._files, strict=True):
                values[places] = self._map(files[block])[inside]
        return out

    def plain(self) -> dict[str, Plain]:
        return {"kind": "npy_folder", "path": str(self._folder)}


class _Checked:
    """What the blocks of one field are. Raises `DataError` naming two of them unless they agree."""

    def __init__(self, name: str, paths: list[Path]) -> None:
        self.sizes: list[int] = []
        for path in paths:
            values = mapped(path)
            check_column(name, values, str(path))
            field = Field(name, values.dtype.name, values.shape[1:])
            if not self.sizes:
                self.field = field
            if field != self.field:
                raise DataError(
                    f"the blocks of {name} must agree: {paths[0]} holds samples {self.field}, {path} "
                    f"{field}; write one of them again"
                )
            self.sizes.append(len(values))


def _blocks(folder: Path) -> dict[str, dict[str, Path]]:
    """The files of x and of y by their names, in order. Raises `DataError` where there are none of x."""
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise DataError(
            f"cannot open the folder {folder}: {error.strerror}; a source is opened on every machine that "
            "uses it, so the folder must be there too (or let the master send the data: stream mode)"
        ) from error
    found: dict[str, dict[str, Path]] = {}
    for field in ("x", "y"):
        start = f"{field}_"
        beside = {
            n.removeprefix(start): folder / n for n in names if n.startswith(start) and n.endswith(".npy")
        }
        inside = {path.name: path for path in sorted((folder / field).glob("*.npy"))}
        if inside and beside:
            raise DataError(f"{folder} holds {start}*.npy and a folder {field}, too; keep one of them")
        if inside or beside:
            found[field] = inside or beside
    if "x" not in found:
        held = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        raise DataError(
            f"{folder} holds neither files x_*.npy nor a folder x with .npy files, but {held or 'nothing'}; "
            "rename the blocks"
        )
    return found


def _check_pairs(x: dict[str, Path], y: dict[str, Path], x_sizes: list[int], y_sizes: list[int]) -> None:
    """Raises `DataError` unless each block of x has one of y, of the same name and as many samples."""
    for name in sorted(x.keys() ^ y.keys()):
        path, other = (x[name], "y") if name in x else (y[name], "x")
        raise DataError(f"{path} has no block of {other} of its name; every block needs x and y")
    for name, x_size, y_size in zip(x, x_sizes, y_sizes, strict=True):
        if x_size != y_size:
            raise DataError(
                f"{x[name]} has {x_size} samples and {y[name]} has {y_size}; every sample needs one row in "
                "both"
            )
