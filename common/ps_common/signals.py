"""Signals, wake-ups and orphanhood, for a loop that sleeps in a poll.

A signal handler or another thread makes the poll return by writing to a pipe. The first INT or TERM is
for the loop to act on; the second ends the process at once. Our own commands ask a process that they have
started by another signal, which never counts as the second: Slurm and systemd send TERM to every process of a
job, and to pass it on would be to send it twice. USR1 asks who has something to save to do so now.
"""

import contextlib
import ctypes
import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
ASK_TO_STOP = signal.SIGUSR2
ASK_TO_SAVE = signal.SIGUSR1
PREEMPTED = 128 + signal.SIGTERM  # the exit code of who was asked to leave, and is to be started again
PR_SET_PDEATHSIG = 1
AT_ONCE_BYTES = 4096  # read at once: more than ever lies in the pipe of a loop that lives


class WakePipe:
    """A pipe whose reading end is polled; `wake` may be called from any thread or signal handler.

    parent: the process that started this one, which may be gone by now; None: whichever it still has.
    """

    def __init__(self, parent: int | None = None) -> None:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self.signal: int | None = None  # the first stop signal that came
        self.is_save_wanted = False  # for the loop to take back
        self._parent = parent or os.getppid()

    def fileno(self) -> int:
        return self._reader

    def wake(self) -> None:
        with contextlib.suppress(BlockingIOError, OSError):  # full: it is awake already; closed: it has ended
            os.write(self._writer, b"\0")

    def clear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while len(os.read(self._reader, AT_ONCE_BYTES)) == AT_ONCE_BYTES:
                pass

    @property
    def is_orphan(self) -> bool:
        """Whether the process that started this one is gone."""
        return os.getppid() != self._parent

    def close(self) -> None:
        reader, writer = self._reader, self._writer
        # First, so that a late `wake` does not write to whoever is given the number next.
        self._reader = self._writer = -1
        for end in (reader, writer):
            if end >= 0:
                os.close(end)

    @contextlib.contextmanager
    def catching_signals(self, is_last: bool = False) -> Iterator[None]:
        """Within it, the first INT or TERM is kept in `signal` and wakes; the second ends the process.

        is_last: the process ends soon after, in order, also where a signal comes late.
        """
        stops: list[int] = []

        def on_signal(number: int, frame: FrameType | None) -> None:
            if number == ASK_TO_SAVE:
                self.is_save_wanted = True
            else:
                if number != ASK_TO_STOP:
                    stops.append(number)
                if len(stops) > 1:
                    os._exit(128 + number)
                self.signal = self.signal or number
            self.wake()

        numbers = (*STOP_SIGNALS, ASK_TO_STOP, ASK_TO_SAVE)
        before = {number: signal.signal(number, on_signal) for number in numbers}
        signal.pthread_sigmask(
            signal.SIG_UNBLOCK, numbers
        )  # who started this process may have held them back
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, signal.SIG_IGN if is_last else handler)


def pass_on(stop: Callable[[], None], save: Callable[[], None], cut: Callable[[int], None]) -> None:
    """Of a command that drives a run: the first INT or TERM stops it in order, the second, whose number is
    told, cuts it short; USR2 stops it, and USR1 wants a checkpoint.
    """
    stops: list[int] = []

    def on_signal(number: int, frame: FrameType | None) -> None:
        if number == ASK_TO_SAVE:
            save()
            return
        if number != ASK_TO_STOP:
            stops.append(number)
        if len(stops) < 2:
            stop()
        elif len(stops) == 2:
            cut(number)

    for number in (*STOP_SIGNALS, ASK_TO_STOP, ASK_TO_SAVE):
        signal.signal(number, on_signal)


def die_with(parent: int) -> None:
    """Be killed at the very moment that the process which started this one is gone.

    For a process that holds nothing of worth, and must not write into memory that others go on with.
    See PR_SET_PDEATHSIG in prctl(2).
    """
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it was gone before
        os.kill(os.getpid(), signal.SIGKILL)
