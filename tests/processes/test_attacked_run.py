"""A run goes on while strangers do what they can to its master: same bits, and little memory is spent."""

import contextlib
import os
import socket
import struct
import time
from pathlib import Path

import psutil
import pytest

from processes import jobs
from processes.world import eventually
from ps_common import messages as m
from ps_common import segments
from ps_common.wire import decode, encode
from support_zmtp import GREETING, MORE, RawPeer, frame, half_open, message

MIB = 2**20
MEMORY_MAX = 256 * MIB  # that all attacks together may cost the master
FILES_MAX = 256 + 48  # descriptors: half-open connections of one address, and the others' one by one
ENDLESS_MAX = 512 * MIB  # sent at most, if nobody ends it
FLOOD_MAX = 100_000  # messages, likewise
JOIN = encode(m.Join(m.PROTOCOL, "stranger", "nowhere", 1, "cpu", "", "numpy 0"))
BEAT = encode(m.Heartbeat(0, 0))
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends RST
BREAKING = Path(__file__).with_name("breaking")


def peak(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def announce_2_gib(address: str) -> None:
    with RawPeer(address) as peer:
        peer.shake_hands()
        peer.push(b"\x02" + (2**31).to_bytes(8) + bytes(1024))
        assert peer.ends(), "it is let in"


def send_ten_thousand_frames(address: str) -> None:
    with RawPeer(address) as peer:
        peer.shake_hands()
        peer.push(message(*[b"frame"] * 10_000))
        assert peer.ends(), "it is let in"


def send_without_an_end(address: str) -> None:
    piece = frame(bytes(1024), MORE) * 1024
    with RawPeer(address) as peer:
        peer.shake_hands()
        for _ in range(ENDLESS_MAX // len(piece)):
            if not peer.push(piece):
                return
            time.sleep(0.05)  # 20 MB/s, as a network would bring it
    raise AssertionError("it is taken")


def flood(address: str, header: bytes, name: bytes) -> None:
    with RawPeer(address, name) as peer:
        peer.shake_hands()
        burst = message(header) * 500
        for _ in range(FLOOD_MAX // 500):
            if not peer.push(burst):
                return
        assert peer.ends(), "it goes on"


def break_off_after_another_has_its_identity(address: str) -> None:
    with RawPeer(address, b"twin") as after, RawPeer(address, b"twin") as before:
        before.shake_hands()
        before.send(BEAT)
        after.shake_hands()
        after.send(BEAT)
        before.push(message(BEAT) * 10)
        before.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


def read_nothing(peer: RawPeer) -> None:
    """Join, ask for the weights again and again, and read nothing."""
    peer.shake_hands()
    peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    peer.send(JOIN)
    for _ in range(500):
        peer.send(encode(m.Pull(0, (0,))))


def test_whatever_strangers_do_the_run_goes_on_with_the_same_bits_and_little_memory(world, undisturbed):
    world.hold()
    with world.cluster(jobs.GATED) as cluster, contextlib.ExitStack() as stack:
        world.held(cluster)
        master = psutil.Process(cluster.master.process.pid)
        memory, files = peak(master.pid), master.num_fds()
        for said in (b"", GREETING[:13]):
            stack.enter_context(half_open(cluster.address, 250, said))
        read_nothing(stack.enter_context(RawPeer(cluster.address)))
        announce_2_gib(cluster.address)
        send_ten_thousand_frames(cluster.address)
        send_without_an_end(cluster.address)
        break_off_after_another_has_its_identity(cluster.address)
        flood(cluster.address, JOIN, b"joins")
        flood(cluster.address, BEAT, b"beats")
        eventually(lambda: master.num_fds() <= files + 2 * FILES_MAX, "connections are kept")
        assert cluster.master.is_alive, cluster.master_log()
        assert peak(master.pid) - memory <= MEMORY_MAX
        world.release()
        record = cluster.wait(60)
    assert record["weights_sha256"] == undisturbed(jobs.GATED)
    assert record["samples"] == 4 * jobs.SAMPLES
    told = {entry["kind"] for entry in record["rejections"]}
    assert "flood" in told


@pytest.mark.parametrize("is_believed", [False, True], ids=["proven", "believed"])
def test_a_stranger_that_says_it_is_a_worker_of_this_machine_shares_no_memory(
    world, monkeypatch, is_believed
):
    """With process ids believed, by a switch of the tests, it does."""
    if is_believed:
        paths = [str(BREAKING), os.environ.get("PYTHONPATH", "")]
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
        monkeypatch.setenv("BROKEN", "believes_process_ids")
    with world.cluster(workers=0, flags=("--transport", "shm")) as cluster:
        answers = []
        for pid in (os.getpid(), cluster.master.process.pid):
            join = m.Join(m.PROTOCOL, "liar", "here", pid, "cpu", "", "numpy 0", segments.here())
            with RawPeer(cluster.address, b"liar%d" % pid) as peer:
                peer.shake_hands()
                peer.send(encode(join))
                answers.append(type(decode(peer.hear())))
    assert answers == [m.Welcome, m.Welcome if is_believed else m.Refused]
