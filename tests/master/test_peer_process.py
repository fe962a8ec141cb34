"""The process at the other end of a connection, as the kernel says, on every kind of address."""

import contextlib
import os
import socket
import subprocess
import sys

import pytest

from paramserver.admission import peer_process
from paramserver.admission.peer_process import is_end_of
from support_proxy import Proxy

CALLER = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2]))):
    sys.stdin.read()
"""


@contextlib.contextmanager
def called(listens, calls, port=None):
    """A connection that another process has made to this one, and the id of that process."""
    family = socket.AF_INET6 if ":" in listens else socket.AF_INET
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(family))
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind((listens, 0))
        listener.listen()
        listener.settimeout(30)
        own = listener.getsockname()[1]
        command = [sys.executable, "-c", CALLER, calls, str(own if port is None else port(own))]
        caller = stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE))
        stack.callback(caller.stdin.close)
        connection, _ = listener.accept()
        stack.enter_context(connection)
        yield connection.fileno(), caller.pid


@pytest.mark.parametrize(
    ("listens", "calls"),
    [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("::", "127.0.0.1"), ("0.0.0.0", "127.0.0.1")],
    ids=["IPv4", "IPv6", "IPv4 mapped", "any"],
)
def test_the_process_that_has_called_is_told_from_all_others(listens, calls):
    with called(listens, calls) as (descriptor, pid):
        assert is_end_of(descriptor, pid)
        for other in (os.getpid(), os.getppid(), 1, 0, 2**30):
            assert not is_end_of(descriptor, other)


def test_who_calls_through_a_proxy_is_not_seen():
    with contextlib.ExitStack() as stack:

        def through(port):
            proxy = stack.enter_context(Proxy(f"tcp://127.0.0.1:{port}"))
            return int(proxy.address.rpartition(":")[2])

        descriptor, pid = stack.enter_context(called("127.0.0.1", "127.0.0.1", through))
        assert not is_end_of(descriptor, pid)


def test_a_process_that_has_ended_and_a_connection_that_is_closed_are_nobodys():
    with called("127.0.0.1", "127.0.0.1") as (descriptor, pid):
        pass
    assert not is_end_of(descriptor, pid)
    with called("127.0.0.1", "127.0.0.1") as (_, pid):
        assert not is_end_of(-1, pid)


def test_not_all_files_of_a_process_are_looked_through(monkeypatch):
    monkeypatch.setattr(peer_process, "FILES_MAX", 1)
    with called("127.0.0.1", "127.0.0.1") as (descriptor, pid):
        assert not is_end_of(descriptor, pid)
