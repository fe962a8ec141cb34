"""Which texts are addresses, who reaches them, and by which protocol."""

import socket

import pytest

from ps_common import address


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("tcp://127.0.0.1:5555", ("127.0.0.1", 5555)),
        ("tcp://master:0", ("master", 0)),
        ("tcp://[::1]:5555", ("::1", 5555)),
        ("tcp://*:5555", ("*", 5555)),
        ("tcp://master", None),
        ("tcp://:5555", None),
        ("tcp://master:many", None),
        ("tcp://master:70000", None),
        ("tcp://master:5555/path", None),
        ("tcp://master:5555?x", None),
        ("tcp://me@master:5555", None),
        ("tcp://no such:5555", None),
        ("tcp://hé:5555", None),
        ("ipc://socket", None),
        ("master:5555", None),
        ("", None),
    ],
)
def test_an_address_is_host_and_port(url, parts):
    assert address.split(url) == parts


@pytest.mark.parametrize("url", ["tcp://127.0.0.1:5555", "tcp://[::1]:5555", "tcp://master:1"])
def test_joining_is_splitting_backwards(url):
    assert address.join(*address.split(url)) == url


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("*", False),
        ("10.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("localhost.example.org", False),
    ],
)
def test_only_this_machine_reaches_loopback(host, expected):
    assert address.is_loopback(host) is expected


@pytest.mark.parametrize(("host", "expected"), [("127.0.0.1", False), ("::1", True), ("*", False)])
def test_an_address_says_its_protocol(host, expected):
    assert address.needs_ipv6(host) is expected


@pytest.mark.parametrize(
    ("known", "expected"),
    [((socket.AF_INET, socket.AF_INET6), False), ((socket.AF_INET6,), True), ((), False)],
)
def test_a_name_is_reached_by_ipv6_only_where_it_has_nothing_else(monkeypatch, known, expected):
    def getaddrinfo(host, port, family):
        if family not in known:
            raise socket.gaierror
        return [(family, 0, 0, "", ("10.0.0.7", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert address.needs_ipv6("master") is expected


EVERY = ["tcp://0.0.0.0:5555", "tcp://[::]:5555", "tcp://*:5555"]


def known_as(monkeypatch, *addresses):
    """This machine's name is node7, and means these."""
    monkeypatch.setattr(socket, "gethostname", lambda: "node7")
    answers = [(0, 0, 0, "", (found, 0)) for found in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, port, family: answers)


@pytest.mark.parametrize("url", EVERY)
def test_bound_to_every_interface_a_master_is_reached_by_its_name(monkeypatch, url):
    known_as(monkeypatch, "127.0.1.1", "10.0.0.7")
    assert address.reachable(url) == "tcp://node7:5555"


@pytest.mark.parametrize("known", [(), ("127.0.1.1",), ("::1", "127.0.0.1")])
@pytest.mark.parametrize("url", EVERY)
def test_a_name_that_is_nobody_elses_is_not_told_where_there_is_an_address(monkeypatch, url, known):
    """Debian gives the name to 127.0.1.1."""
    known_as(monkeypatch, *known)
    monkeypatch.setattr(address, "_by_route", lambda: "10.0.0.7")
    assert address.reachable(url) == "tcp://10.0.0.7:5555"
    monkeypatch.setattr(address, "_by_route", lambda: "")
    assert address.reachable(url) == "tcp://node7:5555"


def test_the_address_by_route_is_this_machines_own():
    found = address._by_route()
    assert not found or (address.is_own(found) and not address.is_loopback(found))


@pytest.mark.parametrize(("host", "expected"), [("127.0.0.1", True), ("localhost", True),
    ("203.0.113.7", False), ("no-such-host.invalid", False), ("x" * 64, False)])  # fmt: skip
def test_a_host_is_this_machine_where_it_has_its_address(host, expected):
    assert address.is_own(host) is expected


def test_any_other_address_is_told_as_it_is():
    assert address.reachable("tcp://127.0.0.1:5555") == "tcp://127.0.0.1:5555"


def test_an_address_takes_the_port_of_another():
    assert address.with_port_of("tcp://0.0.0.0:0", "tcp://node1:7000") == "tcp://0.0.0.0:7000"
    assert address.with_port_of("tcp://[::]:0", "tcp://node1:7000") == "tcp://[::]:7000"
    assert address.with_port_of("ipc://x", "tcp://node1:7000") == "ipc://x"
