"""An averaging server in the simulation: the machine of production, reached by the master and by workers."""

import collections
from collections.abc import Callable

from paramserver.averager import Averager
from paramserver.effects import Effect, Note, Send
from ps_common.errors import PeerError
from ps_common.memory import Memory
from ps_common.messages import Message
from ps_common.wire import decode, encode
from simulation.network import Network
from simulation.node import Node
from simulation.world import World


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
    ) -> None:
        super().__init__(world, network, address)
        self.memory = memory
        self.machine = make_server(world.now, memory)
        self.notes: list[Note] = []
        self.sent: collections.Counter[type[Message]] = collections.Counter()
        self._on_turn = on_turn

    def __str__(self) -> str:
        chunks = self.machine._chunks
        version = "nothing" if chunks is None else f"version {chunks.version}"
        state = "alive" if self.is_alive else "gone"
        return f"server {self.address.decode()}: {state}, {version}"

    def take(self, sender: bytes, frames: list[memoryview]) -> None:
        self.machine.bytes_received += sum(map(len, frames))
        try:
            message = decode(frames)
        except PeerError as error:
            self._perform(self.machine.refuse(sender, error))
            return
        self._perform(self.machine.handle(sender, message, frames[1:], self.world.now))

    def tick(self) -> None:
        self._perform(self.machine.tick(self.world.now))

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
                    frames = [encode(message), *(bytes(part.data) for part in payloads)]
                    self.sent[type(message)] += 1
                    self.machine.bytes_sent += sum(map(len, frames))
                    self.network.send(self.address, to, frames)
                case Note():
                    self.notes.append(effect)
                case _:
                    raise AssertionError(f"a server cannot {effect}")
