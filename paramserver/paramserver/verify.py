"""Holds a checkpoint against its ledger and its job's schedule; no code of the job is run.

What it finds wrong it names: the file and byte, or the round, shard and what was expected.
"""

import collections
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

from paramserver import checkpoint
from paramserver.accounting import Account, AccountError, refusal_in
from paramserver.effects import Averaged, Snapshot
from paramserver.ledger import Commit, Segment, follow
from ps_common import weights_file
from ps_common.errors import CheckpointError, PeerError
from ps_common.job import Description


@dataclasses.dataclass(frozen=True)
class Refusals:
    """How often contributions of a worker were refused for one kind of mistake; of the last, when and why."""

    worker: str
    kind: str
    times: int
    version: int
    reason: str


@dataclasses.dataclass(frozen=True)
class Verified:
    """A checkpoint whose ledger adds up. rounds: the last of them, as many as were asked for.

    refused: by worker and kind, the most frequent first. None of it is in the weights.
    """

    path: Path
    snapshot: Snapshot
    segments: tuple[Segment, ...]
    rounds: tuple[Averaged, ...]
    units: int
    weights: str
    refused: tuple[Refusals, ...] = ()

    def lines(self) -> Iterator[tuple[Segment, Averaged | Commit]]:
        """All that the ledger says, from the first round on."""
        for segment in self.segments:
            yield from ((segment, line) for _, line in segment.lines())


def find(path: Path, skipped: Callable[[str], None]) -> Path:
    """The checkpoint of that name, or the newest valid one of a folder. Raises `CheckpointError`."""
    if not path.is_dir():
        return path
    snapshot = checkpoint.newest(path, None, skipped)
    if snapshot is None:
        raise CheckpointError(f"{path} holds no valid checkpoint")
    return path / checkpoint.name_of(snapshot.version)


def verify(path: Path, rounds: int | None = 0) -> Verified:
    """Check a checkpoint; its last `rounds` (None: all) are kept. Raises `CheckpointError`."""
    snapshot = checkpoint.read(path)
    if snapshot.ledger is None:
        raise CheckpointError(f"{path} has no ledger: it is of a version without one, or was changed")
    job = _job_of(path, snapshot)
    segments: list[Segment] = []
    for segment in follow(path.parent, snapshot.ledger):
        segment.check()
        segments.insert(0, segment)
    _check_headers(segments, snapshot)
    weights = weights_file.vector_digest(snapshot.layout, snapshot.vector)
    account = Account(job.schedule, job.has_open_samples)
    kept: collections.deque[Averaged] = collections.deque(maxlen=rounds)
    refused: dict[tuple[str, str], Refusals] = {}
    commit: Commit | None = None
    for segment in segments:
        last: Averaged | Commit | None = None
        for at, last in segment.lines():
            try:
                if isinstance(last, Commit):
                    _check_commit(last, commit, account.version)
                    commit = last
                else:
                    account.take(last)
                    kept.append(last)
                    _note_refused(refused, last)
            except AccountError as error:
                raise CheckpointError(f"{segment.path}, byte {at:,}: {error}") from error
        if not isinstance(last, Commit):
            raise CheckpointError(f"{segment.path}: byte {segment.stop:,} is not behind a commit")
    try:
        account.close(snapshot.version, snapshot.samples, len(snapshot.history))
    except AccountError as error:
        raise CheckpointError(f"{path}: {error}") from error
    if commit is None or commit.weights != weights:
        said = commit.weights if commit else "none"
        raise CheckpointError(f"{path} has the weights {weights}, its ledger committed {said}")
    by_times = sorted(refused.values(), key=lambda one: (-one.times, one.worker, one.kind))
    return Verified(
        path, snapshot, tuple(segments), tuple(kept), account.units, weights, refused=tuple(by_times)
    )


def _note_refused(refused: dict[tuple[str, str], Refusals], averaged: Averaged) -> None:
    for unit in averaged.units:
        said = refusal_in(unit.verdict)
        if said is not None:
            kind, reason = said
            before = refused.get((unit.worker, kind))
            times = 1 if before is None else before.times + 1
            refused[unit.worker, kind] = Refusals(unit.worker, kind, times, averaged.version, reason)


def _job_of(path: Path, snapshot: Snapshot) -> Description:
    try:
        job = Description.from_plain(snapshot.job)
    except PeerError as error:
        raise CheckpointError(f"{path}: {error}") from error
    if job.digest != snapshot.job_digest:
        raise CheckpointError(
            f"{path} describes a job of digest {job.digest[:12]}, and says it is {snapshot.job_digest[:12]}"
        )
    return job


def _check_headers(segments: list[Segment], snapshot: Snapshot) -> None:
    for segment in segments:
        here, there = segment.header, (snapshot.run, snapshot.job_digest)
        if (here.run, here.job_digest) != there:
            raise CheckpointError(
                f"{segment.path} is of run {here.run}, job {here.job_digest[:12]}; the checkpoint is of run "
                f"{snapshot.run}, job {snapshot.job_digest[:12]}"
            )
    if segments[-1].header.term != snapshot.term:
        term = segments[-1].header.term
        raise CheckpointError(
            f"{segments[-1].path} is of term {term}, the checkpoint of term {snapshot.term}"
        )


def _check_commit(commit: Commit, before: Commit | None, version: int) -> None:
    """Raise `AccountError` for a commit that does not fit what was averaged until then."""
    if before is None and version == 0 < commit.version:
        raise AccountError(
            f"the ledger begins at version {commit.version}: the rounds before were averaged without one"
        )
    if commit.version != version:
        raise AccountError(f"version {commit.version} is committed where version {version} was the last")
    if before is not None and before.version == version and before.weights != commit.weights:
        raise AccountError(f"version {version} is committed as {commit.weights}, before as {before.weights}")
