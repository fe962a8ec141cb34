"""Snapshots of a small model, as tests write them, and what is found of them."""

from pathlib import Path

from paramserver.checkpoint import checkpoints, read
from paramserver.effects import Snapshot
from ps_common.layout import Entry, Layout

LAYOUT = Layout([Entry("w", (30_000,)), Entry("m", (4,), role="slot")])
JOB = "a" * 64


def snapshot(version: int, job_digest: str = JOB, fill: float | None = None) -> Snapshot:
    vector = LAYOUT.empty()
    LAYOUT.views(vector)["w"][...] = version if fill is None else fill
    return Snapshot(
        layout=LAYOUT,
        vector=vector,
        version=version,
        run="run",
        term=2,
        job={"seed": 3},
        job_digest=job_digest,
        samples=8 * version,
        sums={"loss": [0.1 + version, 8.0]},
        history=[{"epoch": 1, "loss": 0.1}],
        seconds=1.5,
    )


def versions(folder: Path) -> list[int]:
    """The rounds of the checkpoints of a folder, newest first."""
    return [read(path).version for path in checkpoints(folder)]
