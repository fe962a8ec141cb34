"""A master on the bench: no network, and workers that say exactly what a test wants them to say."""

import dataclasses
from collections.abc import Sequence
from typing import Any, TypeVar

from paramserver.effects import Effect, Finished, Note, Save, Send, Snapshot
from paramserver.machine import Master
from paramserver.settings import Settings
from ps_common import messages as m
from ps_common.arrays import HostArray
from ps_common.memory import Heap
from ps_common.plan import Plan
from ps_common.wire import checksum, decode, encode
from ps_worker.effects import Contribution
from ps_worker.rows import HeldRows
from simulation.cluster import join_of
from simulation.jobs import Case, counting_case

SETTINGS = Settings(chunk_bytes=64, window=2, held_bytes=1024, checkpoint_every_rounds=1, race_after_s=1e6)
_M = TypeVar("_M", bound=m.Message)


def two_shards(epochs: int = 1) -> Case:
    """Two shards of ten samples, two rounds an epoch, three chunks."""
    return counting_case(Plan(shards=2, batch_size=5, epochs=epochs), 3, 20)


class Bench:
    """A master, its clock, and everything it has wanted so far."""

    def __init__(self, case: Case | None = None, snapshot: Snapshot | None = None, **settings: Any) -> None:
        self.case = case or two_shards()
        self.now = 100.0
        self.settings = dataclasses.replace(SETTINGS, **settings)
        self.master = Master(self.case.description, self.settings, "run", self.now, snapshot=snapshot)
        self.effects: list[Effect] = []
        self.is_disk_slow = False  # what is to be saved is not on disk until a test says so
        self.replica = self.case.make_replica(self.case.description, Heap())

    def take(self, effects: list[Effect]) -> list[Effect]:
        self.effects += effects
        if not self.is_disk_slow and any(isinstance(effect, Save) for effect in effects):
            effects = effects + self.take(self.master.saved(self.now))
        return effects

    def say(self, sender: bytes, message: m.Message, *payloads: bytes) -> list[Effect]:
        """Hand the master a message, through the real encoding."""
        frames = [memoryview(frame) for frame in (encode(message), *payloads)]
        return self.take(self.master.handle(sender, decode(frames), frames[1:], self.now))

    def wait(self, seconds: float) -> list[Effect]:
        """Let time pass as the loop does: a tick at each deadline."""
        end, effects = self.now + seconds, []
        while self.master.next_deadline() <= end:
            self.now = max(self.now, self.master.next_deadline())
            effects += self.take(self.master.tick(self.now))
            assert self.master.next_deadline() > self.now
        self.now = end
        return effects

    def stop(self) -> list[Effect]:
        return self.take(self.master.stop(self.now))

    def hand(self, name: str, is_ready: bool = True) -> "Hand":
        """A worker that has joined."""
        hand = Hand(self, name)
        hand.say(hand.join)
        if is_ready:
            hand.say(m.Ready(-1))
        return hand

    def notes(self, event: str) -> list[Note]:
        return [e for e in self.effects if isinstance(e, Note) and e.event == event]

    @property
    def finished(self) -> Finished | None:
        found = [e for e in self.effects if isinstance(e, Finished)]
        assert len(found) <= 1, "the master finishes twice"
        return found[0] if found else None

    @property
    def saves(self) -> list[Snapshot]:
        return [e.snapshot for e in self.effects if isinstance(e, Save)]

    @property
    def counts(self) -> HostArray:
        assert self.master.canonical.vector is not None
        return self.master.canonical.vector.view("float64")


class Hand:
    """A worker whose every message a test writes itself."""

    def __init__(self, bench: Bench, name: str) -> None:
        self.bench = bench
        self.sender = name.encode()
        self.join = join_of(name)

    def say(self, message: m.Message, *payloads: bytes) -> list[m.Message]:
        """Say something; what the master answers this worker. A Ready knows the last lease it had."""
        if isinstance(message, m.Ready) and not message.lease:
            known = self.heard(m.Lease) or self.heard(m.Welcome)
            message = dataclasses.replace(message, lease=known[-1].lease if known else 0)
        return self.of(self.bench.say(self.sender, message, *payloads))

    def of(self, effects: Sequence[Effect]) -> list[m.Message]:
        return [e.message for e in effects if isinstance(e, Send) and e.to == self.sender]

    def heard(self, kind: type[_M]) -> list[_M]:
        """Everything of a kind that the master has ever sent this worker."""
        return [message for message in self.of(self.bench.effects) if isinstance(message, kind)]

    @property
    def lease(self) -> m.Lease:
        """The last lease."""
        return self.heard(m.Lease)[-1]

    def contribution(self, lease: m.Lease) -> Contribution:
        """The unit, really computed."""
        bench, replica = self.bench, self.bench.replica
        if lease.kind == "initialise":
            return replica.initialise()
        split = "test" if lease.kind == "evaluate" else "train"
        source, (_, shards) = bench.case.sources[split], bench.case.description.split(split)
        data = None if source is None else source.read(shards.rows(lease.shard))  # an own loop has its own
        rows, base = data and HeldRows(data), bench.master.canonical.vector
        assert base is not None
        if lease.kind == "evaluate":
            return replica.evaluate(base, rows, lease.shard)
        return replica.train(base, rows, lease.round, lease.shard)

    def push(self, lease: m.Lease, **changes: Any) -> m.Push:
        made = self.contribution(lease)
        push = m.Push(lease.lease, made.samples, made.sums, made.layout, 0.0, 0.0, 0.0)
        return dataclasses.replace(push, **changes)

    def chunk(self, lease: m.Lease, index: int) -> tuple[m.Chunk, bytes]:
        vector = self.contribution(lease).vector
        assert vector is not None
        span = self.bench.replica.layout.chunks(self.bench.settings.chunk_bytes)[index]
        part = bytes(vector[span.start : span.stop])
        return m.Chunk(lease.lease, index, checksum(part)), part

    def settle(self, lease: m.Lease | None = None) -> list[m.Message]:
        """Push a contribution and all its chunks as the master grants them; the last answers."""
        lease = lease or self.lease
        answers = self.say(self.push(lease))
        to_send = list(range(lease.grant))
        while True:
            to_send += [i for answer in answers if isinstance(answer, m.Grant) for i in answer.chunks]
            if not to_send:
                return answers
            answers = self.say(*self.chunk(lease, to_send.pop(0)))
