"""ps-server verify: whether a checkpoint's ledger adds up to its job's schedule and to its weights."""

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from paramserver.effects import Averaged
from paramserver.ledger import Commit
from paramserver.replay import replay
from paramserver.verify import Verified, find, verify
from ps_common.errors import CheckpointError
from ps_common.files import write_whole
from ps_common.saying import printable, say

REFUSED_MAX = 20  # workers and kinds that are shown
_File = click.Path(dir_okay=False, path_type=Path)


@click.command(context_settings={"auto_envvar_prefix": "PS_VERIFY", "show_default": True})
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--rounds", default=3, type=click.IntRange(0), metavar="N", help="Show the last N rounds.")
@click.option(
    "--json", "json_path", envvar="PS_VERIFY_JSON", type=_File, metavar="PATH", help="Write all here."
)
@click.option("--replay", "job", metavar="JOB", help="Compute it again with this job, and compare every bit.")
@click.option("-n", "--workers", default=2, type=click.IntRange(1, 1024), help="Worker processes for that.")
@click.option(
    "--from", "older", type=_File, metavar="FILE", help="An older checkpoint of the run to begin at."
)
def cli(
    checkpoint: Path, rounds: int, json_path: Path | None, job: str | None, workers: int, older: Path | None
) -> None:
    """Check CHECKPOINT, a file or a folder (then its newest), against its ledger.

    Every unit of the schedule must have been averaged exactly once, and the weights must be those that were
    committed with it. Ends with 65 where something is wrong, and says what.
    """
    verified: Verified | None = None
    try:
        verified = verify(find(checkpoint, say), rounds)
        click.echo(_table(verified.rounds), nl=False)
        click.echo(_refused(verified), nl=False)
        click.echo(f"verified: {_summary(verified)}")
        if job is not None:
            click.echo(f"computed again: {replay(verified, job, workers, older)}")
    except CheckpointError as error:
        if json_path is not None:
            write_whole(json_path, json.dumps(_plain(checkpoint, verified, str(error)), indent=1) + "\n")
        raise
    if json_path is not None:
        write_whole(json_path, json.dumps(_plain(checkpoint, verified, None), indent=1) + "\n")


def _summary(verified: Verified) -> str:
    snapshot = verified.snapshot
    counts = f"{snapshot.version:,} rounds, {verified.units:,} units, {snapshot.samples:,} samples"
    return f"{counts}, each exactly once; weights {_weights(verified)[:16]}"


def _weights(verified: Verified) -> str:
    """As the run's own last line says it."""
    return verified.snapshot.layout.weights_sha256(verified.snapshot.vector)


def _table(rounds: Iterable[Averaged]) -> str:
    table = Table("version", "round", "shard", "worker", "samples", "digest", "verdict")
    for averaged in rounds:
        for i, unit in enumerate(averaged.units):
            cells = (unit.round, unit.shard, unit.worker, f"{unit.samples:,}", unit.digest, unit.verdict)
            table.add_row(str(averaged.version) if i == 0 else "", *(printable(str(cell)) for cell in cells))
        table.add_section()
    return _printed(table)


def _refused(verified: Verified) -> str:
    """Whose contributions were refused, how often and as what: what a person looks for first."""
    if not verified.refused:
        return ""
    table = Table("refused of", "kind", "times", "last for version", "reason of the last")
    for one in verified.refused[:REFUSED_MAX]:
        cells = (one.worker, one.kind, f"{one.times:,}", str(one.version), one.reason)
        table.add_row(*map(printable, cells))
    more = len(verified.refused) - REFUSED_MAX
    rest = f"and {more:,} more\n" if more > 0 else ""
    total = sum(one.times for one in verified.refused)
    return f"{_printed(table)}{rest}refused: {total:,} contributions, of which nothing is in the weights\n"


def _printed(table: Table) -> str:
    width = None if Console().is_terminal else 160
    console = Console(width=width, markup=False, highlight=False, emoji=False)
    with console.capture() as capture:
        if table.row_count:
            console.print(table)
    return capture.get()


def _plain(path: Path, verified: Verified | None, error: str | None) -> dict[str, Any]:
    """All of it, as JSON-able data."""
    if verified is None:
        return {"checkpoint": str(path), "verified": False, "error": error}
    rounds: list[dict[str, Any]] = []
    for segment, line in verified.lines():
        if isinstance(line, Averaged):
            units = [{name: getattr(unit, name) for name in unit.__slots__} for unit in line.units]
            rounds.append({"version": line.version, "term": segment.header.term, "units": units})
        elif isinstance(line, Commit) and rounds:
            rounds[-1]["committed"] = line.weights
    snapshot = verified.snapshot
    return {
        "checkpoint": str(verified.path),
        "verified": error is None,
        "error": error,
        "run": snapshot.run,
        "job_digest": snapshot.job_digest,
        "version": snapshot.version,
        "samples": snapshot.samples,
        "weights": verified.weights,
        "weights_sha256": _weights(verified),
        "refused": [dataclasses.asdict(one) for one in verified.refused],
        "rounds": rounds,
    }
