"""Looking at real ports of this machine: each kind of what may be there is seen as what it is."""

import contextlib
import http.server
import socket
import threading

import pytest
import zmq

from paramserver.admission.door import Door
from ps_common import probing, sockets
from ps_common.key_folder import KeyFolder
from ps_common.probing import Probe, probe
from ps_common.reaching import FILTERED, OPEN, REFUSED

PATIENCE_S = 30.0
NO_NAME = "no-such-host.invalid"  # RFC 2606


@contextlib.contextmanager
def listening(backlog=8):
    with socket.create_server(("127.0.0.1", 0), backlog=backlog) as server:
        yield server, server.getsockname()[1]


@contextlib.contextmanager
def context():
    made = zmq.Context()
    try:
        yield made
    finally:
        made.term()


@contextlib.contextmanager
def serving(answer):
    """A port where each connection is answered by `answer` in a thread."""
    with listening() as (server, port):

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection:
                        answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield port
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(PATIENCE_S)
            assert not thread.is_alive()


def test_a_server_without_keys_is_seen():
    with context() as made:
        router, address = sockets.router(made, "tcp://127.0.0.1:0", 0)
        found = probe("127.0.0.1", int(address.rpartition(":")[2]))
        router.close()
    assert (found.port_is, found.mechanism) == (OPEN, "NULL")
    assert (found.addresses, found.own, found.card) == (("127.0.0.1",), "127.0.0.1", "lo")


def test_a_server_with_keys_is_seen(tmp_path):
    keys = KeyFolder(tmp_path / "keys")
    keys.make()
    with context() as made, contextlib.closing(Door(made, "tcp://127.0.0.1:0", 0, keys=keys.path)) as door:
        found = probe("localhost", int(door.address.rpartition(":")[2]))
    assert (found.port_is, found.mechanism) == (OPEN, "CURVE")


def test_a_port_where_nobody_listens_is_refused():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        found = probe("127.0.0.1", bound.getsockname()[1])
    assert (found.port_is, found.said) == (REFUSED, b"")


def test_a_port_that_drops_what_comes_is_filtered():
    """As a firewall does; here it is a queue that is full."""
    with listening(backlog=0) as (_, port), contextlib.ExitStack() as stack:
        for _ in range(8):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
        found = probe("127.0.0.1", port, patience_s=0.3)
    assert found.port_is == FILTERED


def test_a_web_server_is_seen_as_one():
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    server.RequestHandlerClass.log_message = lambda *given: None
    server.RequestHandlerClass.timeout = 5
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        found = probe("127.0.0.1", server.server_port)
    finally:
        server.shutdown()
        thread.join(PATIENCE_S)
        server.server_close()
    assert found.said.startswith(b"HTTP/")


def test_who_speaks_first_is_heard_and_who_hangs_up_too():
    with serving(lambda connection: connection.sendall(b"220 mail\r\n")) as port:
        assert probe("127.0.0.1", port).said.startswith(b"220 mail")
    with serving(lambda connection: None) as port:
        found = probe("127.0.0.1", port)
    assert (found.port_is, found.said, found.is_closed) == (OPEN, b"", True)


def test_who_says_nothing_is_waited_for_and_no_longer():
    with listening() as (_, port):
        found = probe("127.0.0.1", port, patience_s=0.2)
    assert (found.port_is, found.said, found.is_closed) == (OPEN, b"", False)


@pytest.mark.parametrize("host", [NO_NAME, "x" * 64 + ".invalid"])
def test_a_name_that_means_nothing_is_seen(host):
    found = probe(host, 5555)
    assert found.no_name
    assert (found.addresses, found.port_is) == ((), "")


def test_a_name_service_that_does_not_answer_is_not_waited_for(monkeypatch):
    answered = threading.Event()
    monkeypatch.setattr(probing, "_resolve", lambda host, port: answered.wait(PATIENCE_S) and ([], "late"))
    before = set(threading.enumerate())
    try:
        assert "no name service has answered for 0.2 s" in probe("master", 5555, patience_s=0.2).no_name
    finally:
        answered.set()
        for thread in set(threading.enumerate()) - before:
            thread.join(PATIENCE_S)


def test_a_probe_in_a_thread_is_taken_once_and_ends_when_nobody_wants_it():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        one = Probe("127.0.0.1", bound.getsockname()[1])
        one._thread.join(PATIENCE_S)
        assert not one.is_over
        assert one.take().port_is == REFUSED
        assert one.take() is None
        assert one.is_over
    with listening() as (_, port):
        one = Probe("127.0.0.1", port)
        one.close()
        assert not one._thread.is_alive()
