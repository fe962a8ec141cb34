"""The link of a host: what is sent over it takes time, queues, and is shared fairly by those who send.

    host of the sender                               host of the receiver
    process -> link out, queues of flows -> latency -> link in, queues of flows -> process

A flow is one connection, one way. A link serves the flows in the order of self-clocked fair queueing
(Golestani 1994), so each gets an equal share, and a short message of a quiet one does not wait for the long
queue of another: what TCP connections through one link come to.
"""

import heapq
import itertools
import math
from collections.abc import Callable, Hashable

from paramserver.simulation.world import World

Begin = Callable[[float], None]


class Link:
    """One way of a link. busy_s: how long it has carried something; carried: bytes."""

    def __init__(self, world: World) -> None:
        self.busy_s = 0.0
        self.carried = 0.0
        self._world = world
        self._free_at = -math.inf
        self._waiting: list[tuple[float, int, float, Begin]] = []  # by finish tag, then order
        self._numbers = itertools.count()
        self._tags: dict[Hashable, float] = {}  # finish tag of the last message of each flow
        self._served = 0.0  # finish tag of the message on the link

    @property
    def is_idle(self) -> bool:
        return not self._waiting and self._world.now >= self._free_at

    def send(self, flow: Hashable, nbytes: float, seconds: float, begin: Begin) -> None:
        """Carry a message that takes so long; `begin(seconds)` is called when its first byte is sent."""
        self.carried += nbytes
        if not self._waiting and self._world.now >= self._free_at:
            self._served = seconds
            self._tags = {flow: seconds}
            self._start(seconds, begin)
            return
        tag = max(self._served, self._tags.get(flow, 0.0)) + seconds
        self._tags[flow] = tag
        if not self._waiting:
            self._world.at(self._free_at, self._next)
        heapq.heappush(self._waiting, (tag, next(self._numbers), seconds, begin))

    def _next(self) -> None:
        self._served, _, seconds, begin = heapq.heappop(self._waiting)
        self._start(seconds, begin)
        if self._waiting:
            self._world.at(self._free_at, self._next)

    def _start(self, seconds: float, begin: Begin) -> None:
        self.busy_s += seconds
        self._free_at = self._world.now + seconds
        begin(seconds)


class Links:
    """The two ways of a host's link. bandwidth: bytes a second, each way."""

    def __init__(self, world: World, bandwidth: float = math.inf) -> None:
        self.bandwidth = bandwidth
        self.out, self.into = Link(world), Link(world)
