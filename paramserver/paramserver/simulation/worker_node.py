"""A worker process in the simulation: the machine of production, and a computing side in virtual time."""

import dataclasses
from collections.abc import Callable

from paramserver.simulation.computing import Computing, Pace, Replica
from paramserver.simulation.frames import Frames, message_of, payloads_of
from paramserver.simulation.hardware import FREE, Costs
from paramserver.simulation.host import Host
from paramserver.simulation.network import MASTER, Network
from paramserver.simulation.node import Node
from paramserver.simulation.world import World
from ps_common.errors import PeerError
from ps_common.job import Description
from ps_common.memory import Memory
from ps_common.messages import Join
from ps_worker.effects import Cancel, Compute, Connect, Effect, Exit, Note, Prepare, Send
from ps_worker.machine import Worker

EFFECTS_MAX = 16  # of one call: a push and a window of chunks, and a few more; and a request a server


class WorkerNode(Node):
    """One incarnation of a worker: killed and started again it is another node at another address.

    on_compute: told of each unit before it is computed. on_turn: checks what must hold after every turn.
    """

    def __init__(
        self,
        world: World,
        network: Network,
        address: bytes,
        join: Join,
        pace: Pace,
        make_replica: Callable[[Description, Memory], Replica],
        memory: Memory,
        on_compute: Callable[["WorkerNode", Compute], None] = lambda node, task: None,
        on_turn: Callable[["WorkerNode"], None] = lambda node: None,
        master_timeout_s: float = 120.0,
        host: Host | None = None,
        costs: Costs = FREE,
    ) -> None:
        super().__init__(world, network, address, host or Host(), costs)
        self.memory = memory
        join = dataclasses.replace(join, place=memory.place, pid=memory.pid)
        self.machine = Worker(join, self.now, master_timeout_s, memory=memory)
        self.computing = Computing(
            world, pace, make_replica, memory, before=lambda task: on_compute(self, task), wake=self.turn,
            cores=self.host.cores,
        )  # fmt: skip
        self.started_at = world.now
        self.exit: Exit | None = None
        self.notes: list[str] = []
        self.servers: list[bytes] = []
        self._on_turn = on_turn

    def __str__(self) -> str:
        state = f"exit {self.exit.exit_code}: {self.exit.reason}" if self.exit else self.machine.state.value
        return f"worker {self.address.decode()} ({self.machine.name}): {state}"

    def before_messages(self) -> None:
        for outcome in self.computing.take():
            self._perform(self.machine.done(outcome, self.now))

    def before_tick(self) -> None:
        self.machine.step = self.computing.step

    def take(self, sender: bytes, frames: Frames) -> None:
        try:
            message = message_of(frames)
        except PeerError as error:
            raise AssertionError(f"{sender.decode()} sent what is no message: {error}") from error
        self.charge(message, frames)
        if sender == MASTER:
            self._perform(self.machine.handle(message, payloads_of(frames), self.now))
        elif sender in self.servers:
            server = self.servers.index(sender)
            self._perform(self.machine.hear(server, message, payloads_of(frames), self.now))

    def tick(self) -> None:
        self._perform(self.machine.tick(self.now))

    def stop(self) -> None:
        self._perform(self.machine.stop(self.now))

    def next_deadline(self) -> float:
        return self.machine.next_deadline()

    def check(self) -> None:
        self._on_turn(self)

    def _perform(self, effects: list[Effect]) -> None:
        assert len(effects) <= EFFECTS_MAX + len(self.servers), f"a flood of {len(effects)} effects"
        for effect in effects:
            match effect:
                case Send(message, payloads, server):
                    to = MASTER if server is None else self.servers[server]
                    self.send(self.address, to, message, payloads)
                case Connect(servers):
                    self._connect([address.encode() for address in servers])
                case Prepare() | Compute():
                    self.computing.begin(effect)
                case Cancel():
                    self.computing.cancel()
                case Note(text):
                    self.notes.append(text)
                case Exit():
                    assert self.exit is None, f"{self} leaves twice"
                    self.exit = effect
        if self.exit is not None and self.is_alive:
            self.kill()
            self._on_turn(self)

    def _connect(self, servers: list[bytes]) -> None:
        """As the loop does: new connections, under the same identity."""
        for address in {*self.servers, *servers}:
            self.network.connect_anew(self.address, address)
        self.servers = servers
