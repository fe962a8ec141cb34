"""When to wait, when to give up waiting, and when to save: rules on times of the master's monotonic clock."""

from paramserver.settings import Settings


class Waiting:
    """Waiting for workers: says how many are here whenever that changes, and gives up after a while."""

    def __init__(self, settings: Settings, now: float) -> None:
        self._timeout_s = settings.wait_timeout_s
        self._since: float | None = now  # None: there are enough
        self._shown = -1

    def look(self, here: int, wanted: int, now: float) -> str:
        """Look how many are here; what to tell a person, if there is news."""
        if here >= wanted:
            self._since = None
            return ""
        if self._since is None:
            self._since, self._shown = now, -1
        if here == self._shown:
            return ""
        self._shown = here
        return f"waiting for workers: {here} of {wanted} workers here"

    def forgive(self, seconds: float) -> None:
        """Nobody could have come for so long."""
        if self._since is not None:
            self._since += seconds

    def is_over(self, now: float) -> bool:
        """Whether there have been too few for too long."""
        return self._since is not None and now - self._since >= self._timeout_s

    def last_words(self, here: int, wanted: int) -> str:
        waited = f"{self._timeout_s:g} s"
        return f"{here} of {wanted} workers were here after {waited}; start more and try again"


class Saving:
    """When a checkpoint is due: after so many rounds or so much time, if there is anything new."""

    def __init__(self, settings: Settings, now: float) -> None:
        self._rounds = settings.checkpoint_every_rounds
        self._seconds = settings.checkpoint_every_s
        self._version = -1  # that was saved last
        self.saved_at = now

    def start(self, now: float) -> None:
        """Training begins: time counts from here."""
        self.saved_at = now

    def saved(self, version: int, now: float) -> None:
        self._version, self.saved_at = version, now

    def is_due(self, version: int, now: float) -> bool:
        new = version - self._version
        by_rounds = self._rounds is not None and new >= self._rounds
        by_time = self._seconds is not None and now - self.saved_at >= self._seconds
        return new > 0 and (by_rounds or by_time)
