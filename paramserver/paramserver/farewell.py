"""Who may still come to hear that the run is over, so that the master stays for a while.

Whoever a launcher has started comes, though a run may be over before; and a worker that was silent for too
long, but whose end nobody has seen, may speak again. Without an answer both would wait for a master that is
gone. It must not know what they are told.
"""

import math

ABSENT_MAX = 1024  # whoever joins and falls silent all the time must not fill memory


class Farewell:
    """linger_s: how long to stay for them; None: not at all. expected: how many were to come at the start."""

    def __init__(self, linger_s: float | None, expected: int) -> None:
        self._linger_s = linger_s
        self._expected = expected
        self._came: set[bytes] = set()  # counted up to `expected`
        self._silent: set[bytes] = set()
        self._over_at = math.inf

    def came(self, sender: bytes) -> None:
        """It is a member, or knows that the run is over."""
        self._silent.discard(sender)
        if len(self._came) < self._expected:
            self._came.add(sender)

    def fell_silent(self, sender: bytes) -> None:
        """It was lost by its silence alone."""
        if len(self._silent) < ABSENT_MAX:
            self._silent.add(sender)

    def begin(self, now: float, is_wanted: bool) -> None:
        """The run is over. is_wanted: somebody has asked for that, and does not wait for who never came."""
        if is_wanted:
            self._expected = 0
        self._over_at = now

    def is_ended(self, now: float) -> bool:
        """Whether nobody is missed any more, or has been for long enough."""
        if self._linger_s is None or now >= self._over_at + self._linger_s:
            return True
        return not self._silent and len(self._came) >= self._expected
