"""Virtual time: what is to happen, in the order of (time, sequence), and the one source of chance."""

import heapq
import itertools
import random
from collections.abc import Callable


class Stuck(AssertionError):
    """The run is not over at its virtual deadline, or nothing is left to happen."""


class World:
    """A clock that moves from one event to the next. The same seed makes the same run."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - chance, no secret
        self.now = self.random.uniform(1.0, 1e5)  # a monotonic clock begins anywhere
        self.clocks = random.Random(f"clocks {seed}")  # noqa: S311 - likewise; of what clocks show
        self.events = 0
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def at(self, time: float, event: Callable[[], None]) -> None:
        """Let `event` happen at `time`, after everything else that was planned for that time."""
        heapq.heappush(self._queue, (max(time, self.now), next(self._numbers), event))

    def after(self, delay_s: float, event: Callable[[], None]) -> None:
        self.at(self.now + delay_s, event)

    def chance(self, probability: float) -> bool:
        return probability > 0 and self.random.random() < probability

    def run(self, until: Callable[[], bool], within_s: float, state: Callable[[], str] = str) -> None:
        """Let events happen until it is so. Raises `Stuck` with `state()` where that takes too long."""
        deadline = self.now + within_s
        while not until():
            if not self._queue:
                raise Stuck(f"nothing is left to happen\n{state()}")
            time, _, event = heapq.heappop(self._queue)
            if time > deadline:
                raise Stuck(f"not over after {within_s:g} s of virtual time\n{state()}")
            self.now = time
            self.events += 1
            event()

    def let_pass(self, seconds: float) -> None:
        """Let everything happen that happens within so many seconds."""
        end = self.now + seconds
        while self._queue and self._queue[0][0] <= end:
            self.now, _, event = heapq.heappop(self._queue)
            self.events += 1
            event()
        self.now = end
