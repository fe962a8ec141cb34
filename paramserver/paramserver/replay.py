"""Computes a run again with real processes, and compares contributions and weights with its ledger."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from paramserver import checkpoint
from paramserver.accounting import LEFT_OUT
from paramserver.cluster import LocalCluster
from paramserver.effects import Averaged, Contribution
from paramserver.verify import Verified, verify
from ps_common.errors import CheckpointError, JobMismatch, UsageError
from ps_common.job import Description
from ps_common.loader import load_job
from ps_common.messages import CHUNK_BYTES


def replay(verified: Verified, job: str, workers: int, older: Path | None) -> str:
    """Compute a verified checkpoint again, from the beginning or from an older checkpoint; what was compared.

    Raises `CheckpointError` for the first contribution, or the weights, that come out otherwise, and
    `UsageError` or `JobMismatch` for what cannot be computed again.
    """
    description = Description.from_plain(verified.snapshot.job)
    _require_repeatable(verified, description)
    loaded = load_job(job, description.overrides)
    if loaded.describe().digest != description.digest:
        raise JobMismatch(
            f"{job} is another job than that of {verified.path}; give the one it was trained with"
        )
    first = 0 if older is None else _version_of(older, verified)
    with tempfile.TemporaryDirectory(prefix="paramserver-") as folder:
        kept = Path(folder) / "kept"
        flags = _flags(verified, description, kept, older)
        with LocalCluster(job, workers, server_flags=flags, folder=Path(folder)) as cluster:
            cluster.wait(None)
        again = verify(kept / checkpoint.name_of(verified.snapshot.version))
        return _compare(verified, again, first)


def _require_repeatable(verified: Verified, job: Description) -> None:
    """Raise `UsageError` where another run need not have the same bits, or not the same digests."""
    chunk_bytes = verified.segments[-1].header.chunk_bytes
    if job.own_loop is not None:
        raise UsageError("the run was of loops of the users' own, whose code is not here: it has no replay")
    if job.plan.optimizer_state == "local":
        raise UsageError('a job with optimizer_state="local" depends on who computed what: it has no replay')
    if chunk_bytes != CHUNK_BYTES:
        raise UsageError(f"the run had chunks of {chunk_bytes} bytes; ps-server has {CHUNK_BYTES}: no replay")
    if verified.snapshot.version < 1:
        raise UsageError(f"{verified.path} is of no round yet: there is nothing to compute again")
    for version, unit, _ in _units(verified):
        if unit.verdict == LEFT_OUT:
            raise UsageError(f"version {version} was made without a unit, which depends on time: no replay")


def _version_of(older: Path, verified: Verified) -> int:
    snapshot = checkpoint.read(older, verified.snapshot.job_digest)
    if snapshot.run != verified.snapshot.run or snapshot.version >= verified.snapshot.version:
        raise UsageError(
            f"--from {older} is round {snapshot.version} of run {snapshot.run}; it must be of run "
            f"{verified.snapshot.run}, and before round {verified.snapshot.version}"
        )
    return snapshot.version


def _flags(verified: Verified, job: Description, kept: Path, older: Path | None) -> list[str]:
    version, rounds = verified.snapshot.version, job.schedule.rounds_per_epoch
    values = {
        "--epochs": max(job.plan.epochs, -(-version // rounds)),
        "--until-round": version,
        "--servers": verified.segments[-1].header.servers,
        "--checkpoint": kept,
        "--checkpoint-every": "24h",  # the last one is enough
        "--resume": "never" if older is None else older.absolute(),
        "--out": kept.with_name("model.safetensors"),
    }
    sets = [f"--set={key}={value}" for key, value in job.overrides.items()]
    return [*sets, *(f"{flag}={value}" for flag, value in values.items())]


def _units(verified: Verified) -> Iterator[tuple[int, Contribution, int]]:
    """Round, unit and number of averaging servers of all that the ledger says."""
    for segment, line in verified.lines():
        if isinstance(line, Averaged):
            yield from ((line.version, unit, segment.header.servers) for unit in line.units)


def _compare(verified: Verified, again: Verified, first: int) -> str:
    """Hold two ledgers beside each other, from round `first` on; what was compared."""
    servers = verified.segments[-1].header.servers
    digests = {
        (version, unit.round, unit.shard): unit.digest
        for version, unit, _ in _units(again)
        if version > first and unit.digest
    }
    compared = 0
    for version, unit, averaged_by in _units(verified):
        if version <= first or averaged_by != servers or not unit.digest:
            continue
        digest = digests.get((version, unit.round, unit.shard), "none")
        if digest != unit.digest:
            raise CheckpointError(
                f"version {version}, unit (round {unit.round}, shard {unit.shard}) of {unit.worker}: "
                f"the ledger has digest {unit.digest}, computed again it is {digest}"
            )
        compared += 1
    if verified.weights != again.weights:
        raise CheckpointError(
            f"the weights of version {verified.snapshot.version} are {verified.weights}, "
            f"computed again {again.weights}"
        )
    left = verified.units - compared
    rest = f" ({left:,} units before, or of another number of servers, were not compared)" if left else ""
    return f"{compared:,} units and the weights have the same bits{rest}"
