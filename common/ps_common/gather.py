"""Receiving something that comes in numbered pieces: what to ask for next, and what to ask for again.

Chunks of a version of the weights and blocks of a shard's rows are both gathered so: at most `window`
pieces are asked for and not yet here, and after a silence they are asked for once more.
"""


class Gather:
    """Pieces 0 to `count` - 1, of which `coming` were promised without being asked for."""

    def __init__(self, count: int, window: int, coming: int = 0) -> None:
        self._window = window
        self._unasked = list(range(count - 1, min(coming, count) - 1, -1))  # the next piece last
        self._coming = set(range(min(coming, count)))
        self.left = count

    @property
    def is_complete(self) -> bool:
        return self.left == 0

    def take(self, index: int) -> bool:
        """A piece is here. False: it came before, or does not exist."""
        if index in self._coming:
            self._coming.discard(index)
        elif index in self._unasked:
            self._unasked.remove(index)
        else:
            return False
        self.left -= 1
        return True

    def ask(self) -> tuple[int, ...]:
        """The pieces to ask for now; they count as coming."""
        if not self._unasked:
            return ()
        room = self._window - len(self._coming)
        # Ask in halves of the window: one request for several pieces, and the pipe never runs dry.
        if room < max(1, self._window // 2) and len(self._unasked) > room:
            return ()
        asked = [self._unasked.pop() for _ in range(min(room, len(self._unasked)))]
        self._coming.update(asked)
        return tuple(asked)

    def ask_again(self) -> tuple[int, ...]:
        """The pieces that are coming and have not come."""
        return tuple(sorted(self._coming))
