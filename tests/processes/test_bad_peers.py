"""Nothing from a peer is believed: who is wrong is refused with a reason, and the run goes on."""

import os
import secrets
import socket
import urllib.parse

import msgpack
import pytest
import zmq

from processes import jobs
from processes.world import events, eventually
from ps_common import address
from ps_common import messages as m
from ps_common.wire import decode, encode
from support_jobs import description

JOIN = m.Join(m.PROTOCOL, "stranger", "nowhere", 1, "cpu", "", "numpy 0")


class Peer:
    """A raw DEALER that says what it likes."""

    def __init__(self, address: str) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 1000)
        self._socket.connect(address)

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.close()
        self._context.term()

    def send(self, *frames: bytes) -> None:
        self._socket.send_multipart(frames)

    def hear(self) -> m.Message:
        assert self._socket.poll(10_000), "the master says nothing"
        return decode(self._socket.recv_multipart())


def test_a_worker_of_another_protocol_is_refused_with_76(world):
    with world.cluster(workers=0) as cluster, Peer(cluster.address) as peer:
        peer.send(msgpack.packb([1, m.PROTOCOL + 1, "stranger", "nowhere", 1, "cpu", "", ""]))
        refused = peer.hear()
    assert isinstance(refused, m.Refused)
    assert refused.exit_code == 76
    assert f"the master speaks protocol {m.PROTOCOL}, the worker {m.PROTOCOL + 1}" in refused.reason


def test_a_worker_that_a_master_of_another_protocol_refuses_exits_with_76(world):
    context = zmq.Context()
    master = context.socket(zmq.ROUTER)
    port = master.bind_to_random_port("tcp://127.0.0.1")
    try:
        worker = world.start("ps-worker", "--master", f"tcp://127.0.0.1:{port}")
        assert master.poll(60_000)
        sender, header = master.recv_multipart()
        assert decode([header]).protocol == m.PROTOCOL
        master.send_multipart([sender, encode(m.Refused(76, "the master speaks protocol 99, the worker 1"))])
        assert worker.wait(30) == 76
        assert "the master refused this worker: the master speaks protocol 99" in worker.said
    finally:
        master.close(0)
        context.term()


@pytest.mark.parametrize("address", ["ipc:///tmp/somebodys", "not a URL"])
def test_a_worker_that_is_named_a_server_that_is_no_address_exits_with_76(world, address):
    """ZeroMQ takes paths of this machine, too, and falls over what is nothing."""
    context = zmq.Context()
    master = context.socket(zmq.ROUTER)
    port = master.bind_to_random_port("tcp://127.0.0.1")
    try:
        worker = world.start("ps-worker", "--master", f"tcp://127.0.0.1:{port}")
        assert master.poll(60_000)
        sender, _ = master.recv_multipart()
        job = description().to_plain()
        welcome = m.Welcome("w", "run", 1, job, 0.5, 1.0, 64, 2, 2, servers=(address,))
        master.send_multipart([sender, encode(welcome)])
        assert worker.wait(30) == 76
        assert f"an averaging server at {address!r}; it must be tcp://host:port" in worker.said
    finally:
        master.close(0)
        context.term()


def test_a_worker_with_another_job_file_is_refused_with_76(world):
    with world.cluster(jobs.GATED, workers=0) as cluster:
        other = world.job(jobs.GATED + "# changed", "other.py")
        code, said = world.run("ps-worker", "--master", cluster.address, "--job", other)
    assert code == 76
    assert "the worker was given another job" in said
    assert "start both from the same job file" in said


def test_a_worker_without_the_file_of_a_job_with_own_code_says_what_to_do(world):
    with world.cluster(jobs.GATED, workers=0) as cluster:
        code, said = world.run("ps-worker", "--master", cluster.address)
    assert code == 2
    assert "this job holds classes of its own; start the worker with --job FILE" in said


def test_a_worker_needs_nothing_but_the_address_for_a_job_of_shipped_parts(world, undisturbed):
    with world.cluster(workers=0, flags=("--workers", 1)) as cluster:
        worker = world.start("ps-worker", "--master", cluster.address)
        record = cluster.wait(30)
        assert worker.wait(30) == 0
    assert record["weights_sha256"] == undisturbed(jobs.PLAIN)


def test_more_workers_than_the_run_takes_are_refused_with_75(world):
    world.hold()
    with world.cluster(jobs.GATED, workers=1, flags=("--workers", "1:1")) as cluster:
        world.held(cluster)
        code, said = world.run("ps-worker", "--master", cluster.address)
        world.release()
        assert cluster.wait(30)["status"] == "finished"
    assert code == 75
    assert "the run takes at most 1 workers" in said


def test_garbage_is_refused_and_recorded_and_changes_no_bit(world, undisturbed):
    world.hold()
    with world.cluster(jobs.GATED) as cluster:
        world.held(cluster)
        _send_raw_garbage(cluster.address)
        with Peer(cluster.address) as peer:
            for frames in _garbage():
                peer.send(*frames)
            eventually(lambda: cluster.master_log().count("refused a message of") >= 6, "it is refused")
        world.release()
        record = cluster.wait(60)
    assert record["weights_sha256"] == undisturbed(jobs.GATED)
    reasons = " ".join(event["reason"] for event in events(record, "rejection"))
    for part in ("is not msgpack", "a header is a list", "no message of kind 250", "Join has 8 fields",
                 "payload frames, not", "must be int 0 to"):  # fmt: skip
        assert part in reasons, part


def test_a_member_that_pushes_what_it_was_not_asked_for_is_refused_and_changes_no_bit(world, undisturbed):
    world.hold()
    with world.cluster(jobs.GATED) as cluster:
        world.held(cluster)
        with Peer(cluster.address) as peer:
            peer.send(encode(JOIN))  # and all the rest at once: it gives no sign of life
            peer.send(encode(m.Push(1, 16, {"loss": [1.0, 16.0]}, None, 0.0, 0.0, 0.0)))
            peer.send(encode(m.Pull(0, (4000,))))
            peer.send(encode(m.Fetch("secrets", 0, (0,))))
            peer.send(encode(m.Fetch("train", 0, (4000,))))
            peer.send(encode(m.Chunk(1, 0, 0)), b"\0" * 64)
            peer.send(encode(m.Stop(0, "go home")))
            assert isinstance(peer.hear(), m.Welcome)
            verdict = peer.hear()
            assert (verdict.counted, verdict.reason) == (False, "the lease has ended")
            eventually(
                lambda: cluster.master_log().count("refused a message of stranger") >= 3, "it is refused"
            )
            peer.send(encode(m.Leave("bored")))
        world.release()
        record = cluster.wait(60)
    assert record["weights_sha256"] == undisturbed(jobs.GATED)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_worker_finds_its_master_by_name_and_by_address(world, host):
    with world.cluster(workers=0, flags=("--workers", 1)) as cluster:
        port = urllib.parse.urlsplit(cluster.address).port
        worker = world.start("ps-worker", "--master", f"tcp://{host}:{port}")
        assert cluster.wait(30)["status"] == "finished"
        assert worker.wait(30) == 0


def test_beyond_loopback_there_is_one_loud_line_and_a_name_to_reach(world):
    server = world.start("ps-server", world.job(), "--bind", "tcp://0.0.0.0:0", "--insecure")
    line = server.wait_for("listening:")
    port = server.said.partition("INSECURE: tcp://0.0.0.0:")[2].partition(" ")[0]
    assert line.endswith(f"--master {address.reachable(f'tcp://0.0.0.0:{port}')}")
    assert server.said.count("INSECURE: tcp://0.0.0.0:") == 1
    server.process.terminate()
    assert server.wait(30) == 0


def _send_raw_garbage(address: str) -> None:
    url = urllib.parse.urlsplit(address)
    for data in (
        os.urandom(4096),
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff" + b"\0" * 8 + b"\x7f" + os.urandom(500),
    ):
        with socket.create_connection((url.hostname, url.port), 5) as raw:
            raw.sendall(data)


def _garbage() -> list[tuple[bytes, ...]]:
    return [
        (b"\xc1" + secrets.token_bytes(40),),
        (b"",),
        (msgpack.packb({"kind": 1}),),
        (msgpack.packb([250]),),
        (msgpack.packb([1, m.PROTOCOL]),),
        (msgpack.packb([2, 0, 0]), b"a payload"),
        (msgpack.packb([2, "zero", 0]),),
        (msgpack.packb([4, "train", -1, [0]]),),
        tuple(b"frame" for _ in range(40)),
    ]
