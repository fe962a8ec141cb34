"""The disk that checkpoints go to, and the thread that writes them: it takes a while until one is safe."""

import math
from collections.abc import Callable

from paramserver.effects import Snapshot
from paramserver.simulation.world import World

DELAY_S = 0.05  # at most, of a quick disk


class Disk:
    """delay_s: at most so much passes until a snapshot is safe, and what its bytes take beside."""

    def __init__(self, world: World, bandwidth: float = math.inf) -> None:
        self.bandwidth = bandwidth  # bytes a second
        self.delay_s = DELAY_S
        self._world = world

    def seconds(self, nbytes: int) -> float:
        return self.delay_s * self._world.random.random() + nbytes / self.bandwidth


class Writer:
    """As that of a master: one snapshot at a time, and of several waiting, the last counts.

    written: told of each that is safe, and whether nothing else waits.
    """

    def __init__(self, world: World, disk: Disk, written: Callable[[Snapshot, bool], None]) -> None:
        self._world, self._disk, self._written = world, disk, written
        self._is_writing = False
        self._waiting: Snapshot | None = None

    def put(self, snapshot: Snapshot) -> None:
        if self._is_writing:
            self._waiting = snapshot
            return
        self._is_writing = True
        self._world.after(self._disk.seconds(snapshot.vector.nbytes), lambda: self._end(snapshot))

    def _end(self, snapshot: Snapshot) -> None:
        self._is_writing, waiting, self._waiting = False, self._waiting, None
        self._written(snapshot, waiting is None)
        if waiting is not None:
            self.put(waiting)
