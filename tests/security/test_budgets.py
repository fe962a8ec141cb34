"""Nobody makes a server spend much: connections, frames, floods, payloads; each with its control off."""

import contextlib
import dataclasses
import os
import socket
import time
import weakref
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import zmq

import support_zmtp
from paramserver.admission.door import LOOK_EVERY_S, Door
from paramserver.admission.limits import Limits
from processes.world import eventually
from ps_common import messages as m
from ps_common.arrays import HostArray
from ps_common.errors import Flood
from ps_common.wire import encode
from security import controls
from support_doors import OpenDoor
from support_zmtp import MORE, RawPeer, frame, half_open, message

MIB = 2**20
SOON_S = 1.0  # for what must not come when a control is off
BEAT = encode(m.Heartbeat(0, 0))
JOIN = encode(m.Join(m.PROTOCOL, "raw", "nowhere", 1, "cpu", "", "numpy 0"))
SMALL = Limits(
    pending_max=60, pending_of_address_max=40, message_bytes=2 * MIB, bytes_max=4 * MIB, silent_s=1.0
)

ALIVE = [encode(m.Alive(1, 0.5))]

Check = Callable[[OpenDoor, float], None]


def a_frame_of_2_gib(server: OpenDoor, within_s: float) -> None:
    with RawPeer(server.address) as peer:
        peer.shake_hands()
        peer.push(b"\x02" + (2**31).to_bytes(8) + b"the first of it")
        assert peer.ends(within_s), "it is let in"


def _is_told(server: OpenDoor, name: bytes) -> None:
    def told() -> bool:
        return any(sender == name and isinstance(error, Flood) for sender, error in server.told)

    eventually(told, "it is told")


def ten_thousand_frames(server: OpenDoor, within_s: float) -> None:
    with RawPeer(server.address, b"many") as peer:
        peer.shake_hands()
        peer.push(message(*[b"frame"] * 10_000))
        assert peer.ends(within_s), "it is let in"
    _is_told(server, b"many")


def a_message_without_an_end(server: OpenDoor, within_s: float) -> None:
    """1 KiB at a time, more than may ever be under way, and then nothing: it does not end, nor go on."""
    with RawPeer(server.address) as peer:
        peer.shake_hands()
        peer.push(frame(bytes(1024), MORE) * (5 * 1024))
        assert peer.ends(within_s), "it is kept in memory"
    eventually(lambda: any("bytes" in text for text in server.shut), "it is told")


def a_message_that_stands_still(server: OpenDoor, within_s: float) -> None:
    """Less than may be under way, but more than any message has, while others are heard."""
    with RawPeer(server.address) as peer, RawPeer(server.address, b"honest") as honest:
        for one in (peer, honest):
            one.shake_hands()
        peer.push(frame(bytes(1024), MORE) * (3 * 1024))
        honest.send(BEAT)
        assert honest.hear() == ALIVE
        assert peer.ends(within_s), "it is kept in memory"


def connections_that_say_nothing(server: OpenDoor, within_s: float) -> None:
    with half_open(server.address, 200), half_open(server.address, 200, support_zmtp.GREETING[:13]):
        limit = SMALL.pending_max
        eventually(lambda: server.door.connections.peak > limit, "they come")
        eventually(lambda: len(server.door.connections) <= limit, "they are kept", within_s)
        with RawPeer(server.address, b"honest") as honest:
            honest.shake_hands()
            honest.send(BEAT)
            assert honest.hear() == ALIVE


def a_peer_that_says_nothing_valid(server: OpenDoor, within_s: float) -> None:
    with RawPeer(server.address) as peer:
        peer.shake_hands()
        peer.send(b"nonsense")
        assert peer.ends(within_s), "it stays"


def _flood(server: OpenDoor, header: bytes, within_s: float) -> None:
    name = b"flood"
    with RawPeer(server.address, name) as peer:
        peer.shake_hands()
        burst = message(header) * 100
        is_there = True
        for _ in range(100 if within_s > SOON_S else 30):
            is_there = is_there and peer.push(burst)
        assert not is_there or peer.ends(within_s), "it goes on"
    assert len(server.taken[name]) <= SMALL.beats_burst + 200, "it is taken"
    _is_told(server, name)


def a_flood_of_heartbeats(server: OpenDoor, within_s: float) -> None:
    _flood(server, BEAT, within_s)


def a_flood_of_joins(server: OpenDoor, within_s: float) -> None:
    _flood(server, JOIN, within_s)


PAIRS: list[tuple[Check, Callable[[controls.Patch], None]]] = [
    (a_frame_of_2_gib, controls.no_limit_of_frames),
    (ten_thousand_frames, controls.frames_are_not_counted),
    (a_message_without_an_end, controls.bytes_are_not_counted),
    (a_message_that_stands_still, controls.bytes_are_not_counted),
    (connections_that_say_nothing, controls.everybody_is_let_in),
    (a_peer_that_says_nothing_valid, controls.the_silent_stay),
    (a_flood_of_heartbeats, controls.floods_are_taken),
    (a_flood_of_joins, controls.floods_are_taken),
]


def _patient(attack: Check) -> Limits:
    """With who is silent shut only where that is the point."""
    is_silence = attack is a_peer_that_says_nothing_valid
    return SMALL if is_silence else dataclasses.replace(SMALL, silent_s=100.0)


@pytest.mark.parametrize("attack", [attack for attack, _ in PAIRS], ids=lambda attack: attack.__name__)
def test_it_is_bounded(attack):
    with OpenDoor(_patient(attack)) as server:
        attack(server, support_zmtp.PATIENCE_S)


@pytest.mark.parametrize(("attack", "switch_off"), PAIRS, ids=[attack.__name__ for attack, _ in PAIRS])
def test_without_its_control_it_is_not(attack, switch_off, monkeypatch):
    switch_off(monkeypatch)
    with (
        OpenDoor(_patient(attack)) as server,
        pytest.raises(AssertionError, match=r"is let in|kept|stays|goes on"),
    ):
        attack(server, SOON_S)


# -- a reader that never reads ---------------------------------------------------------------------------


@contextlib.contextmanager
def _door_that_heard(name: bytes) -> Iterator[tuple[Door, RawPeer]]:
    """A door in this thread, and a peer that it has heard once."""
    with contextlib.ExitStack() as stack:
        context = zmq.Context()
        stack.callback(context.term)
        door = stack.enter_context(contextlib.closing(Door(context, "tcp://127.0.0.1:0", 0)))
        peer = stack.enter_context(RawPeer(door.address, name))
        peer.shake_hands()
        peer.send(BEAT)
        assert door.socket.poll(30_000)
        assert door.receive() is not None
        yield door, peer


def _versions_kept() -> int:
    """Of 20 versions, each sent in chunks to a peer that reads nothing, how many are still in memory."""
    alive: list[weakref.ref[HostArray]] = []
    with _door_that_heard(b"sloth") as (door, _):
        for version in range(20):
            vector = np.zeros(4 * MIB, np.uint8)
            alive.append(weakref.ref(vector))
            for chunk in range(4):
                header = encode(m.Weights(version, chunk, 0))
                door.send_parts(b"sloth", header, [vector[chunk * MIB : (chunk + 1) * MIB]])
            del vector
        return sum(one() is not None for one in alive)


def test_who_reads_nothing_keeps_a_few_versions_in_memory():
    assert _versions_kept() <= Limits().vectors_max + 1  # and one that the kernel has taken in part


def test_without_a_limit_it_keeps_them_all(monkeypatch):
    controls.payloads_are_not_counted(monkeypatch)
    assert _versions_kept() > 2 * Limits().vectors_max


def test_who_reads_nothing_is_cut_after_a_while():
    with _door_that_heard(b"sloth") as (door, peer):
        vector = np.zeros(16 * MIB, np.uint8)
        for chunk in range(16):
            door.send_parts(b"sloth", b"header", [vector[chunk * MIB : (chunk + 1) * MIB]])
        now = time.monotonic() + LOOK_EVERY_S
        assert door.look(now) == []
        looks = [now + turn * (Limits().unread_s + 1.0) for turn in range(1, 10)]  # some of it still leaves
        assert any("has read nothing" in text for look_at in looks for text in door.look(look_at))
        assert peer.ends()


# -- process ids -----------------------------------------------------------------------------------------


def _is_believed(pid: int) -> bool:
    with _door_that_heard(b"liar") as (door, _):
        return door.is_process(b"liar", pid)


def test_who_says_that_it_is_another_process_is_not_believed():
    assert _is_believed(os.getpid())
    assert not _is_believed(os.getppid())
    assert not _is_believed(1)
    assert not _is_believed(2**31)


def test_without_a_look_at_the_connection_it_is(monkeypatch):
    controls.process_ids_are_believed(monkeypatch)
    assert _is_believed(os.getppid())


# -- descriptors -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def _all_but(free: int) -> Iterator[None]:
    """Within it, the next descriptor of this process is that one."""
    taken = []
    try:
        while not taken or taken[-1] != free:
            taken.append(os.open(os.devnull, os.O_RDONLY))
            assert taken[-1] <= free, f"{free} is in use"
        os.close(taken.pop())
        yield
    finally:
        for one in taken:
            os.close(one)


def _is_gone(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return True
    return False


def _can_be_cut_after_a_leftover() -> bool:
    """One peer says something valid and is gone; the next gets its descriptor before that is taken."""
    context = zmq.Context()
    with contextlib.ExitStack() as stack:
        stack.callback(context.term)
        door = stack.enter_context(contextlib.closing(Door(context, "tcp://127.0.0.1:0", 0)))
        through = stack.enter_context(contextlib.closing(socket.socket()))
        with RawPeer(door.address, b"gone") as gone:
            gone.shake_hands()
            gone.send(BEAT)
            assert door.socket.poll(30_000)
            eventually(lambda: len(door.connections) == 1, "it is seen")
            (first,) = door.connections
        eventually(lambda: _is_gone(first.descriptor), "its descriptor is free")
        with _all_but(first.descriptor):
            newcomer = RawPeer(door.address, b"new", through=through)
            newcomer.shake_hands()
            eventually(lambda: any(one.number != first.number for one in door.connections), "it is seen")
        (second,) = door.connections
        assert second.descriptor == first.descriptor
        received = door.receive()
        assert received is not None
        assert received.sender == b"gone"
        door.has_spoken(b"gone")
        door.rest(time.monotonic())
        newcomer.send(BEAT)
        assert door.socket.poll(30_000)
        received = door.receive()
        assert received is not None
        assert received.sender == b"new"
        return door.connections.of_sender(b"new") is second and door.connections.of_sender(b"gone") is None


def test_who_gets_the_descriptor_of_another_is_known_by_its_own_name():
    assert _can_be_cut_after_a_leftover()


def test_where_a_first_name_is_for_good_it_is_not(monkeypatch):
    controls.first_names_are_for_good(monkeypatch)
    assert not _can_be_cut_after_a_leftover()
