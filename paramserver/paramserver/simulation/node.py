"""A process in the simulation: the loop of production, without its socket and its clock.

As there, a turn hands the machine what has arrived, at most 64 messages, and then lets it tick exactly if
its deadline has come; between two turns the process sleeps until a message or that deadline.

Where messages cost something, a turn takes one, and the next comes when the loop is free again. As outside, a
second thread moves bytes: what arrives passes it before the loop, what is sent after.
"""

import abc
import collections
import math
from collections.abc import Sequence

from paramserver.simulation.clock import Clock
from paramserver.simulation.frames import Frames, frames_of
from paramserver.simulation.hardware import FREE, Costs
from paramserver.simulation.host import Host
from paramserver.simulation.network import Network
from paramserver.simulation.world import World
from ps_common.arrays import HostArray
from ps_common.messages import Message

MESSAGES_AT_ONCE = 64


class Node(abc.ABC):
    """One process at one address of a host. `is_alive` until it is killed or has left by itself.

    is_only_asked: it may wait for ever, for it does nothing of its own accord. busy_s: seconds that the loop
    has worked; moving_s: the thread that moves bytes.
    """

    is_only_asked = False

    def __init__(
        self, world: World, network: Network, address: bytes, host: Host, costs: Costs = FREE
    ) -> None:
        self.world = world
        self.network = network
        self.address = address
        self.host = host
        self.clock = Clock(world)
        self.busy_s = self.moving_s = 0.0
        self.is_alive = True
        self.is_paused = False
        self.inbox: collections.deque[tuple[bytes, Frames]] = collections.deque()
        self._is_asked_to_stop = False
        self._alarm = math.inf  # world time of the earliest wake-up that is planned
        self._costs = costs
        self._cores = host.cores if host.cores is not None and host.cores.is_limited else None
        self._free_at = self._moved_at = -math.inf  # world time until which each thread has something to do
        network.attach(address, self._arrive, host.links)

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

    def step_clock(self, seconds: float) -> None:
        """Its machine was suspended: the clock goes forward at once."""
        self.clock.step(seconds)
        self._alarm = math.inf
        self.turn()

    def ask_to_stop(self) -> None:
        """SIGTERM."""
        self._is_asked_to_stop = True
        self.turn()

    def _arrive(self, sender: bytes, frames: Frames) -> None:
        if self._costs is FREE:
            self._take_in(sender, frames)
        else:
            moved_at = self._move(self.world.now, frames)
            self.world.at(moved_at, lambda: self._take_in(sender, frames))

    def _take_in(self, sender: bytes, frames: Frames) -> None:
        if self.is_alive:
            self.inbox.append((sender, frames))
            self.turn()

    # -- the loop -------------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        """By its own clock."""
        return self.clock.now

    def turn(self) -> None:
        """Once round the loop."""
        world = self.world
        if not self.is_alive or self.is_paused:
            return
        if world.now < self._free_at:
            self._wake_at(self._free_at)
            return
        self.before_messages()
        for _ in range(min(MESSAGES_AT_ONCE, len(self.inbox))):
            if not self.is_alive or world.now < self._free_at:
                break
            self.take(*self.inbox.popleft())
        self.before_tick()
        if self.is_alive and self.now >= self.next_deadline():
            self.tick()
            assert not self.is_alive or self.next_deadline() > self.now, f"{self} ticks on the spot"
        if self.is_alive and self._is_asked_to_stop:
            self._is_asked_to_stop = False
            self.stop()
        if self.is_alive:
            self.check()
            self._sleep()

    def _sleep(self) -> None:
        """Plan the next turn. One wake-up at a time: it looks for itself whether the deadline has moved."""
        if self.inbox:
            self._wake_at(max(self.world.now, self._free_at))
            return
        deadline = self.next_deadline()
        assert math.isfinite(deadline) or self.is_only_asked, f"{self} waits without a deadline"
        self._wake_at(max(self.clock.when(deadline), self._free_at))

    def _wake_at(self, moment: float) -> None:
        if moment < self._alarm:
            self._alarm = moment
            self.world.at(moment, lambda: self._wake(moment))

    def _wake(self, alarm: float) -> None:
        if alarm != self._alarm or not self.is_alive:
            return
        self._alarm = math.inf
        if self.is_paused:
            return
        if self.inbox or self.now >= self.next_deadline():
            self.turn()
        else:
            self._sleep()

    # -- what messages cost ---------------------------------------------------------------------------

    def charge(self, message: Message, frames: Frames) -> None:
        """The loop has taken a message."""
        if self._costs is not FREE:
            self._spend(self._costs.handling(type(message), self.network.payload_bytes(frames)))

    def send(self, source: bytes, target: bytes, message: Message, payloads: Sequence[HostArray] = ()) -> int:
        """Send a message, when the loop has come to it and its bytes are moved; returns how many they are."""
        frames = frames_of(message, payloads, is_known=self._costs is not FREE)
        if self._costs is FREE:
            self.network.send(source, target, frames)
        else:
            self._spend(self._costs.sending(type(message), self.network.payload_bytes(frames)))
            moved_at = self._move(self._free_at, frames)
            self.world.at(
                moved_at, lambda: self.network.send(source, target, frames) if self.is_alive else None
            )
        return sum(map(len, frames))

    def _spend(self, seconds: float) -> None:
        """The loop is busy."""
        self._free_at = max(self._free_at, self.world.now) + seconds
        self.busy_s += seconds
        self._interrupt(seconds)

    def _move(self, since: float, frames: Frames) -> float:
        """The other thread moves a message that is there `since`; when it has."""
        seconds = self._costs.moving(self.network.payload_bytes(frames))
        self._moved_at = max(self._moved_at, since) + seconds
        self.moving_s += seconds
        self._interrupt(seconds)
        return self._moved_at

    def _interrupt(self, seconds: float) -> None:
        if self._cores is not None:
            self._cores.interrupt(seconds)

    # -- what each side does in its own way -----------------------------------------------------------

    @abc.abstractmethod
    def take(self, sender: bytes, frames: Frames) -> None:
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
