"""The monotonic clock of one machine: it runs like all others, and shows another time than any of them."""

import math

from paramserver.simulation.world import World


class Clock:
    """World time and an offset of its own: who compares two machines' clocks gets nonsense, as outside."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._offset_s = world.clocks.uniform(-world.now, 1e6)  # a machine may have been started just now

    @property
    def now(self) -> float:
        return self._world.now + self._offset_s

    def step(self, seconds: float) -> None:
        """It goes forward at once, as on a machine that was suspended."""
        self._offset_s += seconds

    def when(self, time: float) -> float:
        """World time at which this clock shows at least `time`."""
        moment = time - self._offset_s
        while moment + self._offset_s < time:  # rounded down
            moment += math.ulp(max(abs(moment), abs(time)))
        return moment
