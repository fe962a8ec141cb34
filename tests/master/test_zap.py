"""Whoever asks for ZeroMQ is told who may come in: nobody whose connections have all been shut meanwhile."""

import contextlib

import pytest
import zmq

from paramserver.admission.connections import Connections
from paramserver.admission.door import Door
from paramserver.admission.limits import Limits
from paramserver.admission.zap import ENDPOINT, ERROR, LATER, NO, YES, Doorkeeper
from support_zmtp import RawPeer

PLACE = "10.0.0.1"


@pytest.fixture
def connections():
    return Connections(Limits(), 0.0)


@pytest.fixture
def ask(connections):
    """Ask as ZeroMQ does; the status of the answer."""
    with zmq.Context() as context, context.socket(zmq.REQ) as asking:
        doorkeeper = Doorkeeper(context, connections, None)
        asking.connect(ENDPOINT)

        def status_of(address=PLACE, mechanism=b"NULL", version=b"1.0"):
            asking.send_multipart([version, b"7", b"domain", address.encode(), b"", mechanism])
            assert doorkeeper.socket.poll(10_000)
            doorkeeper.answer(0.0)
            answered, number, status, *_ = asking.recv_multipart()
            assert (answered, number) == (b"1.0", b"7" if status != ERROR else b"")
            return status

        with contextlib.closing(doorkeeper):
            yield status_of


def test_who_is_awaited_comes_in_until_all_its_connections_are_shut(ask, connections):
    assert ask() == LATER
    for descriptor in (1, 2):
        connections.accept(descriptor, descriptor, PLACE, 1000 + descriptor, 0.0)
    assert ask() == YES
    connections.give_up(connections.get(1))
    assert ask() == YES
    assert ask("10.0.0.2") == LATER
    connections.give_up(connections.get(2))
    assert ask() == LATER


def test_who_is_taken_for_who_had_its_descriptor_before_comes_in(ask, connections):
    connections.accept(1, 1, PLACE, 1001, 0.0)
    connections.speaks(connections.get(1))  # by a message left over
    assert ask() == YES


def test_without_keys_too_nobody_comes_in_who_is_not_let_in(monkeypatch):
    with zmq.Context() as context, contextlib.closing(Door(context, "tcp://127.0.0.1:0", 0)) as door:
        with monkeypatch.context() as patch:
            patch.setattr(Connections, "is_awaited", lambda self, address: False)
            with RawPeer(door.address, b"first") as first, pytest.raises(ConnectionResetError):
                first.shake_hands()
        with RawPeer(door.address, b"second") as second:
            second.shake_hands()
            second.send(b"hello")
            assert door.socket.poll(30_000)
            assert door.receive().sender == b"second"
            assert door.receive() is None


def test_who_came_too_soon_after_a_flood_does_not_come_in(ask, connections):
    connections.accept(1, 1, PLACE, 1001, 0.0)
    connections.beware(connections.get(1), 0.0)
    connections.give_up(connections.get(1))
    connections.accept(2, 2, PLACE, 1002, 0.0)
    assert ask() == YES, "one of it may"
    connections.give_up(connections.get(2))
    assert connections.accept(3, 3, PLACE, 1003, 0.0), "this is too many"
    assert ask() == LATER


def test_the_interface_of_a_link_local_address_is_not_part_of_it(ask, connections):
    connections.accept(1, 1, "fe80::1", 1001, 0.0)
    assert ask("fe80::1%eth0") == YES
    assert ask("fe80::2%eth0") == LATER


def test_other_ways_to_come_in_than_agreed_are_refused(ask, connections):
    connections.accept(1, 1, PLACE, 1001, 0.0)
    assert ask(mechanism=b"PLAIN") == NO
    assert ask(mechanism=b"CURVE") == NO
    assert ask(version=b"2.0") == ERROR
