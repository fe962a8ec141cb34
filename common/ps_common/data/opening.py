"""Open a source again from its plain form, as a worker does with what the job says.

The kinds are a closed table: a description can name a file or a data set of the catalogue, nothing else.
"""

import os
from collections.abc import Callable, Mapping

from ps_common.data.csv_file import csv
from ps_common.data.npy_blocks import npy_folder
from ps_common.data.npy_file import npy
from ps_common.data.npz_file import npz
from ps_common.data.parquet_file import parquet
from ps_common.data.source import Source
from ps_common.data.text_file import text
from ps_common.errors import PeerError, UsageError
from ps_common.vocabulary import Plain

_FILES: dict[str, Callable[..., Source]] = {
    "npy": npy,
    "npy_folder": npy_folder,
    "npz": npz,
    "csv": csv,
    "parquet": parquet,
    "text": text,
}
_IN_MEMORY = {"arrays": "arrays", "characters": "a text", "items": "the items of an object"}


def open_source(plain: Mapping[str, Plain], cache: str | os.PathLike[str] | None = None) -> Source:
    """The source that `plain` (from `Source.plain`) describes, opened on this machine.

    `cache` is where catalogued data sets are kept; None is the user's own cache. Raises `UsageError` for
    data in memory, which no other machine has, `PeerError` for a description this version does not
    know, `DataError` for files that are missing or damaged here.
    """
    kind = plain.get("kind") if isinstance(plain, Mapping) else None
    settings = {key: value for key, value in plain.items() if key != "kind"} if kind is not None else {}
    if isinstance(kind, str) and kind in _IN_MEMORY:
        raise UsageError(
            f"the job's data are {_IN_MEMORY[kind]} in the memory of the process that made the job; a worker "
            "cannot open them: use stream mode, where the master sends each worker its shard, or save them "
            "to a file"
        )
    try:
        if kind == "dataset":
            from ps_common import datasets  # imports this package's sources, so not at the top

            return datasets.open_split(**settings, cache=cache)
        opened = _FILES.get(kind) if isinstance(kind, str) else None
        if opened is not None:
            return opened(**settings)
    except TypeError as error:
        raise PeerError(
            f"a data source of kind {kind!r} cannot be opened from {sorted(settings)}: {error}"
        ) from error
    known = ", ".join(sorted([*_FILES, *_IN_MEMORY, "dataset"]))
    raise PeerError(f"a data source of kind {kind!r} is not known to this version; it knows {known}")
