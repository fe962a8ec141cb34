"""One run of a master from start to end: load, resume, serve, write the model and the record."""

import contextlib
import dataclasses
import functools
import json
import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from paramserver import checkpoint, ledger, tolerance
from paramserver.effects import Finished, Note, Snapshot
from paramserver.folder_lock import FolderLock
from paramserver.log import Log
from paramserver.loop import Loop
from paramserver.serving import Serving
from paramserver.settings import Settings
from ps_common import segments, weights_file
from ps_common.errors import CheckpointError, UsageError
from ps_common.files import write_whole
from ps_common.job import Description
from ps_common.layout import Layout
from ps_common.loader import LoadedJob
from ps_common.loop_job import LoopJob

Loaded = LoadedJob | LoopJob


def serve(
    loaded: Loaded, settings: Settings, serving: Serving, log: Log, resume: str, json_path: Path | None
) -> Finished:
    """Serve a job until it is over; returns how it ended. A checkpoint folder is this process's meanwhile."""
    for flag, path in (("--out", serving.model_file), ("--json", json_path)):
        if path is not None:
            require_writable(flag, path)
    if serving.checkpoint_folder is not None:
        require_writable("--checkpoint", serving.checkpoint_folder, is_folder=True)
        settings = dataclasses.replace(settings, keeps_ledger=True)
    with contextlib.ExitStack() as stack:
        if serving.checkpoint_folder is not None:
            stack.enter_context(FolderLock(serving.checkpoint_folder))
        return _serve(loaded, settings, serving, log, resume, json_path)


def _serve(
    loaded: Loaded, settings: Settings, serving: Serving, log: Log, resume: str, json_path: Path | None
) -> Finished:
    description = loaded.describe()
    _check(description)
    tolerance.check(description, settings, len(serving.servers) or serving.averagers)
    settings = dataclasses.replace(settings, memory_bytes=segments.room())
    snapshot = find_snapshot(serving.checkpoint_folder, resume, description, _teller(log))
    if snapshot is not None:
        done, wanted = len(snapshot.history), description.plan.epochs
        more = f"; it has {done} epochs and {wanted} were asked for: nothing to do" if done >= wanted else ""
        log.show(Note("resume", f"resuming run {snapshot.run} at round {snapshot.version}{more}"))
        bring_ledger(snapshot, resume, serving.checkpoint_folder, _teller(log))
    run = snapshot.run if snapshot is not None else secrets.token_hex(8)
    job = loaded if isinstance(loaded, LoopJob) else loaded.job
    loop = Loop(job, description, settings, serving, log, run, snapshot)
    conclude = functools.partial(_conclude, loop, serving.model_file, json_path, log)
    return loop.run(conclude) if serving.stays else conclude(loop.run())


def _conclude(
    loop: Loop, model_file: Path | None, json_path: Path | None, log: Log, outcome: Finished
) -> Finished:
    """Write the model and the record; how it ended, that included."""
    last = loop.master.snapshot()
    if outcome.exit_code == 0 and model_file is not None and last is not None:
        try:
            write_model(model_file, last, loop.master.progress.metrics())
            log.show(Note("model", f"model written to {model_file}"))
        except OSError as error:
            outcome = Finished(65, f"the model could not be written: {error}")
    record = loop.record.to_plain(loop.master, outcome.exit_code, outcome.reason)
    if json_path is not None:
        try:
            write_json(json_path, record)
        except OSError as error:
            outcome = Finished(outcome.exit_code or 65, f"the record could not be written: {error}")
            log.show(Note("end", outcome.reason, urgent=True))
    log.show(Note("end", _last_words(record), urgent=outcome.exit_code != 0))
    return outcome


def require_writable(flag: str, path: Path, is_folder: bool = False) -> None:
    """Make the folder that will be written to, and try; raises `UsageError` where that cannot be."""
    folder = path.absolute() if is_folder else path.absolute().parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(f"{flag} {path} cannot be written: {error.strerror or error}") from error


def find_snapshot(
    folder: Path | None, resume: str, job: Description, tell: Callable[[str], None]
) -> Snapshot | None:
    """Where to go on from, as `--resume` says; None for the beginning."""
    if resume == "never":
        return None
    if resume == "auto":
        return checkpoint.newest(folder, job.digest, tell) if folder is not None and folder.is_dir() else None
    path = Path(resume)
    if path.is_dir():
        found = checkpoint.newest(path, job.digest, tell)
        if found is None:
            raise CheckpointError(
                f"{path} holds no valid checkpoint of this job; use --resume never to begin anew"
            )
        return found
    return checkpoint.read(path, job.digest)


def bring_ledger(snapshot: Snapshot, resume: str, folder: Path | None, tell: Callable[[str], None]) -> None:
    """Copy the ledger of a checkpoint that lies elsewhere to where it is gone on with."""
    path = Path(resume)
    source = path if path.is_dir() else path.parent
    if resume == "auto" or folder is None or snapshot.ledger is None or source.resolve() == folder.resolve():
        return
    try:
        ledger.bring(source, folder, snapshot.ledger)
    except (CheckpointError, OSError) as error:
        tell(f"the ledger of the rounds before cannot be taken along, so nothing can be verified: {error}")


def write_model(path: Path, snapshot: Snapshot, metrics: dict[str, float]) -> None:
    """The trained model alone, without the optimizer's state, with its description."""
    layout = Layout(entry for entry in snapshot.layout.entries if entry.role != "slot")
    vector, everything = layout.empty(), snapshot.layout.views(snapshot.vector)
    for name, view in layout.views(vector).items():
        view[...] = everything[name]
    weights_file.write(
        path, layout, vector, {"job": snapshot.job, "metrics": metrics, "rounds": snapshot.version}
    )


def write_json(path: Path, record: dict[str, Any]) -> None:
    write_whole(path, json.dumps(record, indent=1) + "\n")


def _check(job: Description) -> None:
    """Raise where the job's numbers do not go together, before anyone waits for workers."""
    if job.schedule.rounds < 1:
        raise UsageError("the job has no rounds")
    if job.plan.data == "shared" and job.train.source.get("kind") == "arrays":
        raise UsageError(
            'the job\'s data are arrays in memory; with data="shared" use files, or take data="stream"'
        )


def _teller(log: Log) -> Callable[[str], None]:
    return lambda text: log.show(Note("resume", text, urgent=True))


def _last_words(record: dict[str, Any]) -> str:
    values = "  ".join(f"{name} {value:.4f}" for name, value in record["metrics"].items())
    head = f"{record['status']}: {record['reason']}" if record["status"] != "finished" else "finished"
    digest = (record["weights_sha256"] or "none")[:16]
    return (
        f"{head}: {record['rounds']} rounds, {record['epochs']} epochs, {record['samples']:,} samples "
        f"in {record['train_seconds']:.1f} s{'  ' + values if values else ''}  weights {digest}"
    )
