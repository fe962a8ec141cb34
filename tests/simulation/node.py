"""A process in the simulation: the loop of production, without its socket and its clock.

As there, a turn hands the machine what has arrived, at most 64 messages, and then lets it tick exactly if
its deadline has come; between two turns the process sleeps until a message or that deadline.
"""

import abc
import collections
import math

from simulation.network import Frames, Network
from simulation.world import World

MESSAGES_AT_ONCE = 64


class Node(abc.ABC):
    """One process at one address. `is_alive` until it is killed or has left by itself.

    is_only_asked: it may wait for ever, for it does nothing of its own accord.
    """

    is_only_asked = False

    def __init__(self, world: World, network: Network, address: bytes) -> None:
        self.world = world
        self.network = network
        self.address = address
        self.is_alive = True
        self.is_paused = False
        self.inbox: collections.deque[tuple[bytes, list[memoryview]]] = collections.deque()
        self._is_asked_to_stop = False
        self._alarm = math.inf  # when the earliest wake-up is planned
        network.attach(address, self._arrive)

    # -- what the world does to it --------------------------------------------------------------------

    def kill(self) -> None:
        """SIGKILL, or the end of the process: nothing more is heard of it."""
        self.is_alive = False
        self.inbox.clear()
        self.network.detach(self.address)

    def pause(self) -> None:
        """SIGSTOP."""
        self.is_paused = True

    def resume(self) -> None:
        """SIGCONT: everything that has come meanwhile is there at once."""
        self.is_paused = False
        self.turn()

    def ask_to_stop(self) -> None:
        """SIGTERM."""
        self._is_asked_to_stop = True
        self.turn()

    def _arrive(self, sender: bytes, frames: Frames) -> None:
        self.inbox.append((sender, [memoryview(frame) for frame in frames]))
        self.turn()

    # -- the loop -------------------------------------------------------------------------------------

    def turn(self) -> None:
        """Once round the loop."""
        if not self.is_alive or self.is_paused:
            return
        self.before_messages()
        for _ in range(min(MESSAGES_AT_ONCE, len(self.inbox))):
            if self.is_alive:
                self.take(*self.inbox.popleft())
        self.before_tick()
        if self.is_alive and self.world.now >= self.next_deadline():
            self.tick()
            assert not self.is_alive or self.next_deadline() > self.world.now, f"{self} ticks on the spot"
        if self.is_alive and self._is_asked_to_stop:
            self._is_asked_to_stop = False
            self.stop()
        if self.is_alive:
            self.check()
            self._sleep()

    def _sleep(self) -> None:
        """Plan the next turn. One wake-up at a time: it looks for itself whether the deadline has moved."""
        deadline = self.world.now if self.inbox else self.next_deadline()
        assert math.isfinite(deadline) or self.is_only_asked, f"{self} waits without a deadline"
        if deadline < self._alarm:
            self._alarm = deadline
            self.world.at(deadline, lambda: self._wake(deadline))

    def _wake(self, alarm: float) -> None:
        if alarm != self._alarm or not self.is_alive:
            return
        self._alarm = math.inf
        if self.is_paused:
            return
        if self.inbox or self.world.now >= self.next_deadline():
            self.turn()
        else:
            self._sleep()

    # -- what each side does in its own way -----------------------------------------------------------

    @abc.abstractmethod
    def take(self, sender: bytes, frames: list[memoryview]) -> None:
        """Hand the machine one message, and perform what it wants."""

    @abc.abstractmethod
    def tick(self) -> None: ...

    @abc.abstractmethod
    def stop(self) -> None: ...

    @abc.abstractmethod
    def next_deadline(self) -> float: ...

    @abc.abstractmethod
    def check(self) -> None:
        """What must hold after every turn."""

    def before_messages(self) -> None:  # noqa: B027
        """Take what the computing side has finished."""

    def before_tick(self) -> None:  # noqa: B027
        """Tell the machine how far the computing side is."""
