"""Processes of this machine whose end the kernel tells at once, instead of their silence a while later.

Which of them to watch, and what their end means, is decided elsewhere. See pidfd_open(2), epoll(7).
"""

import contextlib
import os
import select


class Watched:
    """Processes by name; one descriptor becomes readable when any of them has ended."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._names: dict[int, bytes] = {}  # by descriptor
        self._descriptors: dict[bytes, int] = {}

    def fileno(self) -> int:
        return self._epoll.fileno()

    def add(self, name: bytes, pid: int) -> bool:
        """Watch a process; False where it is gone already. Who cannot be watched falls silent later."""
        self.remove(name)
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            return False
        except (OSError, OverflowError):  # no more descriptors, an old kernel, or no number of a process
            return True
        self._epoll.register(descriptor, select.EPOLLIN)
        self._names[descriptor], self._descriptors[name] = name, descriptor
        return True

    def remove(self, name: bytes) -> None:
        descriptor = self._descriptors.pop(name, -1)
        if descriptor >= 0:
            del self._names[descriptor]
            os.close(descriptor)  # which takes it out of the set, too

    def ended(self) -> list[bytes]:
        """Who has ended since this was last asked; they are watched no more."""
        names = [self._names[descriptor] for descriptor, _ in self._epoll.poll(0)]
        for name in names:
            self.remove(name)
        return names

    def close(self) -> None:
        for name in list(self._descriptors):
            self.remove(name)
        with contextlib.suppress(OSError):
            self._epoll.close()
