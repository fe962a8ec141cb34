"""A peer whose connection breaks while nothing of it can be taken does not end the server.

ZeroMQ 4.3.5 stops reading where a message cannot be taken, forgets a connection that breaks then, and asserts
that it never has to give a sign of life on it. Where a queue is full, one that is asked for may lie behind
what there was no room for. Where another connection has taken over the identity, nothing is taken any more,
and the socket's own signs of life go on.
"""

import contextlib
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator

from support_zmtp import COMMAND, RawPeer, frame, message

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends RST
PING = frame(b"\x04PING" + b"\0\0", COMMAND)
MESSAGES = 1000
SERVER = """
import sys
import zmq
from ps_common import sockets

OPTIONS = {
    "a full queue": {zmq.RCVHWM: 256},
    "signs of life": {zmq.HEARTBEAT_IVL: 100, zmq.HEARTBEAT_TIMEOUT: 30_000},
}

context = zmq.Context()


def prepare(socket):
    for option, value in OPTIONS.get(sys.argv[1], {}).items():
        socket.setsockopt(option, value)


socket, address = sockets.router(context, "tcp://127.0.0.1:0", 0, prepare)
print(address, flush=True)
while (asked := sys.stdin.readline().split())[0] == "take":  # and busy until it is asked to
    taken, expected = 0, int(asked[1])
    while socket.poll(30_000 if taken < expected else 500):
        socket.recv_multipart()
        taken += 1
    print(taken, flush=True)
socket.close()
context.term()
"""


class Server:
    """A process with a ROUTER, which takes what has come when it is told to."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process, self._in, self._out = process, process.stdin.fileno(), process.stdout
        self.address = self._out.readline().strip()

    def take(self, expected: int = 0) -> int:
        """Take so many messages, and more until for half a second none comes; how many. 0: it has ended."""
        self._tell(b"take %d\n" % expected)
        return int(self._out.readline() or "0")

    def exit_code(self) -> int:
        self._tell(b"end\n")
        return self._process.wait(30)

    def _tell(self, what: bytes) -> None:
        """Nothing is left in a buffer where the process has ended."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._in, what)


@contextlib.contextmanager
def serving(option: str) -> Iterator[Server]:
    command = [sys.executable, "-c", SERVER, option]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            yield Server(process)
        finally:
            process.kill()


def exit_code_of_a_peer_that_breaks_off(option: str) -> int:
    """Of a server that was busy while a peer said much, asked for a sign of life, and was gone."""
    with serving(option) as server:
        with RawPeer(server.address) as peer:
            peer.shake_hands()
            peer.push(message(b"x") * MESSAGES + PING + message(b"x"))
            peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        server.take()
        return server.exit_code()


def exit_code_of_a_connection_that_was_taken_over(option: str) -> int:
    """Of a server to which one peer goes on to talk after another has taken its identity, and is gone."""
    with serving(option) as server, RawPeer(server.address, b"same") as after:
        with RawPeer(server.address, b"same") as before:
            before.shake_hands()
            before.push(message(b"x"))
            assert server.take(1) == 1
            after.shake_hands()
            after.push(message(b"y"))
            assert server.take(1) == 1
            before.push(message(b"z"))
            assert server.take() == 0
            before.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        server.take()  # signs of life are due meanwhile
        after.push(message(b"y"))
        assert server.take(1) == 1 or option, "the other one is served"
        return server.exit_code()


def test_a_peer_that_breaks_off_with_much_under_way_does_not_end_the_server():
    assert exit_code_of_a_peer_that_breaks_off("") == 0


def test_with_a_queue_that_gets_full_it_does():
    assert exit_code_of_a_peer_that_breaks_off("a full queue") != 0


def test_a_connection_that_was_taken_over_and_breaks_does_not_end_the_server():
    assert exit_code_of_a_connection_that_was_taken_over("") == 0


def test_with_signs_of_life_of_the_server_it_does():
    assert exit_code_of_a_connection_that_was_taken_over("signs of life") != 0
