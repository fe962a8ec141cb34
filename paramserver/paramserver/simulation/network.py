"""A network that loses, delays, repeats, reorders and damages messages, as its weather says.

Messages are frames of bytes. In calm weather every pair of addresses is a queue, as over TCP. Between hosts
with links a message takes its time on both, and queues for them.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

from paramserver.simulation.frames import Frames
from paramserver.simulation.links import Links
from paramserver.simulation.world import World

MASTER = b"master"
# An Ethernet frame with all around it, for what TCP has left of it; and the acknowledgement of every second
# frame, which goes the other way, where as much goes of our messages.
ON_THE_WIRE = (1538 + 84 / 2) / 1448
LEAST_BYTES = 90 + 18  # that of a frame, and of ZeroMQ's
Taker = Callable[[bytes, Frames], None]
Tamper = Callable[[bytes, bytes, Frames], Sequence[tuple[float, Frames]]]


@dataclasses.dataclass(frozen=True)
class Weather:
    """Seconds of latency, the probability that something happens to a message, and what links carry."""

    latency_s: float = 0.001
    jitter_s: float = 0.0
    drop: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0  # goes a way of its own, and may take up to `detour_s`
    detour_s: float = 1.0
    corrupt: float = 0.0  # one byte of one payload frame; the header is msgpack's and the decoder's affair
    bandwidth: float = math.inf  # bytes a second that a link carries at most


CALM = Weather()


class Network:
    """Carries frames between addresses. Who has crashed or left is not attached; its messages are lost.

    scale: how many bytes one byte of payload stands for.
    """

    def __init__(self, world: World, weather: Weather = CALM, scale: int = 1) -> None:
        self.scale = scale
        self.weather = weather
        self.blocked: set[tuple[bytes, bytes]] = set()  # (from, to): a partition, one way
        self.tamper: Tamper | None = None  # what becomes of a message instead: frames, each so much later
        self.messages = 0
        self.damaged = 0
        self._world = world
        self._takers: dict[bytes, Taker] = {}
        self._links: dict[bytes, Links | None] = {}
        self._last: dict[tuple[bytes, bytes], float] = {}
        self._connections: dict[tuple[bytes, bytes], int] = {}  # how often two were connected anew

    def attach(self, address: bytes, taker: Taker, links: Links | None = None) -> None:
        self._takers[address], self._links[address] = taker, links

    def detach(self, address: bytes) -> None:
        self._takers.pop(address, None)
        self._links.pop(address, None)
        self._last = {pair: time for pair, time in self._last.items() if address not in pair}
        self.blocked = {pair for pair in self.blocked if address not in pair}

    def connect_anew(self, one: bytes, other: bytes) -> None:
        """What is under way between the two is lost with the connection it was sent through."""
        for pair in ((one, other), (other, one)):
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

    def payload_bytes(self, frames: Frames) -> int:
        """What the payload of a message stands for."""
        return 0 if len(frames) == 1 else self.scale * (sum(map(len, frames)) - len(frames[0]))

    def _carry(self, source: bytes, target: bytes, frames: Frames) -> None:
        ours, theirs = self._links.get(source), self._links.get(target)
        if ours is None or theirs is None or ours is theirs or not self._takes_time(ours, theirs):
            self._fly(source, target, lambda: self._deliver(source, target, frames))
            return
        world, limit = self._world, self.weather.bandwidth
        nbytes = LEAST_BYTES + (len(frames[0]) + self.payload_bytes(frames)) * ON_THE_WIRE
        seconds_there = nbytes / min(theirs.bandwidth, limit)

        def leave(seconds: float) -> None:
            def come() -> None:
                last_at = world.now + seconds  # its last byte comes as much later as it left later

                def enter(seconds: float) -> None:
                    world.at(max(world.now + seconds, last_at), lambda: self._deliver(source, target, frames))

                theirs.into.send((source, target), nbytes, seconds_there, enter)

            self._fly(source, target, come, seconds)

        ours.out.send((source, target), nbytes, nbytes / min(ours.bandwidth, limit), leave)

    def _takes_time(self, ours: Links, theirs: Links) -> bool:
        """Whether a message takes time on a link, or must wait for those before it."""
        is_quick = min(ours.bandwidth, theirs.bandwidth, self.weather.bandwidth) == math.inf
        return not (is_quick and ours.out.is_idle and theirs.into.is_idle)

    def _fly(self, source: bytes, target: bytes, come: Callable[[], None], seconds: float = 0.0) -> None:
        """Let the first byte of a message come, the last of which comes so many seconds later."""
        world, weather, pair = self._world, self.weather, (source, target)
        time = world.now + weather.latency_s + world.random.uniform(0, weather.jitter_s)
        if world.chance(weather.reorder):
            time += world.random.uniform(0, weather.detour_s)
        else:
            time = max(time, self._last.get(pair, 0.0))
            self._last[pair] = time + seconds
        connection = self._connections.get(pair)

        def arrive() -> None:
            if self._connections.get(pair) == connection:
                come()

        world.at(time, arrive)

    def _deliver(self, source: bytes, target: bytes, frames: Frames) -> None:
        """A master that was started again takes what was meant for the one before, too."""
        taker = self._takers.get(target)
        if taker is not None and (source, target) not in self.blocked:
            taker(source, frames)

    def _weathered(self, frames: Frames) -> Frames:
        payloads = [i for i in range(1, len(frames)) if frames[i]] if self.weather.corrupt else ()
        if not payloads or not self._world.chance(self.weather.corrupt):
            return frames
        self.damaged += 1
        hit = self._world.random.choice(payloads)
        damaged = bytearray(frames[hit])
        damaged[self._world.random.randrange(len(damaged))] ^= 1 << self._world.random.randrange(8)
        return [*frames[:hit], bytes(damaged), *frames[hit + 1 :]]
