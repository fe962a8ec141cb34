"""docker/healthcheck.py: it sees what processes hold, and touches nothing. It needs no container for that."""

import os
import runpy
import socket
from pathlib import Path

import pytest

CHECK = runpy.run_path(str(Path(__file__).parents[2] / "docker" / "healthcheck.py"))


def is_in_touch(one: socket.socket) -> bool:
    inode = str(os.fstat(one.fileno()).st_ino)
    assert inode in CHECK["sockets_held"]()
    return inode in CHECK["sockets_in_touch"]()


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_socket_is_in_touch_while_it_listens_or_is_connected(family, host):
    with socket.socket(family) as server, socket.socket(family) as caller:
        assert not is_in_touch(server)
        server.bind((host, 0))
        server.listen()
        assert is_in_touch(server)
        assert not is_in_touch(caller)
        caller.connect(server.getsockname())
        assert is_in_touch(caller)
