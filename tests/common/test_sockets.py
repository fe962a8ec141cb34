"""Messages through a real pair of sockets come out as they went in."""

import numpy as np
import pytest
import zmq

from ps_common import sockets


@pytest.fixture
def pair():
    """A ROUTER and the DEALER that is connected to it."""
    context = zmq.Context()
    router, url = sockets.router(context, "tcp://127.0.0.1:*", 0)
    dealer = sockets.dealer(context, url, 0, b"me")
    while not sockets.send(dealer, [b"hello"]):
        dealer.poll(10, zmq.POLLOUT)
    router.poll(10_000)
    assert sockets.receive(router) == [b"me", b"hello"]
    yield router, dealer
    router.close()
    dealer.close()
    context.term()


@pytest.mark.parametrize("sizes", [(), (0,), (1, 100_000), (3, 0, 200_000)])
def test_a_message_arrives_whole_and_nothing_after_it(pair, sizes):
    router, dealer = pair
    payloads = [np.arange(size).astype(np.uint8).data for size in sizes]
    for _ in range(2):
        assert sockets.send(dealer, [b"header", *payloads])
    for _ in range(2):
        router.poll(10_000)
        assert sockets.receive(router) == [b"me", b"header", *payloads]
    assert sockets.receive(router) is None
    assert sockets.send(router, [b"me", b"header", *payloads])
    dealer.poll(10_000)
    assert sockets.receive(dealer) == [b"header", *payloads]


def test_a_peer_that_is_not_there_leaves_no_half_of_a_message(pair):
    router, dealer = pair
    assert not sockets.send(router, [b"gone", b"header", np.zeros(3, np.uint8).data])
    assert sockets.send(router, [b"me", b"next"])
    dealer.poll(10_000)
    assert sockets.receive(dealer) == [b"next"]
