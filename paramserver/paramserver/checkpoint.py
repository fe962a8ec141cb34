"""Checkpoints: a folder of snapshots, newest last, and the thread that writes them.

`--resume auto` takes the newest valid one of this job; each that is skipped is named with the reason.
"""

import contextlib
import dataclasses
import queue
import re
import threading
from collections.abc import Callable
from pathlib import Path

from paramserver.effects import Snapshot
from ps_common import weights_file
from ps_common.errors import CheckpointError, JobMismatch

KEPT = 3
_NAME = re.compile(r"round-(\d{10})\.safetensors")


def name_of(version: int) -> str:
    return f"round-{version:010d}.safetensors"


def write(folder: Path, snapshot: Snapshot) -> Path:
    """Write a snapshot into `folder`, and remove those before it but for the newest few.

    One of a later round stays: it is of another run, and must not push this run's out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name_of(snapshot.version)
    names = [f.name for f in dataclasses.fields(snapshot) if f.name not in ("layout", "vector")]
    weights_file.write(
        path, snapshot.layout, snapshot.vector, {name: getattr(snapshot, name) for name in names}
    )
    until_now = [p for p in checkpoints(folder) if p.name <= path.name]
    for old in until_now[KEPT:]:
        old.unlink(missing_ok=True)
    return path


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a folder, newest first."""
    return sorted((p for p in folder.glob("round-*.safetensors") if _NAME.fullmatch(p.name)), reverse=True)


def read(path: Path, job_digest: str | None = None) -> Snapshot:
    """The snapshot in a file. Raises `CheckpointError`, or `JobMismatch` where it is of another job."""
    layout, vector, meaning = weights_file.read(path)
    try:
        snapshot = Snapshot(layout=layout, vector=vector, **meaning)
        _check(snapshot)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is no checkpoint: {error}") from error
    if job_digest is not None and snapshot.job_digest != job_digest:
        raise JobMismatch(
            f"{path} is of another job (digest {snapshot.job_digest[:12]}, this job's is {job_digest[:12]}); "
            "use another --checkpoint folder, or --resume never"
        )
    return snapshot


def _check(snapshot: Snapshot) -> None:
    """Raise `ValueError` for a value that no run has."""
    for name, kind in (("version", int), ("term", int), ("samples", int), ("run", str), ("job_digest", str)):
        if type(getattr(snapshot, name)) is not kind:
            raise ValueError(f"{name} is {getattr(snapshot, name)!r}")
    for name, outer in (("job", dict), ("sums", dict), ("history", list)):
        if type(getattr(snapshot, name)) is not outer:
            raise ValueError(f"{name} is a {type(getattr(snapshot, name)).__name__}")
    if type(snapshot.seconds) not in (int, float):
        raise ValueError(f"seconds is {snapshot.seconds!r}")


def newest(folder: Path, job_digest: str, skipped: Callable[[str], None]) -> Snapshot | None:
    """The newest valid checkpoint of this job, or None; `skipped` is told of each that is not, and why."""
    for path in checkpoints(folder):
        try:
            return read(path, job_digest)
        except (CheckpointError, JobMismatch) as error:
            skipped(f"skipped a checkpoint: {error}")
    return None


class Writer:
    """Writes snapshots in a thread of its own, so that rounds go on; of several waiting, the last counts."""

    def __init__(self, folder: Path, on_written: Callable[[Path | None, Exception | None], None]) -> None:
        self._folder = folder
        for leftover in folder.glob(weights_file.PARTIAL.format("*")):  # of a master killed while it wrote
            leftover.unlink(missing_ok=True)
        self._on_written = on_written
        self._waiting: queue.Queue[Snapshot | None] = queue.Queue()
        self._thread = threading.Thread(target=self._run, name="checkpoint", daemon=True)
        self._thread.start()

    def put(self, snapshot: Snapshot) -> None:
        with contextlib.suppress(queue.Empty):
            self._waiting.get_nowait()  # the newer one counts; the older would only hold memory
        self._waiting.put(snapshot)

    def close(self, timeout_s: float) -> bool:
        """Finish what is waiting; False if that does not end in time."""
        self._waiting.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (snapshot := self._waiting.get()) is not None:
            self._write(snapshot)
            snapshot = None  # let go of its vector while waiting

    def _write(self, snapshot: Snapshot) -> None:
        try:
            self._on_written(write(self._folder, snapshot), None)
        except OSError as error:
            self._on_written(None, error)
