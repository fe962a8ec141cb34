"""Checkpoints: a folder of snapshots, newest last.

`--resume auto` takes the newest valid one of this job; each that is skipped is named with the reason.
With each goes the ledger up to it (`ledger.py`): its lines are written first, for good, then the snapshot
that names them. When they are written is `saving.py`'s affair.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from paramserver import ledger
from paramserver.effects import Position, Snapshot
from ps_common import weights_file
from ps_common.errors import CheckpointError, JobMismatch

KEPT = 3
_NAME = re.compile(r"round-(\d{10})\.safetensors")
_RUN = re.compile(r"[\w.-]{1,64}")  # it becomes part of a file's name


def name_of(version: int) -> str:
    return f"round-{version:010d}.safetensors"


def write(folder: Path, snapshot: Snapshot) -> Path:
    """Write a snapshot into `folder`, and remove those of its run before it but for the newest few."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name_of(snapshot.version)
    names = [f.name for f in dataclasses.fields(snapshot) if f.name not in ("layout", "vector", "ledger")]
    meaning = {name: getattr(snapshot, name) for name in names}
    meaning["ledger"] = None if snapshot.ledger is None else dataclasses.asdict(snapshot.ledger)
    weights_file.write(path, snapshot.layout, snapshot.vector, meaning)
    until_now = [p for p in checkpoints(folder) if p.name <= path.name]
    of_run = [p for p in until_now if _owner(p) == (snapshot.run, snapshot.job_digest)]
    for old in of_run[KEPT:]:
        old.unlink(missing_ok=True)
    return path


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a folder, newest first."""
    return sorted((p for p in folder.glob("round-*.safetensors") if _NAME.fullmatch(p.name)), reverse=True)


def read(path: Path, job_digest: str | None = None) -> Snapshot:
    """The snapshot in a file. Raises `CheckpointError`, or `JobMismatch` where it is of another job."""
    layout, vector, meaning = weights_file.read(path)
    try:
        position = _position_in(meaning)
        snapshot = Snapshot(layout=layout, vector=vector, **{**meaning, "ledger": position})
        _check(snapshot)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is no checkpoint: {error}") from error
    if job_digest is not None and snapshot.job_digest != job_digest:
        raise JobMismatch(
            f"{path} is of another job (digest {snapshot.job_digest[:12]}, this job's is {job_digest[:12]}); "
            "use another --checkpoint folder, or --resume never"
        )
    return snapshot


def _position_in(meaning: dict[str, Any]) -> Position | None:
    """Where the ledger stood; None where there was none. Raises `TypeError` or `ValueError`."""
    plain = meaning.get("ledger")
    return None if plain is None else ledger.position_of(plain)


def _check(snapshot: Snapshot) -> None:
    """Raise `ValueError` for a value that no run has."""
    for name, least in (("version", 0), ("term", 1), ("samples", 0)):
        value = getattr(snapshot, name)
        if type(value) is not int or not least <= value < 2**62:
            raise ValueError(f"{name} is {str(value)[:100]!r}")
    for name in ("run", "job_digest"):
        if type(getattr(snapshot, name)) is not str:
            raise ValueError(f"{name} is a {type(getattr(snapshot, name)).__name__}")
    if not _RUN.fullmatch(snapshot.run):
        raise ValueError(f"run is {snapshot.run[:100]!r}")
    for name, outer in (("job", dict), ("sums", dict), ("history", list)):
        if type(getattr(snapshot, name)) is not outer:
            raise ValueError(f"{name} is a {type(getattr(snapshot, name)).__name__}")
    if not all(type(sums) is list and all(map(_is_number, sums)) for sums in snapshot.sums.values()):
        raise ValueError("sums are not lists of numbers by name")
    if not all(type(entry) is dict for entry in snapshot.history):
        raise ValueError("history is no list of dicts")
    if type(snapshot.done) is not list or not all(type(n) is int and n >= 0 for n in snapshot.done):
        raise ValueError(f"done is {str(snapshot.done)[:100]}")
    if not _is_number(snapshot.seconds) or snapshot.seconds < 0:
        raise ValueError(f"seconds is {str(snapshot.seconds)[:100]!r}")


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def newest(folder: Path, job_digest: str | None, skipped: Callable[[str], None]) -> Snapshot | None:
    """The newest valid checkpoint of this job, or None; `skipped` is told of each that is not, and why.

    job_digest: None takes any job's.
    """
    for path in checkpoints(folder):
        try:
            return read(path, job_digest)
        except (CheckpointError, JobMismatch) as error:
            skipped(f"skipped a checkpoint: {error}")
    return None


def prune_ledger(folder: Path, run: str) -> None:
    """Remove the segments of a run's ledger that no checkpoint of the folder stands on."""
    try:
        meanings = [_meaning(path) for path in checkpoints(folder)]
        positions = [_position_in(meaning) for meaning in meanings if meaning.get("run") == run]
    except (CheckpointError, TypeError, ValueError):
        return  # one that cannot be read may stand on any
    ledger.prune(folder, run, [position for position in positions if position is not None])


def _owner(path: Path) -> tuple[object, object]:
    """Which run and job a checkpoint is of; of none where it does not say."""
    try:
        meaning = _meaning(path)
    except CheckpointError:
        return None, None
    return meaning.get("run"), meaning.get("job_digest")


def _meaning(path: Path) -> dict[str, Any]:
    try:
        status = path.stat()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    return _meaning_at(path, status.st_ino, status.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _meaning_at(path: Path, inode: int, changed_ns: int) -> dict[str, Any]:
    """What a file says, which is read once as long as it does not change."""
    return weights_file.read_meaning(path)
