"""One flat vector in one safetensors file, with what it means as metadata and a checksum over both.

Written so that a reader finds the old file or the whole new one, never a part: a temporary file beside
it, fsync, rename, fsync of the folder. Read so that nothing is believed: a file that is cut, changed or
of another make raises `CheckpointError` with the reason.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
import xxhash

from ps_common.arrays import HostArray
from ps_common.errors import CheckpointError, PeerError
from ps_common.files import fsync
from ps_common.layout import Layout

PARTIAL = ".{}.partial"  # what a file is called while it is written
LEFTOVERS = (
    PARTIAL.format("*"),
    ".tmp??????",
)  # of a writer that was killed; the second of safetensors itself
FORMAT = "paramserver-1"
_DAMAGE = (  # what a file that is cut, changed or made up may raise while it is taken apart
    safetensors.SafetensorError,
    OSError,
    PeerError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RecursionError,
)


def write(path: Path, layout: Layout, vector: HostArray, meaning: dict[str, Any]) -> None:
    """Write `vector` (flat, uint8, laid out by `layout`) and `meaning` (JSON) to `path`.

    Raises `OSError` where the disk does not take it; the temporary file is gone and an old file stays then.
    """
    text = json.dumps({"layout": layout.to_plain(), **meaning}, separators=(",", ":"))
    metadata = {"format": FORMAT, "meaning": text, "checksum": _checksum(text, layout, vector)}
    temporary = path.with_name(PARTIAL.format(f"{path.name}.{os.getpid()}"))
    try:
        safetensors.numpy.save_file(layout.views(vector), temporary, metadata)
        fsync(temporary)
        temporary.replace(path)
        fsync(path.parent)
    except safetensors.SafetensorError as error:
        raise OSError(f"{path} cannot be written: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def read(path: Path) -> tuple[Layout, HostArray, dict[str, Any]]:
    """The layout, the flat vector and the meaning of a file. Raises `CheckpointError`."""
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise CheckpointError(
                    f"{path} is no file of this project: its format is {metadata.get('format')!r}"
                )
            meaning = json.loads(metadata["meaning"])
            layout = Layout.from_plain(meaning.pop("layout"))
            if sum(run.stop - run.start for run in layout.runs) > path.stat().st_size:
                raise CheckpointError(f"{path} is damaged: it is shorter than its layout says")
            vector = layout.empty()
            for name, view in layout.views(vector).items():
                tensor = file.get_tensor(name)
                if tensor.shape != view.shape or tensor.dtype != view.dtype:
                    raise CheckpointError(
                        f"{path}: {name} is {tensor.shape} {tensor.dtype}, not as its layout says"
                    )
                view[...] = tensor
    except FileNotFoundError:
        raise CheckpointError(f"no such file: {path}") from None
    except _DAMAGE as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    expected, actual = metadata.get("checksum"), _checksum(metadata["meaning"], layout, vector)
    if actual != expected:
        raise CheckpointError(f"{path} is damaged: its checksum is {actual}, the file says {expected}")
    return layout, vector, meaning


def read_meaning(path: Path) -> dict[str, Any]:
    """What a file says its vector means, which is neither read nor checked. Raises `CheckpointError`."""
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            meaning = json.loads((file.metadata() or {})["meaning"])
            meaning.pop("layout")
    except _DAMAGE as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    return dict(meaning)


def vector_digest(layout: Layout, vector: HostArray) -> str:
    """xxh3-128 of every run of a vector."""
    return _checksum("", layout, vector)


def _checksum(text: str, layout: Layout, vector: HostArray) -> str:
    """xxh3-128 of the meaning and every run of the vector."""
    digest = xxhash.xxh3_128(text.encode())
    for run in layout.runs:
        digest.update(np.ascontiguousarray(vector[run.start : run.stop]).data)
    return digest.hexdigest()
