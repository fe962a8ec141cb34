"""A master process in the simulation: the machine of production, its data, and its checkpoints."""

import collections
from collections.abc import Callable, Mapping

from paramserver.effects import Effect, Finished, Note, Save, Send, SendRows, Snapshot
from paramserver.machine import Master
from paramserver.settings import Settings
from ps_common import messages as m
from ps_common.data import Source
from ps_common.errors import PeerError
from ps_common.job import Description
from ps_common.memory import Heap, Memory
from ps_common.wire import checksum, decode, encode
from simulation.network import MASTER, Network
from simulation.node import Node
from simulation.world import World


class MasterNode(Node):
    """One start of the master.

    on_save: where snapshots go. on_turn: checks what must hold after every turn.
    """

    def __init__(
        self,
        world: World,
        network: Network,
        job: Description,
        sources: Mapping[str, Source | None],
        settings: Settings,
        run: str,
        snapshot: Snapshot | None = None,
        on_save: Callable[["MasterNode", Snapshot], None] = lambda node, snapshot: None,
        on_turn: Callable[["MasterNode"], None] = lambda node: None,
        make_master: Callable[..., Master] = Master,
        memory: Memory | None = None,
    ) -> None:
        super().__init__(world, network, MASTER)
        self.memory: Memory = memory or Heap()
        self.machine = make_master(job, settings, run, world.now, snapshot=snapshot, memory=self.memory)
        self.finished: Finished | None = None
        self.notes: list[Note] = []
        self.sent: collections.Counter[type[m.Message]] = collections.Counter()
        self._sources = sources
        self._on_save = on_save
        self._on_turn = on_turn

    def __str__(self) -> str:
        machine = self.machine
        members = len(machine.members)
        return f"master, term {machine.term}, version {machine.progress.version}, {members} members"

    def take(self, sender: bytes, frames: list[memoryview]) -> None:
        try:
            message = decode(frames)
        except PeerError as error:
            self._perform(self.machine.refuse(sender, error))
            return
        self._perform(self.machine.handle(sender, message, frames[1:], self.world.now))

    def tick(self) -> None:
        self._perform(self.machine.tick(self.world.now))

    def stop(self) -> None:
        self._perform(self.machine.stop(self.world.now))

    def next_deadline(self) -> float:
        return self.machine.next_deadline()

    def check(self) -> None:
        self._on_turn(self)

    def _perform(self, effects: list[Effect]) -> None:
        machine = self.machine
        most = 16 + (len(machine.members) + 1) * (machine.settings.window + 4)
        assert len(effects) <= most, f"a flood of {len(effects)} effects; {most} are expected at most"
        for effect in effects:
            match effect:
                case Send(to, message, payloads):
                    self._send(to, message, [bytes(part.data) for part in payloads])
                case SendRows(to, fetch):
                    self._send_rows(to, fetch)
                case Save(snapshot):
                    self._on_save(self, snapshot)
                case Note():
                    self.notes.append(effect)
                case Finished():
                    assert self.finished is None, "the master finishes twice"
                    self.finished = effect
        if self.finished is not None and self.is_alive:
            self._on_turn(self)
            self.kill()

    def _send(self, to: bytes, message: m.Message, payloads: list[bytes]) -> None:
        self.sent[type(message)] += 1
        self.network.send(MASTER, to, [encode(message), *payloads])

    def _send_rows(self, to: bytes, fetch: m.Fetch) -> None:
        """As the master's loop does: the only place where it reads data."""
        data, shards = self.machine.job.split(fetch.split)
        source = self._sources[fetch.split]
        rows = data.block_rows(self.machine.settings.chunk_bytes)
        for block in fetch.blocks:
            if source is None or block * rows >= shards.size(fetch.shard):
                error = PeerError(f"there is no block {block} of {fetch.split}")
                self._perform(self.machine.refuse(to, error))
                return
            arrays = source.read(shards.rows_between(fetch.shard, block * rows, (block + 1) * rows))
            payloads = [array.tobytes() for array in arrays]
            self._send(to, m.Rows(fetch.split, fetch.shard, block, checksum(*payloads)), payloads)
