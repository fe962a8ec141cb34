"""Which process listens at an address, as the kernel says."""

import os
import socket

import pytest

from paramserver import listening
from paramserver.listening import listener


@pytest.mark.parametrize(
    ("bound", "called"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::1", "::1"), ("::", "::1")]
)
def test_a_process_of_this_user_is_found_while_it_listens(bound, called):
    with socket.create_server((bound, 0), family=socket.AF_INET6 if ":" in bound else socket.AF_INET) as one:
        port = one.getsockname()[1]
        assert listener(called, port) == os.getpid()
    assert listener(called, port) == 0


def test_another_address_is_another_socket():
    with socket.create_server(("127.0.0.1", 0)) as one:
        assert listener("127.0.0.2", one.getsockname()[1]) == 0


def test_who_is_bound_and_does_not_listen_is_none():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        assert listener("127.0.0.1", one.getsockname()[1]) == 0


def test_a_process_that_may_share_no_memory_is_none(monkeypatch):
    monkeypatch.setattr(listening, "_may_share", lambda folder: False)
    with socket.create_server(("127.0.0.1", 0)) as one:
        assert listener("127.0.0.1", one.getsockname()[1]) == 0
