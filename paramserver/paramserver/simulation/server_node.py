"""An averaging server in the simulation: the machine of production, reached by the master and by workers."""

import collections
from collections.abc import Callable

from paramserver.effects import Effect, Note, Send
from paramserver.servers.averager import Averager
from paramserver.simulation.frames import Frames, message_of, payloads_of
from paramserver.simulation.hardware import FREE, Costs
from paramserver.simulation.host import Host
from paramserver.simulation.network import Network
from paramserver.simulation.node import Node
from paramserver.simulation.world import World
from ps_common.errors import PeerError
from ps_common.memory import Memory
from ps_common.messages import Message


class ServerNode(Node):
    """One process at one address: killed and started again it is another node there, and knows nothing.

    on_turn: checks what must hold after every turn.
    """

    is_only_asked = True

    def __init__(
        self,
        world: World,
        network: Network,
        address: bytes,
        memory: Memory,
        make_server: Callable[..., Averager] = Averager,
        on_turn: Callable[["ServerNode"], None] = lambda node: None,
        host: Host | None = None,
        costs: Costs = FREE,
    ) -> None:
        super().__init__(world, network, address, host or Host(), costs)
        self.memory = memory
        self.machine = make_server(self.now, memory)
        self.notes: list[Note] = []
        self.sent: collections.Counter[type[Message]] = collections.Counter()
        self._on_turn = on_turn

    def __str__(self) -> str:
        chunks = self.machine._chunks
        version = "nothing" if chunks is None else f"version {chunks.version}"
        state = "alive" if self.is_alive else "gone"
        return f"server {self.address.decode()}: {state}, {version}"

    def take(self, sender: bytes, frames: Frames) -> None:
        self.machine.bytes_received += sum(map(len, frames))
        try:
            message = message_of(frames)
        except PeerError as error:
            self._perform(self.machine.refuse(sender, error))
            return
        self.charge(message, frames)
        self._perform(self.machine.handle(sender, message, payloads_of(frames), self.now))

    def tick(self) -> None:
        self._perform(self.machine.tick(self.now))

    def stop(self) -> None:
        """SIGTERM, and there is nothing to wait for."""
        self.kill()

    def next_deadline(self) -> float:
        return self.machine.next_deadline()

    def check(self) -> None:
        self._on_turn(self)

    def _perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(to, message, payloads):
                    self.sent[type(message)] += 1
                    self.machine.bytes_sent += self.send(self.address, to, message, payloads)
                case Note():
                    self.notes.append(effect)
                case _:
                    raise AssertionError(f"a server cannot {effect}")
