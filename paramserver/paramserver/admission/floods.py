"""How often one connection may say what needs no credit; what is above is dropped before it is decoded.

Chunks and rows are sent by credit, and one that nobody granted is a mistake for the machine to see. It
must not know sockets or clocks; of a message it looks at nothing but its kind and its length.
"""

import enum

from paramserver.admission.bucket import Bucket
from paramserver.admission.limits import Limits
from ps_common import messages as m
from ps_common.errors import Flood
from ps_common.messages import KINDS

REQUEST_BYTES = 16  # of a header that cost a token: a request for many chunks costs many
TOKENS_MAX = 1024.0  # what the longest header costs: a layout is long, and comes once
CALM_S = 5.0  # without a dropped message, after which a flood is over
TOLD_EVERY_S = 1.0

_CODES = {cls: code for code, cls in KINDS.items()}
_CHUNK, _HEARTBEAT = _CODES[m.Chunk], _CODES[m.Heartbeat]
# What costs a server more than other messages, in joins. The answer to a look lists a hundred workers.
_JOINS = {_CODES[m.Join]: 1.0, _CODES[m.Look]: 5.0, _CODES[m.Order]: 5.0}
_FIXED, _LONGER = 0x90, 0xDC  # how msgpack begins a list: up to 15 entries, and more


class Verdict(enum.Enum):
    TAKE = "take"
    DROP = "drop"
    CUT = "cut"


class Floods:
    """What one connection may still say. of_all: the joins of all connections together."""

    __slots__ = ("_beats", "_dropped", "_joins", "_last_at", "_limits", "_of_all", "_requests", "_since",
                 "_told_at", "_word")  # fmt: skip

    def __init__(self, limits: Limits, of_all: Bucket, now: float) -> None:
        self._limits, self._of_all = limits, of_all
        self._joins = Bucket(limits.joins_per_s, limits.joins_burst, now, limits.joins_first)
        self._beats = Bucket(limits.beats_per_s, limits.beats_burst, now, limits.beats_first)
        self._requests = Bucket(limits.requests_per_s, limits.requests_burst, now, limits.requests_first)
        self._dropped, self._since, self._last_at, self._told_at = 0, now, now, -TOLD_EVERY_S
        self._word = ""

    def judge(self, header: memoryview | bytes, now: float) -> Verdict:
        """Whether to take a message, by its header frame."""
        kind = kind_of(header)
        if kind == _CHUNK:
            return Verdict.TAKE
        if kind == _HEARTBEAT:
            is_taken = self._beats.take(now)
        elif kind in _JOINS:
            is_taken = self._joins.take(now) and self._of_all.take(now, _JOINS[kind])
        else:
            tokens = 1.0 + min(TOKENS_MAX, len(header) / REQUEST_BYTES)
            is_taken = self._requests.take(now, tokens)
        return Verdict.TAKE if is_taken else self._drop(kind, now)

    def complaint(self, now: float) -> Flood | None:
        """What to tell, once a second at most; None where there is nothing to tell now."""
        if not self._word or now < self._told_at + TOLD_EVERY_S:
            return None
        self._told_at = now
        return Flood(
            f"it says more than any worker has to: {self._dropped} messages were dropped, "
            f"the last one was {self._word}; start no worker that floods its master"
        )

    def _drop(self, kind: int, now: float) -> Verdict:
        if now > self._last_at + CALM_S:
            self._dropped = 0
        if not self._dropped:
            self._since = now
        self._dropped, self._last_at = self._dropped + 1, now
        cls = KINDS.get(kind)
        self._word = f"a {cls.__name__}" if cls is not None else "of no known kind"
        limits = self._limits
        is_too_much = self._dropped >= limits.dropped_max or now >= self._since + limits.flood_s
        return Verdict.CUT if is_too_much else Verdict.DROP


def kind_of(header: memoryview | bytes) -> int:
    """The kind of message that a header frame begins with; -1 where it does not begin as one."""
    if len(header) < 2:
        return -1
    first = header[0]
    if first & 0xF0 == _FIXED:
        return header[1]
    return header[3] if first == _LONGER and len(header) > 3 else -1
