"""The thread that sees connections: which are there, and how much each has sent. It ends with its door."""

import contextlib
import os
import socket
import threading

import pytest
import zmq

from paramserver.admission import monitor
from paramserver.admission.connections import Connections, Shut
from paramserver.admission.door import Door
from paramserver.admission.limits import Limits
from paramserver.admission.monitor import Monitor
from processes.world import eventually
from ps_common import sockets
from ps_common.errors import UsageError
from support_zmtp import RawPeer, half_open


@pytest.fixture
def watched():
    """Books of a socket's connections, its monitor, and its address."""
    connections, made = Connections(Limits(), 0.0), []
    context = zmq.Context()

    def prepare(socket):
        made.append(Monitor(context, socket, connections))

    socket, address = sockets.router(context, "tcp://127.0.0.1:0", 0, prepare)
    yield connections, made[0], address
    made[0].close()
    socket.close()
    context.term()


def test_connections_are_entered_when_they_come_and_struck_out_when_they_go(watched):
    connections, _, address = watched
    with half_open(address, 5):
        eventually(lambda: len(connections) == 5, "they are seen")
        assert connections.pending == 5
    eventually(lambda: len(connections) == 0, "their end is seen")


def test_what_has_been_received_is_counted(watched):
    connections, _, address = watched
    with RawPeer(address) as peer:
        peer.shake_hands()
        peer.send(b"x" * 1_000_000)
        eventually(lambda: any(one.open_bytes > 900_000 for one in connections), "it is counted")
        (one,) = connections
        assert one.open_bytes < 1_001_000


def test_a_connection_is_shut_for_real_and_the_reason_is_kept(watched):
    connections, watch, address = watched
    with RawPeer(address) as peer:
        peer.shake_hands()
        eventually(lambda: len(connections) == 1, "it is seen")
        (one,) = connections
        watch.shut([Shut(one, "is not wanted")])
        assert peer.ends()
    reasons, left_out = watch.take_reasons()
    assert monitor.told(reasons, left_out) == [f"1 connection of {one.address} shut: it is not wanted"]
    assert watch.take_reasons() == ([], 0)


def test_a_descriptor_of_another_connection_by_now_is_left_alone(watched):
    connections, _, address = watched
    with RawPeer(address) as peer:
        peer.shake_hands()
        eventually(lambda: len(connections) == 1, "it is seen")
        (one,) = connections
        one.number += 1
        monitor.shut(one)
        assert monitor.received_by(one) is None
        assert not peer.ends(0.2)


@pytest.mark.parametrize("family", [None, socket.AF_UNIX], ids=["pipe", "unix"])
def test_a_descriptor_of_no_connection_by_now_is_left_alone(family):
    ends = os.pipe() if family is None else tuple(one.detach() for one in socket.socketpair(family))
    books, before = Connections(Limits(), 0.0), len(os.listdir("/proc/self/fd"))
    try:
        assert monitor.meet(books, ends[0], 0.0) == (None, [])
        books.accept(ends[0], os.fstat(ends[0]).st_ino, "10.0.0.1", 1, 0.0)
        monitor.widen(books.get(ends[0]))
        monitor.shut(books.get(ends[0]))
        assert os.write(ends[1], b"x") == 1
        assert os.read(ends[0], 1) == b"x"
        assert len(os.listdir("/proc/self/fd")) == before
    finally:
        for end in ends:
            os.close(end)


def test_many_reasons_are_told_in_few_lines(watched):
    connections, watch, address = watched
    with half_open(address, 5):
        eventually(lambda: len(connections) == 5, "they are seen")
        watch.shut([Shut(one, "says nothing") for one in connections for _ in range(20)])
    texts = monitor.told(*watch.take_reasons())
    assert len(texts) == 2
    assert texts[0].startswith("64 connections of 127.0.")
    assert texts[1] == "36 more connections shut"


def test_what_ends_the_thread_is_raised_in_the_loop(watched, monkeypatch):
    _, watch, address = watched

    def broken(*given):
        raise RuntimeError("a bug")

    monkeypatch.setattr(monitor, "meet", broken)

    def has_ended():
        try:
            watch.take_reasons()
        except RuntimeError:
            return True
        return False

    with half_open(address, 1):
        eventually(has_ended, "it is raised")
    with half_open(address, 1) as (peer,):  # nobody hears of it, and ZeroMQ does not wait for that
        peer.shake_hands()


def test_no_thread_is_left_where_the_address_is_taken():
    context = zmq.Context()
    before = threading.active_count()
    with contextlib.closing(context.socket(zmq.ROUTER)) as first:
        port = first.bind_to_random_port("tcp://127.0.0.1")
        with pytest.raises(UsageError, match="is in use"):
            Door(context, f"tcp://127.0.0.1:{port}", 0)
    assert threading.active_count() == before
    context.term()
