"""A reserved port is nobody else's, and its master's at once."""

import contextlib
import socket

import pytest
import zmq

from paramserver.reserved_port import ReservedPort
from ps_common import address, sockets

HERE = ["tcp://127.0.0.1:0", "tcp://localhost:0", "tcp://*:0", "tcp://[::1]:0", "tcp://[::]:0"]


@contextlib.contextmanager
def reserved(url):
    port = ReservedPort(url)
    yield port.url
    port.close()


@contextlib.contextmanager
def listening(url):
    """A master's socket there, which listens no more afterwards."""
    with zmq.Context() as context:
        router, bound = sockets.router(context, url, 0)
        yield bound
        router.close()


@pytest.mark.parametrize("url", HERE)
def test_a_reserved_port_is_bound_again_and_again_by_those_it_was_reserved_for(url):
    with reserved(url) as own:
        host, port = address.split(own)
        assert (host, port != 0) == (address.split(url)[0], True)
        loopback = "::1" if address.needs_ipv6(host) else "127.0.0.1"
        for _ in range(2):
            with listening(own) as bound:
                assert address.split(bound)[1] == port
                socket.create_connection((loopback, port), 5).close()


def test_nobody_else_takes_a_reserved_port_while_its_master_is_away():
    with reserved("tcp://127.0.0.1:0") as own:
        _, port = address.split(own)
        with listening(own):
            pass
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))
        with socket.socket() as caller, pytest.raises(ConnectionRefusedError):
            caller.connect(("127.0.0.1", port))
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))


def test_a_port_in_use_is_left_to_whoever_binds_it_to_say_so():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        url = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        with reserved(url) as own:
            assert own == url


@pytest.mark.parametrize("url", ["tcp://203.0.113.1:0", "tcp://no-such-card:0", "ipc://x", "nonsense"])
def test_what_is_no_address_of_this_machine_stays_as_it_is(url):
    with reserved(url) as own:
        assert own == url
