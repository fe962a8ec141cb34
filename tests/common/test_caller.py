"""Who is not let in is told why and what to do; a server that is gone for a while is no such reason."""

import contextlib
import socket
import threading
import time

import pytest
import zmq

from paramserver.admission.door import Door
from ps_common import caller, sockets
from ps_common.caller import Caller
from ps_common.key_folder import KeyFolder
from ps_common.keys import draw_identity, read_bundle

PATIENCE_S = 30.0


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
def keys(tmp_path):
    return KeyFolder(tmp_path / "keys")


@pytest.fixture
def key(keys):
    return read_bundle(keys.new("w", "worker"))


@pytest.fixture
def call(context, stack):
    def call(url, key):
        made = Caller(context, url, 0, draw_identity(b"w", key), key, "the master")
        return stack.enter_context(contextlib.closing(made))

    return call


def open_door(context, url="tcp://127.0.0.1:0", keys=None):
    return contextlib.closing(Door(context, url, 0, keys=None if keys is None else keys.path))


def why_not(caller):
    """What it is told, as soon as it is told something."""
    deadline = time.monotonic() + PATIENCE_S
    while not (told := caller.why_not()):
        assert time.monotonic() < deadline, "it is told nothing"
        caller.socket.poll(10)
    return told


def connect(caller, door):
    """Wait until something it says comes in; nothing is told meanwhile."""
    deadline = time.monotonic() + PATIENCE_S
    while not door.socket.poll(5):
        assert time.monotonic() < deadline, "nothing comes in"
        sockets.send(caller.socket, [b"hello"])
        assert caller.why_not() == ""
    while door.receive() is not None:
        pass


def test_who_has_a_key_is_told_nothing(context, keys, key, call):
    with open_door(context, keys=keys) as door:
        connect(call(door.address, key), door)


def test_who_has_no_key_is_told_to_have_one_made(context, keys, key, call):
    with open_door(context, keys=keys) as door:
        assert "lets in only who has a key: have one made with ps-keys new" in why_not(
            call(door.address, None)
        )


def test_who_has_a_key_that_was_revoked_is_told_its_name_and_file(context, keys, key, call):
    keys.revoke("w")
    with open_door(context, keys=keys) as door:
        told = why_not(call(door.address, key))
    assert f"does not let in the key w ({key.path}): it is of another run, or was revoked" in told


def test_who_has_a_key_where_there_are_none_is_told_so(context, key, call):
    with open_door(context) as door:
        told = why_not(call(door.address, key))
    assert "has no keys, so it cannot prove who it is to the owner of the key w" in told


def test_who_expects_another_server_is_told_so(context, keys, call, tmp_path):
    other = read_bundle(KeyFolder(tmp_path / "other").new("w", "worker"))
    keys.make()
    with open_door(context, keys=keys) as door:
        told = why_not(call(door.address, other))
    assert f"does not have the server key that {other.path} expects" in told


def test_a_server_that_is_away_and_comes_back_is_no_reason_to_leave(context, keys, key, call):
    with open_door(context, keys=keys) as door:
        url = door.address
        made = call(url, key)
        connect(made, door)
    for _ in range(20):
        made.socket.poll(20)
        assert made.why_not() == ""
    with open_door(context, url, keys) as door:
        connect(made, door)


class HangsUp:
    """Takes connections and ends them: a proxy whose server is gone, or a server that has too many."""

    def __init__(self, greeting=b""):
        self._greeting = greeting
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self.calls = 0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.calls += 1
                with connection, contextlib.suppress(OSError):
                    connection.sendall(self._greeting)

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


@pytest.mark.parametrize("greeting", [b"", caller.GREETING], ids=["no greeting", "a greeting"])
def test_connections_that_are_hung_up_are_no_reason_to_leave(key, call, greeting):
    with contextlib.closing(HangsUp(greeting)) as away:
        made = call(away.url, key)
        while away.calls < 3 * caller.FAILURES:
            made.socket.poll(10)
            assert made.why_not() == ""


def test_without_the_question_whether_a_server_is_there_they_would_be(key, call, monkeypatch):
    monkeypatch.setattr(caller, "_is_there", lambda url: True)
    with contextlib.closing(HangsUp()) as away:
        assert "does not have the server key" in why_not(call(away.url, key))
