"""Frames that are nearly right: what a seed makes of messages that somebody has really sent.

Bytes are flipped, cut, put in, or taken from another message; and as headers are msgpack, values are
exchanged for others of another type or size, for lengths and numbers that no message has, and for nesting.
"""

import random
from collections.abc import Callable, Sequence
from typing import Any

import msgpack

from ps_common.messages import FRAMES_MAX, HEADER_BYTES, KINDS
from ps_common.wire import checksum

Frames = list[bytes]

INTS = (
    0, 1, 2, 3, -1, 63, 64, 127, 128, 255, 256, 1024, 1025, 4096, 65_535, 65_536, 2**20, 2**31 - 1, 2**31,
    2**32, 2**40, 2**62, 2**62 + 1, 2**63 - 1, 2**63, 2**64 - 1, -(2**31), -(2**63),
)  # fmt: skip
FLOATS = (
    0.0,
    -0.0,
    1.0,
    -1.0,
    5e-324,
    1e-9,
    1e9,
    1e30,
    1e38,
    1.7e308,
    float("nan"),
    float("inf"),
    -float("inf"),
)
TEXTS = (
    "", "a" * 257, "b" * 70_000, "\0", "\x1b[2J", "ü", "train", "test", "evaluate", "initialise", "float16",
    "float64", "object", ">f4", "__class__", "__metadata__", "kind", "loss", "../../etc/passwd", "own:Own",
    "tcp://127.0.0.1:1", "not a URL",
)  # fmt: skip
LENGTHS = (0, 1, 15, 16, 255, 65_535, 65_536, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
CONTAINERS = (
    b"\xdd",
    b"\xdf",
    b"\xdb",
    b"\xc6",
    b"\xc9",
)  # array, map, text, bytes, extension; four bytes of length
DEEP = 600  # within what msgpack unpacks; a header of that many bytes is cheap


class Mutator:
    """Everything is drawn from one `random.Random`: the same seed makes the same frames of the same ones."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    def mutate(self, frames: Sequence[bytes], others: Sequence[Sequence[bytes]]) -> Frames:
        """A message made of one and, sometimes, another of `others`; one to four changes."""
        changed = list(frames)
        for _ in range(self._rng.choice((1, 1, 1, 2, 2, 3, 4))):
            change = self._rng.choice(_CHANGES)
            changed = change(self, changed, list(self._rng.choice(others)) if others else [])
        return changed

    # -- of frames ------------------------------------------------------------------------------------

    def drop_a_frame(self, frames: Frames, other: Frames) -> Frames:
        at = self._at(frames)
        return frames[:at] + frames[at + 1 :]

    def add_a_frame(self, frames: Frames, other: Frames) -> Frames:
        at = self._rng.randint(0, len(frames))
        return [*frames[:at], self._rng.choice([b"", *frames, *other]), *frames[at:]]

    def add_many_frames(self, frames: Frames, other: Frames) -> Frames:
        return frames + [b""] * self._rng.choice((FRAMES_MAX - 1, FRAMES_MAX, 500))

    def take_anothers_payload(self, frames: Frames, other: Frames) -> Frames:
        return frames[:1] + other[1:]

    def oversize(self, frames: Frames, other: Frames) -> Frames:
        """Seldom as large as it may be: that takes time."""
        nbytes = HEADER_BYTES + 1 if self._rng.random() < 0.002 else self._rng.choice((100, 70_000))
        at = self._at(frames)
        return [*frames[:at], (frames[at] if frames else b"") + bytes(nbytes), *frames[at + 1 :]]

    def sum_anew(self, frames: Frames, other: Frames) -> Frames:
        """A payload that is wrong, and its checksum that is right."""
        payloads = [self._bytes(frame) if self._rng.random() < 0.5 else frame for frame in frames[1:]]
        values = _values(frames[0]) if frames and payloads else None
        if not isinstance(values, list) or len(values) < 3:
            return frames
        values[-1] = checksum(*payloads)
        return [_packed(values, frames[0]), *payloads]

    # -- of bytes -------------------------------------------------------------------------------------

    def change_bytes(self, frames: Frames, other: Frames) -> Frames:
        at = self._at(frames)
        return [*frames[:at], self._bytes(frames[at] if frames else b""), *frames[at + 1 :]]

    def _bytes(self, frame: bytes) -> bytes:
        rng, at = self._rng, self._rng.randint(0, len(frame))
        match rng.randrange(5):
            case 0:
                return frame[:at]
            case 1:
                return frame[:at] + rng.randbytes(rng.randint(1, 9)) + frame[at:]
            case 2:
                return frame[:at] + frame[rng.randint(at, len(frame)) :]
            case 3:
                changed = bytearray(frame or b"\0")
                for _ in range(rng.choice((1, 1, 2, 8))):
                    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
                return bytes(changed)
        return frame[:at] + rng.choice(CONTAINERS) + rng.choice(LENGTHS).to_bytes(4, "big") + frame[at:]

    def splice(self, frames: Frames, other: Frames) -> Frames:
        mine, theirs = (one[0] if one else b"" for one in (frames, other))
        return [
            mine[: self._rng.randint(0, len(mine))] + theirs[self._rng.randint(0, len(theirs)) :],
            *frames[1:],
        ]

    # -- of values ------------------------------------------------------------------------------------

    def change_a_value(self, frames: Frames, other: Frames) -> Frames:
        values = _values(frames[0]) if frames else None
        if not isinstance(values, list):
            return self.change_bytes(frames, other)
        return [_packed(self._changed(values), frames[0]), *frames[1:]]

    def take_anothers_value(self, frames: Frames, other: Frames) -> Frames:
        """As of another lease, round, shard or worker, where both are messages of one kind."""
        mine, theirs = (_values(one[0]) if one else None for one in (frames, other))
        if not (isinstance(mine, list) and isinstance(theirs, list) and mine and theirs):
            return frames
        at = self._rng.randrange(len(mine))
        mine[at] = theirs[min(at, len(theirs) - 1)]
        return [_packed(mine, frames[0]), *frames[1:]]

    def change_the_kind(self, frames: Frames, other: Frames) -> Frames:
        values = _values(frames[0]) if frames else None
        if not isinstance(values, list) or not values:
            return frames
        return [_packed([self._rng.choice((*KINDS, *INTS)), *values[1:]], frames[0]), *frames[1:]]

    def change_the_number_of_fields(self, frames: Frames, other: Frames) -> Frames:
        values = _values(frames[0]) if frames else None
        if not isinstance(values, list):
            return frames
        fewer = values[: self._rng.randint(0, len(values))]
        return [_packed(self._rng.choice((fewer, [*values, self._any(None)])), frames[0]), *frames[1:]]

    def nest(self, frames: Frames, other: Frames) -> Frames:
        values = _values(frames[0]) if frames else None
        if not isinstance(values, list) or not values:
            return frames
        packed = [msgpack.packb(value) for value in values]
        opening = self._rng.choice((b"\x91", b"\x81\xa1a"))
        packed[self._rng.randrange(len(packed))] = opening * self._rng.choice((8, DEEP, 5000)) + b"\xc0"
        return [msgpack.packb([None] * len(packed))[: -len(packed)] + b"".join(packed), *frames[1:]]

    def _changed(self, value: Any) -> Any:
        """A value with something in it exchanged, at any depth."""
        rng = self._rng
        if isinstance(value, list) and value and rng.random() < 0.85:
            at = rng.randrange(len(value))
            return [*value[:at], self._changed(value[at]), *value[at + 1 :]]
        if isinstance(value, dict) and value and rng.random() < 0.85:
            key = rng.choice(list(value))
            return value | {key: self._changed(value[key])}
        return self._any(value)

    def _any(self, value: Any) -> Any:
        """Instead of a value: one of its type mostly, which is what checks of the type let through."""
        rng = self._rng
        if type(value) is int and rng.random() < 0.6:
            return max(-(2**63), min(2**64 - 1, value + rng.choice((-1, 1, 2, -2, 64, 2**32))))
        if isinstance(value, list) and rng.random() < 0.7:
            more = value * 300 if len(value) < 300 else value
            return rng.choice((value[:-1], value[1:], value * 2, value[::-1], more, [], [*value, None]))
        if isinstance(value, dict) and rng.random() < 0.7:
            more = {str(rng.choice(TEXTS)): self._any(None)}
            return rng.choice((dict(list(value.items())[1:]), value | more, {}))
        if isinstance(value, bool):
            return not value
        one_of: tuple[Sequence[Any], ...] = (
            INTS, INTS, FLOATS, TEXTS, (b"", b"x" * 300, b"sender-1"),
            (None, True, False, [], {}, [[]], {"kind": "Dense"}, [0] * 300, ["w", [2], "float32", "weight"]),
            (msgpack.ExtType(5, b"abc"), msgpack.Timestamp(1, 2)),
        )  # fmt: skip
        return rng.choice(rng.choice(one_of))

    def _at(self, frames: Frames) -> int:
        return self._rng.randrange(len(frames)) if frames else 0


_CHANGES: tuple[Callable[[Mutator, Frames, Frames], Frames], ...] = (
    *[Mutator.change_a_value] * 8,
    *[Mutator.take_anothers_value] * 4,
    *[Mutator.change_bytes] * 3,
    *[Mutator.sum_anew] * 2,
    Mutator.take_anothers_payload,
    Mutator.change_the_kind,
    Mutator.change_the_number_of_fields,
    Mutator.splice,
    Mutator.nest,
    Mutator.drop_a_frame,
    Mutator.add_a_frame,
    Mutator.add_many_frames,
    Mutator.oversize,
)


def _values(header: bytes) -> Any:
    try:
        return msgpack.unpackb(header, strict_map_key=False)
    except Exception:
        return None


def _packed(values: Any, instead: bytes) -> bytes:
    try:
        packed: bytes = msgpack.packb(values)
    except (ValueError, OverflowError, TypeError, RecursionError):  # as of a text that was no text
        return instead
    return packed
