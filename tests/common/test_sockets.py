"""Messages through a real pair of sockets come out as they went in, and waiting for them finds them."""

import os
import threading

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


class Ends:
    """A pipe, a wait on its reading end, and how often that has given its core away."""

    def __init__(self, monkeypatch):
        self.reader, self.writer = os.pipe()
        self.waiting = sockets.Waiting()
        self.waiting.add(self.reader)
        self.yields = 0
        monkeypatch.setattr(os, "sched_yield", self._on_yield)

    def _on_yield(self):
        self.yields += 1

    def wait_briefly(self):
        os.write(self.writer, b"x")
        assert self.waiting.wait(60) == {self.reader: zmq.POLLIN}
        os.read(self.reader, 1)


@pytest.fixture
def ends(monkeypatch):
    monkeypatch.setattr(sockets, "AWAKE_S", 0.5)
    ends = Ends(monkeypatch)
    yield ends
    os.close(ends.reader)
    os.close(ends.writer)


def test_a_wait_ends_without_anything_to_read(ends):
    assert ends.waiting.wait(0) == {}
    assert ends.waiting.wait(0.01) == {}
    ends.wait_briefly()
    assert ends.waiting.wait(0.01) == {}


def test_only_after_a_short_wait_the_next_one_stays_awake_and_only_if_it_may(ends):
    assert ends.waiting.wait(0.6) == {}
    assert ends.waiting.wait(0.6) == {}
    assert not ends.yields, "after a long wait"
    ends.wait_briefly()
    assert ends.waiting.wait(0.6, may_stay_awake=False) == {}
    assert not ends.yields, "it may not"
    ends.wait_briefly()
    assert ends.waiting.wait(0.6) == {}
    assert ends.yields
    ends.yields = 0
    assert ends.waiting.wait(0.6) == {}
    assert not ends.yields, "the one before was long"


def test_what_comes_is_found_asleep_and_awake(ends):
    for _ in range(3):
        ends.wait_briefly()
    for seconds in (0.01, 0.6):
        ends.wait_briefly()
        late = threading.Timer(seconds, os.write, (ends.writer, b"x"))
        late.start()
        assert ends.waiting.wait(60) == {ends.reader: zmq.POLLIN}
        late.join()
        os.read(ends.reader, 1)


def test_what_is_removed_is_not_waited_for(ends):
    ends.waiting.remove(ends.reader)
    os.write(ends.writer, b"x")
    assert ends.waiting.wait(0) == {}
