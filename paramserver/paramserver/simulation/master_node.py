"""A master process in the simulation: the machine of production, its data, and its checkpoints."""

import collections
from collections.abc import Callable, Mapping, Sequence

from paramserver.effects import (
    Averaged,
    Effect,
    Finished,
    Note,
    Restart,
    Save,
    Send,
    SendRows,
    Snapshot,
    Tell,
    Unwatch,
    Watch,
)
from paramserver.machine import Master
from paramserver.settings import Settings
from paramserver.simulation.frames import Frames, message_of, payloads_of
from paramserver.simulation.hardware import FREE, Costs
from paramserver.simulation.host import Host
from paramserver.simulation.network import MASTER, Network
from paramserver.simulation.node import Node
from paramserver.simulation.world import World
from ps_common import messages as m
from ps_common.arrays import HostArray
from ps_common.data import Source
from ps_common.errors import PeerError
from ps_common.job import Description
from ps_common.memory import Heap, Memory
from ps_common.wire import checksum


class MasterNode(Node):
    """One start of the master.

    on_save: where snapshots go. on_turn: checks what must hold after every turn. servers: addresses of those
    who average; connection: what this master is known as to them. on_restart: starts one of them again.
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
        servers: Sequence[bytes] = (),
        connection: bytes = b"m",
        on_restart: Callable[["MasterNode", int], None] = lambda node, server: None,
        host: Host | None = None,
        costs: Costs = FREE,
    ) -> None:
        super().__init__(world, network, MASTER, host or Host(), costs)
        self.memory: Memory = memory or Heap()
        self.servers = tuple(servers)
        self.connection = connection
        if servers:
            network.attach(connection, self._arrive, self.host.links)
        addresses = tuple(address.decode() for address in servers)
        self.machine = make_master(
            job, settings, run, self.now, snapshot=snapshot, memory=self.memory, servers=addresses
        )
        self.finished: Finished | None = None
        self.notes: list[Note] = []
        self.averaged: list[Averaged] = []  # for the ledger
        self.sent: collections.Counter[type[m.Message]] = collections.Counter()
        self._sources = sources
        self._on_save = on_save
        self._on_turn = on_turn
        self._on_restart = on_restart
        self._watched: set[bytes] = set()  # workers whose end the kernel tells
        self._ended: list[tuple[int, str]] = []  # servers whose process has ended

    def __str__(self) -> str:
        machine = self.machine
        members = len(machine.members)
        return f"master, term {machine.term}, version {machine.progress.version}, {members} members"

    def take(self, sender: bytes, frames: Frames) -> None:
        try:
            message = message_of(frames)
        except PeerError as error:
            self._perform(self.machine.refuse(sender, error))
            return
        self.charge(message, frames)
        if sender in self.servers:
            server = self.servers.index(sender)
            self._perform(self.machine.hear(server, message, payloads_of(frames), self.now))
        else:
            self._perform(self.machine.handle(sender, message, payloads_of(frames), self.now))

    def lose(self, server: int, why: str) -> None:
        """The process of a server has ended; the loop looks for that when it ticks."""
        self._ended.append((server, why))

    def tick(self) -> None:
        while self._ended:
            self._perform(self.machine.lose(*self._ended.pop(0), self.now))
        self._perform(self.machine.tick(self.now))

    def ended(self, sender: bytes) -> None:
        """The process of a worker has ended."""
        if sender in self._watched and self.is_alive:
            self._watched.discard(sender)
            self._perform(self.machine.ended(sender, self.now))
            self._sleep()

    def saved(self) -> None:
        """All that was to be saved is on disk."""
        if self.is_alive:
            self._perform(self.machine.saved(self.now))

    def kill(self) -> None:
        super().kill()
        self.network.detach(self.connection)

    def stop(self) -> None:
        self._perform(self.machine.stop(self.now))

    def next_deadline(self) -> float:
        return self.machine.next_deadline()

    def check(self) -> None:
        self._on_turn(self)

    def _perform(self, effects: list[Effect]) -> None:
        machine = self.machine
        stage = machine.leasing.stage
        window = machine.settings.window + machine.settings.pull_window
        told = 8 + window + 2 * (len(stage.units) if stage else 0)  # each server, at once
        most = 16 + (len(machine.members) + 1) * (window + 4) + len(self.servers) * told
        assert len(effects) <= most, f"a flood of {len(effects)} effects; {most} are expected at most"
        for effect in effects:
            match effect:
                case Send(to, message, payloads):
                    self._send(to, message, payloads)
                case Tell(server, message, payloads):
                    self.send(self.connection, self.servers[server], message, payloads)
                case Restart(server):
                    self._ended = [one for one in self._ended if one[0] != server]
                    self._on_restart(self, server)
                case Watch(sender, _):
                    self._watched.add(sender)
                case Unwatch(sender):
                    self._watched.discard(sender)
                case SendRows(to, fetch):
                    self._send_rows(to, fetch)
                case Averaged():
                    self.averaged.append(effect)
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

    def _send(self, to: bytes, message: m.Message, payloads: Sequence[HostArray]) -> None:
        self.sent[type(message)] += 1
        self.send(MASTER, to, message, payloads)

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
            number = checksum(*(array.tobytes() for array in arrays))
            self._send(to, m.Rows(fetch.split, fetch.shard, block, number), arrays)
