"""A network that loses, delays, repeats, reorders and damages messages, as its weather says.

Messages are frames of bytes. In calm weather every pair of addresses is a queue, as over TCP.
"""

import dataclasses
from collections.abc import Callable, Sequence

from simulation.world import World

MASTER = b"master"
Frames = Sequence[bytes]
Taker = Callable[[bytes, Frames], None]
Tamper = Callable[[bytes, bytes, Frames], Sequence[tuple[float, Frames]]]


@dataclasses.dataclass(frozen=True)
class Weather:
    """Seconds of latency, and the probability that something happens to a message."""

    latency_s: float = 0.001
    jitter_s: float = 0.0
    drop: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0  # goes a way of its own, and may take up to `detour_s`
    detour_s: float = 1.0
    corrupt: float = 0.0  # one byte of one payload frame; the header is msgpack's and the decoder's affair


CALM = Weather()


class Network:
    """Carries frames between addresses. Who has crashed or left is not attached; its messages are lost."""

    def __init__(self, world: World, weather: Weather = CALM) -> None:
        self.weather = weather
        self.blocked: set[tuple[bytes, bytes]] = set()  # (from, to): a partition, one way
        self.tamper: Tamper | None = None  # what becomes of a message instead: frames, each so much later
        self.messages = 0
        self.damaged = 0
        self._world = world
        self._takers: dict[bytes, Taker] = {}
        self._last: dict[tuple[bytes, bytes], float] = {}
        self._connections: dict[frozenset[bytes], int] = {}  # how often two were connected anew

    def attach(self, address: bytes, taker: Taker) -> None:
        self._takers[address] = taker

    def detach(self, address: bytes) -> None:
        self._takers.pop(address, None)
        self._last = {pair: time for pair, time in self._last.items() if address not in pair}
        self.blocked = {pair for pair in self.blocked if address not in pair}

    def connect_anew(self, one: bytes, other: bytes) -> None:
        """What is under way between the two is lost with the connection it was sent through."""
        pair = frozenset((one, other))
        self._connections[pair] = self._connections.get(pair, 0) + 1

    def cut(self, address: bytes, towards: bool, back: bool, other: bytes = MASTER) -> None:
        """Cut an address off the master, or another: what it sends, what it is sent, or both."""
        self.blocked |= {(address, other)} if towards else set()
        self.blocked |= {(other, address)} if back else set()

    def heal(self, address: bytes, other: bytes = MASTER) -> None:
        self.blocked -= {(address, other), (other, address)}

    def send(self, source: bytes, target: bytes, frames: Frames) -> None:
        """Send frames; how often and when they arrive, if at all, is a matter of the weather."""
        self.messages += 1
        world, weather = self._world, self.weather
        if (source, target) in self.blocked or world.chance(weather.drop):
            return
        if self.tamper is not None:
            for delay_s, changed in self.tamper(source, target, frames):
                time = world.now + weather.latency_s + delay_s
                world.at(time, lambda changed=changed: self._deliver(source, target, changed))  # type: ignore[misc]
            return
        for _ in range(2 if world.chance(weather.duplicate) else 1):
            self._carry(source, target, self._weathered(frames))

    def _carry(self, source: bytes, target: bytes, frames: Frames) -> None:
        world, weather, pair = self._world, self.weather, (source, target)
        time = world.now + weather.latency_s + world.random.uniform(0, weather.jitter_s)
        if world.chance(weather.reorder):
            time += world.random.uniform(0, weather.detour_s)
        else:
            time = self._last[pair] = max(time, self._last.get(pair, 0.0))
        connection = self._connections.get(frozenset(pair))

        def arrive() -> None:
            if self._connections.get(frozenset(pair)) == connection:
                self._deliver(source, target, frames)

        world.at(time, arrive)

    def _deliver(self, source: bytes, target: bytes, frames: Frames) -> None:
        """A master that was started again takes what was meant for the one before, too."""
        taker = self._takers.get(target)
        if taker is not None and (source, target) not in self.blocked:
            taker(source, frames)

    def _weathered(self, frames: Frames) -> Frames:
        payloads = [i for i in range(1, len(frames)) if frames[i]]
        if not payloads or not self._world.chance(self.weather.corrupt):
            return frames
        self.damaged += 1
        hit = self._world.random.choice(payloads)
        damaged = bytearray(frames[hit])
        damaged[self._world.random.randrange(len(damaged))] ^= 1 << self._world.random.randrange(8)
        return [*frames[:hit], bytes(damaged), *frames[hit + 1 :]]
