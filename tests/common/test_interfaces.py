"""Network cards by name, on this machine as it is: the one that every machine has is its loopback."""

import socket

import pytest

from ps_common import interfaces
from ps_common.errors import UsageError

LOOPBACK = socket.if_indextoname(1)


def test_the_address_of_a_card_and_the_card_of_an_address():
    assert interfaces.address_of(LOOPBACK) == "127.0.0.1"
    assert interfaces.card_of("127.0.0.1") == LOOPBACK
    assert interfaces.card_of("203.0.113.7") == ""


def test_each_address_is_of_a_card_that_there_is_and_this_machine_can_take_it():
    names = {name for _, name in socket.if_nameindex()}
    for card, address in interfaces.addresses():
        assert card in names
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.bind((address, 0))


def test_a_card_that_there_is_not_is_refused_with_those_there_are():
    with pytest.raises(UsageError, match=f"no network card 'nope42'.*{LOOPBACK}"):
        interfaces.address_of("nope42")


def test_a_card_without_an_address_is_refused(monkeypatch):
    monkeypatch.setattr(interfaces, "addresses", lambda: iter(()))
    with pytest.raises(UsageError, match=f"the network card {LOOPBACK} has no address"):
        interfaces.address_of(LOOPBACK)
