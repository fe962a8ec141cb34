"""Between the loop's thread and the user's: one task goes over at a time, and its outcome comes back.

The loop takes it for its computing side. Whoever waits here waits with a deadline.
"""

import dataclasses
import threading
import time
from collections.abc import Callable

from ps_worker.effects import Compute, Contribution, Exit, Last, Outcome, Prepare
from ps_worker.replica import Watch


@dataclasses.dataclass(frozen=True)
class Ended:
    """The loop has ended. bug: what it raised, which it must not. last: the weights the run has come to."""

    exit: Exit | None
    bug: BaseException | None
    last: Last | None


class Bridge:
    """wake: called when an outcome is ready to be taken."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self.watch = Watch()
        self._wake = wake
        self._changed = threading.Condition()
        self._task: Prepare | Compute | None = None
        self._outcomes: list[Outcome] = []
        self._ended: Ended | None = None

    # -- the loop's thread ----------------------------------------------------------------------------

    def begin(self, task: Prepare | Compute) -> None:
        with self._changed:
            self.watch.step, self.watch.is_cancelled = 0, False
            self._task = task
            self._changed.notify_all()

    def cancel(self) -> None:
        with self._changed:
            self.watch.is_cancelled = True
            self._changed.notify_all()

    def take(self) -> list[Outcome]:
        with self._changed:
            outcomes, self._outcomes = self._outcomes, []
        return outcomes

    def close(self, timeout_s: float) -> bool:
        """The user's thread is not this side's to end."""
        return True

    def end(self, ended: Ended) -> None:
        with self._changed:
            self._ended, self._task = ended, None
            self._changed.notify_all()

    # -- the user's thread ----------------------------------------------------------------------------

    def wait(self, timeout_s: float) -> Prepare | Compute | Ended | None:
        """The task to do now, or how it all ended; None where nothing has come in time.

        A task that is wanted no more is answered here.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            with self._changed:
                while not (self._ended or self._task) and (left_s := deadline - time.monotonic()) > 0:
                    self._changed.wait(left_s)
                if self._ended is not None:
                    return self._ended
                if not self.watch.is_cancelled or self._task is None:
                    return self._task
            self.drop()

    def answer(self, outcome: Outcome) -> None:
        """The task is done."""
        with self._changed:
            self._task = None
            self._outcomes.append(outcome)
        self._wake()

    def drop(self) -> None:
        """The task was cancelled: it has no outcome that counts."""
        task = self._task
        spare = task.base if isinstance(task, Compute) and task.may_take else None
        self.answer(Contribution(0, {}, 0.0, spare=spare))
