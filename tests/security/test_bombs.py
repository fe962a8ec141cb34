"""Headers that are small to send and large to build are refused before anything of them is built."""

import tracemalloc

import pytest

from ps_common import messages as m
from ps_common import wire
from ps_common.errors import PeerError
from ps_common.wire import decode

NUMBERS = {kind: number for number, kind in m.KINDS.items()}
BOMBS = {
    "lists": b"\x90", "dicts": b"\x80", "lists of one": b"\x91\0", "extensions": b"\xd4\x05\0",
    "timestamps": b"\xd6\xff\0\0\0\0", "long lists": b"\xdc\0\0", "longer lists": b"\xdd\0\0\0\0",
    "long dicts": b"\xde\0\0", "empty extensions": b"\xc7\0\x05",
}  # fmt: skip
TIMES_MAX = 4  # its own size, for what is looked at of a header
BUILT = 8  # times its size, what any of these is when it is built


def built(header: bytes) -> float:
    """How many times its own size is allocated while a header is decoded, which is refused."""
    tracemalloc.start()
    try:
        with pytest.raises(PeerError):
            decode([header])
        return tracemalloc.get_traced_memory()[1] / len(header)
    finally:
        tracemalloc.stop()


def bomb(opening: bytes, kind: type[m.Message] = m.Push, count: int = m.LISTS_MAX + 1) -> bytes:
    return bytes([0x92, NUMBERS[kind], 0xDD]) + count.to_bytes(4, "big") + opening * count


@pytest.mark.parametrize("opening", BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_refused_before_it_goes_off(opening: bytes) -> None:
    assert built(bomb(opening)) < TIMES_MAX
    assert built(bomb(opening, m.Heartbeat)) < TIMES_MAX


def test_a_frame_that_claims_to_be_longer_than_it_is_is_refused() -> None:
    for opening in (b"\xdd", b"\xdf", b"\xdb", b"\xc6", b"\xc9"):
        assert built(bytes([0x92, NUMBERS[m.Push]]) + opening + b"\xff" * 4 + bytes(100_000)) < TIMES_MAX


@pytest.mark.parametrize("opening", [b"\x90", b"\xd4\x05\0"], ids=["lists", "extensions"])
def test_without_a_look_at_its_opening_bytes_it_goes_off(
    opening: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "_check_large", lambda header: None)
    assert built(bomb(opening, count=2**17)) > BUILT
