"""The cores of a host: what its processes compute at a time shares them equally."""

import heapq
import itertools
import math
from collections.abc import Callable

from paramserver.simulation.world import World


class Cores:
    """So many cores; math.inf: enough for everybody.

    Where more tasks run than there are cores, all are slower in the same proportion. Every task makes the
    same progress, so one counter of progress is enough: a task ends when it reaches what it began at, and
    its own length.
    """

    def __init__(self, world: World, count: float = math.inf) -> None:
        self.count = count
        self._world = world
        self._progress_s = 0.0  # of each task that runs, since the beginning
        self._seen_at = world.now
        self._tasks: list[tuple[float, int, Callable[[], None]]] = []  # by the progress at which they end
        self._numbers = itertools.count()
        self._planned = 0  # number of the last wake-up that was planned; those before are void

    @property
    def is_limited(self) -> bool:
        return self.count < math.inf

    def begin(self, seconds: float, done: Callable[[], None]) -> None:
        """Compute something that takes one core so long."""
        if not self.is_limited:
            self._world.after(seconds, done)
            return
        self._advance()
        heapq.heappush(self._tasks, (self._progress_s + seconds, next(self._numbers), done))
        self._plan()

    def interrupt(self, seconds: float) -> None:
        """A message is handled: short, so it goes first, and where no core is free, tasks come to stand."""
        if self._tasks and len(self._tasks) >= self.count:
            self._advance()
            self._progress_s -= seconds / len(self._tasks)
            self._plan()

    def _advance(self) -> None:
        speed = min(1.0, self.count / max(1, len(self._tasks)))
        self._progress_s += (self._world.now - self._seen_at) * speed
        self._seen_at = self._world.now

    def _plan(self) -> None:
        self._planned += 1
        number, speed = self._planned, min(1.0, self.count / len(self._tasks))
        self._world.after((self._tasks[0][0] - self._progress_s) / speed, lambda: self._end(number))

    def _end(self, number: int) -> None:
        if number != self._planned:
            return
        self._progress_s, _, done = heapq.heappop(self._tasks)
        self._seen_at = self._world.now
        if self._tasks:
            self._plan()
        done()
