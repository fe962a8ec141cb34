"""The proxy does to connections what it is told to, and nothing else."""

import contextlib
import errno
import itertools
import random
import select
import socket
import threading
import time
import urllib.parse
from collections.abc import Iterator

import pytest

from processes.world import eventually
from support_proxy import HELD_BYTES, LINKS_MAX, Proxy

PATIENCE_S = 10.0


class Ends:
    """A proxy before a listening socket, and connections through it."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack
        self._listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.proxy = stack.enter_context(Proxy(f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"))

    def call(self) -> socket.socket:
        url = urllib.parse.urlsplit(self.proxy.address)
        return self._stack.enter_context(socket.create_connection((url.hostname, url.port), PATIENCE_S))

    def pair(self) -> tuple[socket.socket, socket.socket]:
        """A connection: the caller's end and the target's."""
        caller = self.call()
        self._listener.settimeout(PATIENCE_S)
        target, _ = self._listener.accept()
        target.settimeout(PATIENCE_S)
        return caller, self._stack.enter_context(target)


@pytest.fixture
def ends() -> Iterator[Ends]:
    with contextlib.ExitStack() as stack:
        yield Ends(stack)
    assert "proxy" not in [thread.name for thread in threading.enumerate()]


def received(one: socket.socket, nbytes: int) -> bytes:
    parts = []
    while nbytes and (part := one.recv(nbytes)):
        parts.append(part)
        nbytes -= len(part)
    return b"".join(parts)


def readable(one: socket.socket) -> bool:
    return bool(select.select([one], [], [], 0)[0])


def is_reset(one: socket.socket) -> bool:
    try:
        return one.recv(1) is None
    except ConnectionResetError:
        return True


def exchange(one: socket.socket, other: socket.socket) -> None:
    """What each of two ends sends comes to the other."""
    for sender, receiver in ((one, other), (other, one)):
        sender.sendall(b"hello")
        assert received(receiver, 5) == b"hello"


@pytest.mark.parametrize(
    "fault",
    [
        {},
        {"delay_s": 0.002, "jitter_s": 0.01},
        {"bytes_per_s": 2e7},
        {"delay_s": 0.03, "bytes_per_s": 2e7},
    ],
)
def test_every_byte_comes_once_in_order_and_unchanged_both_ways(ends, fault):
    data = [random.Random(seed).randbytes(3_000_000) for seed in (1, 2)]
    caller, target = ends.pair()
    ends.proxy.up.change(**fault)
    ends.proxy.down.change(**fault)
    senders = [
        threading.Thread(target=one.sendall, args=(part,))
        for one, part in zip((caller, target), data, strict=True)
    ]
    for sender in senders:
        sender.start()
    assert received(target, 3_000_000) == data[0]
    assert received(caller, 3_000_000) == data[1]
    for sender in senders:
        sender.join()
    eventually(lambda: (ends.proxy.up.passed, ends.proxy.up.held) == (3_000_000, 0), "it counts them")


def test_what_is_delayed_or_slowed_down_does_not_come_before_its_time(ends):
    caller, target = ends.pair()
    ends.proxy.up.change(delay_s=0.2)
    began = time.monotonic()
    caller.sendall(b"late")
    assert received(target, 4) == b"late"
    assert time.monotonic() >= began + 0.2
    ends.proxy.up.change(bytes_per_s=100_000)
    began = time.monotonic()
    caller.sendall(bytes(30_000))
    received(target, 30_000)
    assert time.monotonic() >= began + 0.3


def test_an_end_that_finishes_is_finished_on_the_other_side_and_may_still_hear(ends):
    caller, target = ends.pair()
    caller.sendall(b"last words")
    caller.shutdown(socket.SHUT_WR)
    assert received(target, 100) == b"last words"
    target.sendall(b"answer")
    target.close()
    assert received(caller, 100) == b"answer"


@pytest.mark.parametrize("way", ["up", "down"])
def test_what_is_held_comes_when_it_is_let_go_and_the_other_way_is_open(ends, way):
    caller, target = ends.pair()
    sender, receiver = (caller, target) if way == "up" else (target, caller)
    getattr(ends.proxy, way).hold()
    sender.sendall(b"held")
    for _ in range(5):
        receiver.sendall(b"open")
        assert received(sender, 4) == b"open"
    assert not readable(receiver)
    getattr(ends.proxy, way).let_go()
    assert received(receiver, 4) == b"held"
    exchange(caller, target)


def test_what_is_held_when_the_connection_is_cut_is_lost(ends):
    caller, target = ends.pair()
    ends.proxy.up.hold()
    caller.sendall(b"lost")
    ends.proxy.cut()
    ends.proxy.up.let_go()
    assert is_reset(target)
    assert is_reset(caller)
    exchange(*ends.pair())
    eventually(lambda: (ends.proxy.up.passed, ends.proxy.up.held) == (5, 0), "it counts what came through")


def test_what_is_held_is_bounded(ends):
    caller, _ = ends.pair()
    ends.proxy.up.hold()
    caller.settimeout(1.0)
    with pytest.raises(TimeoutError):  # it is made to wait
        caller.sendall(bytes(8 * HELD_BYTES))
    assert 0 < ends.proxy.up.held <= HELD_BYTES


def test_a_cut_ends_all_connections_by_reset_or_in_order(ends):
    for reset in (True, False):
        pairs = [ends.pair() for _ in range(3)]
        for pair in pairs:
            exchange(*pair)
        ends.proxy.cut(is_reset=reset)
        for one in itertools.chain(*pairs):
            assert is_reset(one) if reset else one.recv(1) == b""
        assert ends.proxy.links == 0


@pytest.mark.parametrize("nbytes", [0, 1, 70_000])
def test_a_connection_is_cut_after_so_many_bytes_and_only_one(ends, nbytes):
    (caller, target), other = ends.pair(), ends.pair()
    exchange(caller, target)
    ends.proxy.up.cut_after(nbytes)
    with contextlib.suppress(ConnectionError):
        caller.sendall(bytes(200_000))
    assert len(received(target, nbytes)) == nbytes
    assert is_reset(target)
    assert is_reset(caller)
    assert ends.proxy.up.cuts == 1
    exchange(*other)


def test_new_connections_are_refused_at_the_same_port_and_old_ones_go_on(ends):
    pair = ends.pair()
    ends.proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        ends.call()
    exchange(*pair)
    ends.proxy.accept()
    exchange(*ends.pair())
    exchange(*pair)


@pytest.mark.parametrize("side", ["caller", "target"])
def test_a_connection_that_one_side_has_forgotten_stays_open_on_the_other(ends, side):
    caller, target = ends.pair()
    exchange(caller, target)
    ends.proxy.forget(side)
    forgotten, kept = (caller, target) if side == "caller" else (target, caller)
    assert is_reset(forgotten)
    for _ in range(20):
        kept.sendall(bytes(100_000))
    assert not readable(kept)
    assert ends.proxy.links == 1
    exchange(*ends.pair())
    kept.close()


def test_a_target_that_is_not_there_ends_the_connection():
    with Proxy("tcp://127.0.0.1:1") as proxy, socket.socket() as caller:
        url = urllib.parse.urlsplit(proxy.address)
        caller.settimeout(PATIENCE_S)
        assert caller.connect_ex((url.hostname, url.port)) == errno.ECONNRESET or is_reset(caller)


def test_it_takes_so_many_connections_and_no_more(ends):
    pairs = [ends.pair() for _ in range(LINKS_MAX)]
    exchange(*pairs[-1])
    assert ends.call().recv(1) == b""
    exchange(*pairs[0])
