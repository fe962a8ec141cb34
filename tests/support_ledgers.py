"""Small runs with a ledger: what their rounds average, starts of a master that save, and forgers."""

import dataclasses
import json
import queue
from pathlib import Path

import xxhash

import support_jobs
from paramserver import checkpoint
from paramserver.averaging import digests
from paramserver.effects import Averaged, Contribution, Position, Snapshot
from paramserver.ledger import Header, Ledger
from paramserver.saving import Writer
from ps_common.layout import Entry, Layout

# Shards of 3, 2 and 3 batches, one a round: in every third round the second shard sits out.
JOB = support_jobs.description(29, None, shards=(10, 7, 12), batch_size=4, local_steps=1, epochs=3)
SCHEDULE = JOB.schedule
LAYOUT = Layout([Entry("w", (300,)), Entry("m", (4,), role="slot")])


def averaged(version: int) -> Averaged:
    """The round that makes a version, in a run in which nothing happens."""
    round_ = version - 1
    units = [
        Contribution(
            round_, shard, f"worker-{shard}", "ab" * 16, SCHEDULE.samples(round_, shard),
            digests.of_chunks([round_, shard]), "averaged",
        )
        for shard in SCHEDULE.units(round_)
    ]  # fmt: skip
    return Averaged(version, tuple(units))


def snapshot(version: int, term: int = 1, run: str = "run", ledger: Position | None = None) -> Snapshot:
    vector = LAYOUT.empty()
    LAYOUT.views(vector)["w"][...] = version
    samples = sum(SCHEDULE.samples(r, s) for r in range(version) for s in SCHEDULE.units(r))
    epochs = version // SCHEDULE.rounds_per_epoch
    return Snapshot(
        layout=LAYOUT, vector=vector, version=version, run=run, term=term, job=JOB.to_plain(),
        job_digest=JOB.digest, samples=samples, sums={}, history=[{"epoch": e + 1} for e in range(epochs)],
        seconds=0.0, ledger=ledger,
    )  # fmt: skip


class Start:
    """One start of a master that keeps a ledger, as its loop has it."""

    def __init__(self, folder: Path, since: Snapshot | None = None, run: str = "run") -> None:
        self.version = since.version if since else 0
        self.run = since.run if since else run
        self.term = since.term + 1 if since else 1
        folder.mkdir(exist_ok=True)
        header = Header(self.run, self.term, JOB.digest, 64, 1, since.ledger if since else None)
        self.told: queue.SimpleQueue[tuple[Path | None, Exception | None]] = queue.SimpleQueue()
        self.ledger = Ledger(folder, header)
        self.writer = Writer(folder, lambda path, error: self.told.put((path, error)), self.ledger)
        if since:
            self.save()

    @classmethod
    def again(cls, folder: Path) -> "Start":
        """From the newest checkpoint, or from the beginning where there is none."""
        return cls(folder, checkpoint.newest(folder, JOB.digest, lambda text: None))

    def average(self, until: int, *refused: Contribution) -> "Start":
        """refused: what came to each of these rounds, too."""
        while self.version < until:
            self.version += 1
            one = averaged(self.version)
            self.writer.add(dataclasses.replace(one, units=(*one.units, *refused)))
        return self

    def save(self) -> Path:
        """Wait until it is written."""
        self.writer.put(snapshot(self.version, self.term, self.run))
        path, error = self.told.get(timeout=60)
        if error is not None:
            raise error
        assert path is not None
        return path

    def end(self) -> None:
        assert self.writer.close(60)


def run_with_two_starts(folder: Path) -> Path:
    """Its newest checkpoint: version 7, saved at 0, 2, 4 and gone on from there."""
    first = Start(folder)
    first.save()
    for until in (2, 4):
        first.average(until).save()
    first.end()
    second = Start.again(folder)
    path = second.average(7).save()
    second.end()
    return path


Lines = list[dict]


class Forger:
    """Whoever changes a ledger and makes all its digests right again: only what it says is wrong then."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.snapshot = checkpoint.read(path)
        self.segments: dict[str, Lines] = {}
        self.names: list[str] = []
        at = self.snapshot.ledger
        self.is_careless = False  # leaves the digests that stand in the lines
        while at is not None:
            text = (path.parent / at.segment).read_bytes()[: at.nbytes]
            lines = [json.loads(line) for line in text.splitlines()]
            self.names.insert(0, at.segment)
            self.segments[at.segment] = lines
            continues = lines[0]["continues"]
            at = None if continues is None else Position(**continues)

    def rounds(self, segment: int = -1) -> Lines:
        return [line for line in self.segments[self.names[segment]] if "version" in line]

    def write(self) -> None:
        before: Position | None = None
        for name in self.names:
            lines = self.segments[name]
            if "continues" in lines[0] and lines[0]["continues"] is not None:
                lines[0]["continues"] = dataclasses.asdict(before)
            chain = xxhash.xxh3_128(before.chain.encode() if before else b"")
            text = b""
            for line in lines:
                if "chain" in line and not self.is_careless:
                    line["chain"] = chain.hexdigest()
                encoded = json.dumps(line, separators=(",", ":")).encode() + b"\n"
                chain.update(encoded)
                text += encoded
            (self.path.parent / name).write_bytes(text)
            before = Position(name, len(text), chain.hexdigest())
        checkpoint.write(self.path.parent, dataclasses.replace(self.snapshot, ledger=before))
