"""The kernel receives little ahead of a connection from where nobody takes part, until it does."""

import contextlib
import os
import socket

import pytest
import zmq

from paramserver.admission import connections, monitor
from paramserver.admission.connections import Connections
from paramserver.admission.door import Door
from paramserver.admission.limits import STRANGER_BYTES, Limits
from processes.world import eventually
from ps_common import messages as m
from ps_common.wire import encode
from support_zmtp import RawPeer, message, own_place

KIB = 2**10
BEAT = encode(m.Heartbeat(0, 0))
SO_BUF_LOCK, RCVBUF_LOCKED = 72, 2

WELCOME = encode(m.Welcome("worker", "run", 1, {}, 1.0, 1.0, m.CHUNK_BYTES, m.WINDOW, m.WINDOW))
TO_MEMBERS = {
    "welcome": WELCOME,
    "alive": encode(m.Alive(1, 0.5)),
    "lease": encode(m.Lease(1, "train", 0, 0, 0, "", 0)),
    "grant": encode(m.Grant(1, (0,), True)),
}
OTHERS = [encode(m.Rejoin()), encode(m.Stop(0, "no more"))]


def is_understood():
    with socket.socket() as one:
        try:
            one.getsockopt(socket.SOL_SOCKET, SO_BUF_LOCK)
        except OSError:
            return False
    return True


pytestmark = pytest.mark.skipif(not is_understood(), reason="before Linux 5.15 nothing is narrow")


@contextlib.contextmanager
def door_with(stranger_bytes):
    limits = Limits(stranger_bytes=stranger_bytes)
    with zmq.Context() as context, contextlib.closing(Door(context, "tcp://127.0.0.1:0", 0, limits)) as one:
        yield one


@pytest.fixture
def door():
    with door_with(STRANGER_BYTES) as one:
        yield one


@contextlib.contextmanager
def caller(door, name, place):
    """A peer that the door has heard, and its connection there."""
    with RawPeer(door.address, name, place) as peer:
        peer.shake_hands()
        peer.send(BEAT)
        assert door.socket.poll(30_000)
        assert door.receive() is not None
        yield peer, door.connections.of_sender(name)


def buffer_of(connection):
    """Bytes that the kernel may receive ahead, and whether it is to stay at that."""
    with socket.socket(fileno=os.dup(connection.descriptor)) as copy:
        size = copy.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        return size, bool(copy.getsockopt(socket.SOL_SOCKET, SO_BUF_LOCK) & RCVBUF_LOCKED)


def is_narrow(connection):
    size, is_locked = buffer_of(connection)
    assert is_locked == (size < 8 * KIB)
    return is_locked


@pytest.mark.parametrize("header", TO_MEMBERS.values(), ids=TO_MEMBERS.keys())
def test_a_connection_is_narrow_until_it_takes_part(door, header):
    with caller(door, b"worker", own_place()) as (peer, connection):
        assert is_narrow(connection)
        for other in OTHERS:
            assert door.send_parts(b"worker", other, [])
        assert is_narrow(connection)
        assert door.send_parts(b"worker", header, [])
        assert not is_narrow(connection)
        assert buffer_of(connection)[0] == monitor.USUAL_BYTES
        peer.send(bytes(8 * 2**20))
        assert door.socket.poll(30_000)
        assert len(door.receive().frames[0]) == 8 * 2**20


def test_the_next_ones_from_there_are_not_unless_a_flood_came_meanwhile(door):
    place = own_place()
    with caller(door, b"worker", place) as (_, connection):
        door.send_parts(b"worker", WELCOME, [])
        with caller(door, b"colleague", place) as (_, other):
            assert not is_narrow(other)
        with caller(door, b"stranger", own_place()) as (_, other):
            assert is_narrow(other)
        door.connections.beware(connection, 0.0)
        with caller(door, b"flooder", place) as (_, other):
            assert is_narrow(other)
        assert not is_narrow(connection)


def test_with_limits_that_know_no_strangers_nobody_is_narrow():
    with door_with(0) as door, caller(door, b"worker", own_place()) as (_, connection):
        assert not is_narrow(connection)


def test_where_the_kernel_could_not_undo_it_nobody_is_narrow(door, monkeypatch):
    monkeypatch.setattr(monitor, "_SO_BUF_LOCK", 2**15)  # an option that no kernel knows
    with caller(door, b"worker", own_place()) as (_, connection):
        assert not is_narrow(connection)
        assert door.send_parts(b"worker", WELCOME, [])


def test_where_another_thread_has_met_it_and_let_it_take_part_it_does_not_become_narrow_again():
    books = Connections(Limits(stranger_bytes=STRANGER_BYTES), 0.0)
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        accepted, (host, port) = server.accept()
        with accepted:
            number = os.fstat(accepted.fileno()).st_ino
            books.accept(accepted.fileno(), number, host, port, 0.0)
            connection, _ = monitor.meet(books, accepted.fileno(), 0.0)
            assert not is_narrow(connection)


def test_few_addresses_are_remembered(monkeypatch):
    monkeypatch.setattr(connections, "ADDRESSES_MAX", 3)
    books = Connections(Limits(), 0.0)
    for number in range(1, 6):
        books.accept(number, number, f"10.0.0.{number}", 1000, 0.0)
        books.take_part(books.get(number))
    assert [books.is_home(f"10.0.0.{number}") for number in range(1, 6)] == [False, False, True, True, True]


@contextlib.contextmanager
def flooded(stranger_bytes):
    """The connection of a flood of 4 MiB, which is less than would be shut.

    Nothing of it is taken: so it is with a server that is busy with its weights.
    """
    burst = message(BEAT) * (64 * KIB // len(message(BEAT)))
    with door_with(stranger_bytes) as door, caller(door, b"flooder", own_place()) as (peer, connection):
        peer.socket.settimeout(0.2 if stranger_bytes else 30.0)  # nothing more comes through, or all does
        with contextlib.suppress(TimeoutError):
            for _ in range(64):
                peer.push(burst)
        yield connection


def test_little_of_a_flood_comes_before_anybody_looks():
    with flooded(STRANGER_BYTES) as connection:
        assert monitor.received_by(connection) < 512 * KIB


def test_where_strangers_are_as_everybody_much_does():
    with flooded(0) as connection:
        eventually(lambda: monitor.received_by(connection) > 2048 * KIB, "much comes")
