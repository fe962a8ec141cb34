"""The client of ps-status and ps-admin, before a master that says what a test wants it to say."""

import threading
from collections.abc import Callable, Iterator

import psutil
import pytest
import zmq

from paramserver import asking
from paramserver.asking import Asking
from processes.world import eventually
from ps_common import messages as m
from ps_common import sockets
from ps_common.errors import MasterUnreachable, NotAuthorised, ParamserverError, ProtocolMismatch, UsageError
from ps_common.wire import decode, encode
from simulation.bench import Bench

PATIENCE_S = 30.0
STATUS = Bench().master.status(100.0)
OVER = STATUS | {"state": "over", "reason": "finished"}

Answer = Callable[[m.Message], list[bytes]]


class Master:
    """Answers each question as the next of `answers` says, in a thread of its own, and closes."""

    def __init__(self, *answers: Answer) -> None:
        self._context = zmq.Context()
        self._socket, self.address = sockets.router(self._context, "tcp://127.0.0.1:0", 10_000)
        self._answers = answers
        self.asked: list[m.Message] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        for answer in self._answers:
            if not self._socket.poll(PATIENCE_S * 1000):
                break
            sender, *frames = self._socket.recv_multipart()
            self.asked.append(decode(frames))
            for header in answer(self.asked[-1]):
                self._socket.send_multipart([sender, header])
        self._socket.close()
        self._context.term()

    def wait(self) -> None:
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()


@pytest.fixture
def master() -> Iterator[Callable[..., Master]]:
    started: list[Master] = []

    def start(*answers: Answer) -> Master:
        started.append(Master(*answers))
        return started[-1]

    yield start
    for one in started:
        one.wait()


def seen(status: object) -> Answer:
    return lambda message: [encode(m.Seen(status))]


def refused(code: int) -> Answer:
    return lambda message: [encode(m.Refused(code, "because"))]


def test_a_question_is_answered(master):
    peer = master(seen(STATUS), seen(OVER))
    with Asking(peer.address) as asking:
        assert not asking.is_let_in
        assert asking.look(PATIENCE_S, "code") == STATUS
        assert asking.is_let_in
        assert asking.order("drop", "w1", PATIENCE_S) == OVER
    peer.wait()
    assert peer.asked[0] == m.Look(m.PROTOCOL, "code")
    assert (peer.asked[1].what, peer.asked[1].name) == ("drop", "w1")


def test_a_question_without_an_answer_is_asked_again_with_the_same_number(master, monkeypatch):
    monkeypatch.setattr(asking, "RETRY_S", 0.01)
    peer = master(lambda message: [], lambda message: [], seen(STATUS))
    with Asking(peer.address) as client:
        assert client.order("stop", "", PATIENCE_S) == STATUS
        peer.wait()
    assert len(peer.asked) == 3
    assert len(set(peer.asked)) == 1


def connections_to(address: str) -> int:
    port = int(address.rpartition(":")[2])
    found = psutil.Process().net_connections("tcp")
    return sum(bool(one.raddr) and one.raddr.port == port for one in found)


def test_what_a_master_says_at_its_end_is_read_though_its_connection_is_gone(master):
    """A socket that queues nothing loses what was not read when its connection ends."""
    peer = master(lambda message: [encode(m.Seen(STATUS)), encode(m.Seen(OVER))])
    with Asking(peer.address) as asking:
        assert asking.look(PATIENCE_S) == STATUS
        peer.wait()
        eventually(lambda: not connections_to(peer.address), "the connection is gone")
        assert asking.hear(PATIENCE_S) == OVER


def test_where_nobody_listens_nobody_answers():
    with Asking("tcp://127.0.0.1:9") as asking:
        with pytest.raises(MasterUnreachable, match=r"127.0.0.1:9 after"):
            asking.look(0.1)
        assert not asking.is_let_in


@pytest.mark.parametrize(
    ("code", "error"), [(77, NotAuthorised), (76, ProtocolMismatch), (2, UsageError), (99, ParamserverError)]
)
def test_a_refusal_is_raised_as_what_it_is(master, code, error):
    with Asking(master(refused(code)).address) as asking, pytest.raises(error, match="because") as caught:
        asking.look(PATIENCE_S)
    assert type(caught.value) is error


@pytest.mark.parametrize(
    "header", [b"\xc1", encode(m.Rejoin()), encode(m.Seen(None)), encode(m.Seen(STATUS | {"run": b"x"}))]
)
def test_an_answer_that_is_none_is_another_protocol(master, header):
    peer = master(lambda message: [header])
    with Asking(peer.address) as asking, pytest.raises(ProtocolMismatch, match="cannot be read"):
        asking.look(PATIENCE_S)
