"""A token bucket: how often something may happen on average, and how often at once."""


class Bucket:
    """Holds at most `burst` tokens, and gains `per_s` a second. first: what it begins with; None: full."""

    __slots__ = ("_at", "_burst", "_left", "_per_s")

    def __init__(self, per_s: float, burst: float, now: float, first: float | None = None) -> None:
        self._per_s, self._burst, self._at = per_s, burst, now
        self._left = burst if first is None else first

    def take(self, now: float, tokens: float = 1.0) -> bool:
        """Whether there are so many, which are gone then. None are taken where there are too few."""
        left = min(self._burst, self._left + self._per_s * max(0.0, now - self._at))
        self._at = max(self._at, now)
        is_enough = left >= tokens
        self._left = left - tokens if is_enough else left
        return is_enough
