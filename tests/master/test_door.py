"""A door takes messages one by one, knows who sent them, and closes a connection for real."""

import contextlib

import numpy as np
import pytest
import zmq

from paramserver.admission.door import Door


class Caller:
    """A DEALER that does not come again, and a monitor that tells when its connection has ended."""

    def __init__(self, context, door, identity):
        self.socket = context.socket(zmq.DEALER)
        self.ends = self.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self.socket.setsockopt(zmq.ROUTING_ID, identity)
        self.socket.setsockopt(zmq.RECONNECT_IVL, -1)
        self.socket.connect(door.address)
        self.socket.send(b"hello")

    @property
    def has_ended(self):
        return bool(self.ends.poll(0))

    def close(self):
        if self.socket.closed:
            return
        self.socket.disable_monitor()
        self.ends.close(0)
        self.socket.close(0)


@pytest.fixture
def stack():
    with contextlib.ExitStack() as made:
        yield made


@pytest.fixture
def context(stack):
    context = zmq.Context()
    stack.callback(context.term)
    return context


@pytest.fixture
def door(context, stack):
    return stack.enter_context(contextlib.closing(Door(context, "tcp://127.0.0.1:0", 0)))


@pytest.fixture
def call(context, door, stack):
    return lambda identity: stack.enter_context(contextlib.closing(Caller(context, door, identity)))


def next_of(door):
    assert door.socket.poll(10_000)
    return door.receive()


def test_a_message_comes_with_its_sender_and_goes_back_to_it(door, call):
    caller = call(b"wanda")
    assert next_of(door) == (b"wanda", [b"hello"], None)
    payload = np.arange(3, dtype=np.uint8).data
    caller.socket.send_multipart([b"header", payload])
    assert next_of(door) == (b"wanda", [b"header", payload], None)
    assert door.receive() is None
    assert door.send([b"wanda", b"welcome"])
    assert caller.socket.recv() == b"welcome"
    assert not door.send([b"nobody", b"welcome"])


def test_only_the_connection_that_is_cut_ends(door, call):
    good, bad = call(b"good"), call(b"bad")
    assert {next_of(door).sender, next_of(door).sender} == {b"good", b"bad"}
    door.cut(b"bad")
    door.cut(b"nobody")
    assert bad.ends.poll(10_000)
    good.socket.send(b"still here")
    assert next_of(door).frames == [b"still here"]
    assert not good.has_ended


def test_a_descriptor_that_is_used_again_is_not_cut_for_who_had_it_before(door, call):
    gone = call(b"gone")
    assert next_of(door).sender == b"gone"
    gone.close()
    while door.send([b"gone", b"are you there?"]):
        door.socket.poll(1)
    other = call(b"other")
    assert next_of(door).sender == b"other"
    door.cut(b"gone")
    other.socket.send(b"still here")
    assert next_of(door).frames == [b"still here"]
    assert not other.has_ended
